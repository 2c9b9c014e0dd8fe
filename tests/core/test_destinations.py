"""Outputs that are links, pipes, devices or hard links, and what is on the disk before a name appears."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stadx import OutputError
from stadx.core import files
from stadx.core.files import check_writable, growing, is_written_through, replacement, write_bytes


def written_to(path: Path, write: Callable[[], None]) -> bytes:
    """What a reader of the pipe `path` gets."""
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()), daemon=True)
    reader.start()
    write()
    reader.join(10)
    assert got, "the reader still waits"
    return got[0]


@pytest.mark.parametrize("kind", ["link", "dangling", "link to a link", "link in the folders", "relative"])
def test_links_are_followed_and_stay(tmp_path: Path, kind: str) -> None:
    target, link = tmp_path / "disk" / "v1", tmp_path / "latest"
    target.parent.mkdir()
    path = link
    if kind != "dangling":
        target.write_bytes(b"old")
    if kind == "link to a link":
        (tmp_path / "between").symlink_to(target)
        link.symlink_to("between")
    elif kind == "link in the folders":
        link.symlink_to(target.parent)
        path = link / "v1"
    else:
        link.symlink_to("disk/v1" if kind == "relative" else target)
    check_writable(path)
    write_bytes(path, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new" and not target.is_symlink()
    assert [p.name for p in target.parent.iterdir()] == ["v1"]


def test_a_folder_that_is_a_dangling_link_is_made_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "disk/runs")
    write_bytes(tmp_path / "out/f", b"new")
    assert (tmp_path / "disk/runs/f").read_bytes() == b"new" and (tmp_path / "out").is_symlink()


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for write in (lambda: check_writable(tmp_path / "a"), lambda: write_bytes(tmp_path / "a", b"")):
        with pytest.raises(OutputError, match=r"a: cannot be written \(.*symbolic links"):
            write()


def test_a_pipe_gets_what_was_written_and_stays(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to("pipe")
    check_writable(link)  # opens nothing: it would wait for a reader
    assert is_written_through(link)
    assert written_to(pipe, lambda: write_bytes(link, b"new" * 50_000)) == b"new" * 50_000
    assert stat.S_ISFIFO(os.stat(pipe).st_mode) and link.is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "pipe"]


def test_a_pipe_gets_nothing_of_what_failed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(KeyboardInterrupt), replacement(tmp_path / "pipe") as file:
        file.write(b"half")
        file.seek(0)  # as writers of TIFF do
        raise KeyboardInterrupt


def test_a_device_is_written_through(tmp_path: Path) -> None:
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        device.open("wb").close()
    except OSError:
        pytest.skip("no devices can be made here")
    check_writable(device)
    write_bytes(device, b"new")
    assert stat.S_ISCHR(os.lstat(device).st_mode) and [p.name for p in tmp_path.iterdir()] == ["null"]


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs names of open descriptors")
def test_an_open_descriptor_goes_on_where_it_is(tmp_path: Path) -> None:
    """As /dev/stdout does, whose file may hold something already."""
    with (tmp_path / "log").open("w+b", buffering=0) as log:
        log.write(b"first\n")
        link = tmp_path / "stdout"
        link.symlink_to(f"/proc/self/fd/{log.fileno()}")
        check_writable(link)
        write_bytes(link, b"second\n")
        log.write(b"third\n")
    assert (tmp_path / "log").read_bytes() == b"first\nsecond\nthird\n"
    assert link.is_symlink()


def test_a_socket_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(OutputError, match="s: cannot be written"):
            check_writable(tmp_path / "s")


def test_a_hard_link_keeps_the_old_content(tmp_path: Path) -> None:
    write_bytes(tmp_path / "v1", b"old")
    os.link(tmp_path / "v1", tmp_path / "kept")
    write_bytes(tmp_path / "v1", b"new")
    assert (tmp_path / "v1").read_bytes() == b"new" and (tmp_path / "kept").read_bytes() == b"old"


def test_permissions_and_owner_of_a_replaced_file_stay(tmp_path: Path) -> None:
    write_bytes(tmp_path / "f", b"old")
    (tmp_path / "f").chmod(0o640)
    if os.geteuid() == 0:
        os.chown(tmp_path / "f", 12345, 12346)
    before = (tmp_path / "f").stat()
    write_bytes(tmp_path / "f", b"new")
    after = (tmp_path / "f").stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


def test_content_is_on_the_disk_before_its_name_and_then_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def fsync(handle: int) -> None:
        mode = os.fstat(handle)
        done.append("folder" if stat.S_ISDIR(mode.st_mode) else f"{mode.st_size} bytes")

    monkeypatch.setattr(files.os, "fsync", fsync)
    replace = os.replace
    monkeypatch.setattr(files.os, "replace", lambda *paths: (done.append("name"), replace(*paths)))
    write_bytes(tmp_path / "f", b"new")
    assert done == ["3 bytes", "name", "folder"]
    done.clear()
    write_bytes(tmp_path / "a/b/f", b"new")
    assert done == ["folder", "folder", "3 bytes", "name", "folder"]
    done.clear()
    write_bytes(tmp_path / "f", b"new", durable=False)
    assert done == ["name"]


def test_a_disk_that_fails_when_it_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(handle: int) -> None:
        raise OSError(5, "Input/output error")

    write_bytes(tmp_path / "f", b"old")
    monkeypatch.setattr(files.os, "fsync", broken)
    with pytest.raises(OutputError, match="Input/output error"):
        write_bytes(tmp_path / "f", b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("f", b"old")]


@pytest.mark.parametrize("name", ["x" * 255, "药" * 85, "f\udce9" * 80])
def test_names_as_long_as_the_file_system_allows(tmp_path: Path, name: str) -> None:
    check_writable(tmp_path / name)
    write_bytes(tmp_path / name, b"new")
    assert (tmp_path / name).read_bytes() == b"new"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b"one\n", b"one\n"),
        (b"one\ntw", b"one\n"),
        (b"tw", b""),
        (b"one\n" + b"x" * 200_000, b"one\n"),
        (b"x" * 200_000 + b"\ntw", b"x" * 200_000 + b"\n"),
        (b"one\n\0\0\0", b"one\n"),
        (b"one\nwhole", b"one\nwhole\n"),
    ],
    ids=["empty", "whole", "cut", "only a part", "long part", "long line", "zeros", "edited"],
)
def test_a_file_that_grows_again_has_whole_lines(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = tmp_path / "f"
    path.write_bytes(before)
    with growing(path, anew=False, is_whole=lambda line: line == b"whole") as write:
        write(b"more\n")
    assert path.read_bytes() == after + b"more\n"


def test_two_programs_may_add_lines_at_a_time(tmp_path: Path) -> None:
    with growing(tmp_path / "f", anew=False) as one, growing(tmp_path / "f", anew=False) as two:
        for number in range(3):
            one(b"one %d\n" % number)
            two(b"two %d\n" % number)
    assert len((tmp_path / "f").read_bytes().splitlines()) == 6


def test_lines_may_go_into_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    def write() -> None:
        with growing(tmp_path / "pipe", anew=False) as add:
            add(b"one\n")

    assert written_to(tmp_path / "pipe", write) == b"one\n"
