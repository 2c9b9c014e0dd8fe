"""Files are written whole or not at all, and read with care."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from stadx import ModelFileError, OutputError
from stadx.core import files
from stadx.core.files import check_writable, growing, read_model, replacement, write_bytes, write_model


def test_what_is_written_is_read(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 2).T, "b": torch.tensor([1, 2], dtype=torch.int16), "half": torch.randn(2).half()}
    write_model(tmp_path / "new" / "f", "teacher", 3, {"µ": [1, None, "x"]}, tensors)
    header, found = read_model(tmp_path / "new" / "f", "teacher", 3)
    assert header == {"µ": [1, None, "x"]}
    assert all(torch.equal(found[k], v) and found[k].dtype == v.dtype for k, v in tensors.items())


def test_headers_are_valid_json_whatever_their_numbers(tmp_path: Path) -> None:
    written = {"scales": [{"e_std": 0.5, "v_std": math.inf}], "best": (-math.inf, 1), "loss": math.nan, "float": "inf"}
    write_model(tmp_path / "f", "detector", 1, written, {"x": torch.zeros(1)})
    with safe_open(tmp_path / "f", framework="pt") as file:
        text = file.metadata()["stadx"]
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    header, _ = read_model(tmp_path / "f", "detector", 1)
    assert math.isnan(header.pop("loss"))
    assert header == {"scales": [{"e_std": 0.5, "v_std": math.inf}], "best": [-math.inf, 1], "float": "inf"}
    assert files.model_kind(tmp_path / "f") == "detector"


def test_headers_take_numbers_of_numpy(tmp_path: Path) -> None:
    written = {"sides": (np.int64(3), np.int32(4)), "share": np.float32(0.5), "on": np.True_, "std": np.float64("inf")}
    write_model(tmp_path / "f", "detector", 1, written, {"x": torch.zeros(1)})
    header, _ = read_model(tmp_path / "f", "detector", 1)
    assert header == {"sides": [3, 4], "share": 0.5, "on": True, "std": math.inf}


def test_words_that_are_no_json_in_files_of_before(tmp_path: Path) -> None:
    text = '{"kind": "detector", "version": 1, "v_std": Infinity, "loss": NaN}'
    save_file({"x": torch.zeros(1)}, tmp_path / "f", {"stadx": text})
    header, _ = read_model(tmp_path / "f", "detector", 1)
    assert header["v_std"] == math.inf and math.isnan(header["loss"])


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes(tmp_path / "f", b"old")

    def full(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OutputError, match=r"f: cannot be written \(No space left on device\)"):
        write_bytes(tmp_path / "f", b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("f", b"old")]


def test_an_interrupted_write_leaves_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*paths: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "f", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_when_the_last_bytes_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, mode: str) -> BinaryIO:
        os.close(handle)
        return open("/dev/full", "wb")

    monkeypatch.setattr(files.os, "fdopen", full)
    with (
        pytest.raises(OutputError, match=r"f: cannot be written \(No space left on device\)"),
        replacement(tmp_path / "f") as file,
    ):
        file.write(b"few bytes that stay in the buffer until the end")
    assert list(tmp_path.iterdir()) == []


def test_impossible_names(tmp_path: Path) -> None:
    name = tmp_path / ("x" * 300)
    with pytest.raises(OutputError, match="cannot be written"):
        check_writable(name)
    with pytest.raises(ModelFileError, match="there is no such file"):
        read_model(name, "teacher", 1)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_get_the_usual_permissions(mask: int, mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(mask)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", None)  # is the whole process's: other threads make files too
            write_bytes(tmp_path / "f", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "f").stat().st_mode & 0o777 == mode


def test_places_that_cannot_be_written_are_known_before_the_work(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "f")
    assert not (tmp_path / "new" / "f").exists()
    with pytest.raises(OutputError, match="is a folder; name a file"):
        check_writable(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=f"^{tmp_path}/file/f: cannot be written"):
        check_writable(tmp_path / "file" / "f")


def test_foreign_and_damaged_files(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "foreign")
    with pytest.raises(ModelFileError, match="not one of stadx"):
        read_model(tmp_path / "foreign", "teacher", 1)
    save_file({"x": torch.zeros(2)}, tmp_path / "garbled", {"stadx": "{no json"})
    save_file({"x": torch.zeros(2)}, tmp_path / "list", {"stadx": "[1]"})
    for name, content in (("text", b"hello"), ("empty", b""), ("pickle", b"\x80\x04N.")):
        (tmp_path / name).write_bytes(content)
    for name in ("garbled", "list", "text", "empty", "pickle"):
        with pytest.raises(ModelFileError, match=f"{name}: cannot be read as a teacher file"):
            read_model(tmp_path / name, "teacher", 1)
    with pytest.raises(ModelFileError, match="is a folder; give the path of a teacher file"):
        read_model(tmp_path, "teacher", 1)


def test_a_growing_file_holds_what_was_written_whatever_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "f"
    with pytest.raises(KeyboardInterrupt), growing(path) as write:
        write(b"one\n")
        assert path.read_bytes() == b"one\n"
        write(b"two\n")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"one\ntwo\n"
    with growing(path):
        assert path.read_bytes() == b""
    with pytest.raises(OutputError, match="within: cannot be written"), growing(path / "within"):
        pass


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_a_growing_file_names_a_full_disk() -> None:
    with pytest.raises(OutputError, match="/dev/full: cannot be written"), growing("/dev/full") as write:
        write(b"one")
