"""Files on disk: one safetensors file each, its settings a versioned JSON in the metadata, written atomically."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .errors import ModelFileError, OutputError

_KEY = "stadx"
_NO_NUMBERS = ("inf", "-inf", "nan")  # floats that JSON has no word for: {"float": "inf"} stands for one


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file whole or not at all: to a temporary name beside it, then rename.

    Raises:
        OutputError: naming `path`, if it cannot be written.
    """
    with replacement(path) as file, writing_to(path):
        file.write(content)


@contextlib.contextmanager
def replacement(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file under a temporary name beside `path`; it takes that name when the block ends well, else it vanishes.

    What the block writes goes under `writing_to`.

    Raises:
        OutputError: naming `path`, if it cannot be made, completed or renamed.
    """
    path = Path(path)
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}"
        # unlike mkstemp's private one, a file with the permissions that the system gives to any new one
        file = os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb")
    try:
        yield file
        with writing_to(path):
            file.close()  # what was buffered is written here: a full disk may show only now
            os.replace(temporary, path)
    except BaseException:  # an interrupt leaves nothing half-written either
        for undo in (file.close, functools.partial(os.unlink, temporary)):
            with contextlib.suppress(OSError):
                undo()
        raise


@contextlib.contextmanager
def growing(path: str | os.PathLike[str]) -> Iterator[Callable[[bytes], None]]:
    """Begin a file anew and yield what appends to it: whatever ends the program later, that content stays.

    Raises:
        OutputError: naming `path`, if it cannot be written, here or by what is yielded.
    """
    with writing_to(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "wb")  # noqa: SIM115 (closed below)

    def append(content: bytes) -> None:
        with writing_to(path):
            file.write(content)
            file.flush()

    try:
        yield append
    finally:
        with writing_to(path):
            file.close()


@contextlib.contextmanager
def writing_to(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an `OSError` of the block into an `OutputError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); choose another place or free this one"
        ) from error


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise `OutputError` now if `path` could not be written later, after long work. Leaves no file behind."""
    path = Path(path)
    if os.path.isdir(path):  # unlike Path.is_dir, False for names that cannot be
        raise OutputError(f"{path}: is a folder; name a file")
    probe = path.with_name(f".{path.name}.probe")
    try:
        write_bytes(probe, b"")
    except OutputError as error:
        raise OutputError(str(error).replace(str(probe), str(path))) from error
    probe.unlink()


def file_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content.

    Raises:
        ModelFileError: if it cannot be read.
    """
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror or error}); check the name") from error


def write_model(
    path: str | os.PathLike[str], kind: str, version: int, header: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write tensors and a JSON header as one safetensors file.

    Args:
        path: the file.
        kind: what it is ("teacher", "detector", "checkpoint"): checked by `read_model`.
        version: of the header's form; a reader refuses any other.
        header: settings that `json.dumps` takes; of infinity and NaN too it is valid JSON that is written.
        tensors: named tensors of any dtype.

    Raises:
        OutputError: if it cannot be written.
    """
    metadata = {_KEY: json.dumps(_plain({"kind": kind, "version": version, **header}), allow_nan=False)}
    write_bytes(path, save({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, metadata))


def _plain(value: Any) -> Any:
    """The same with numbers that JSON can hold."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return {"float": str(float(value))} if isinstance(value, float) and not math.isfinite(value) else value


def _with_floats(found: dict[str, Any]) -> Any:
    """Undo `_plain` for one object of JSON."""
    return float(found["float"]) if list(found) == ["float"] and found["float"] in _NO_NUMBERS else found


def model_kind(path: str | os.PathLike[str]) -> str | None:
    """The kind that `write_model` was told; None if the file cannot be read, or is something else."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            return str(header["kind"])
    except (SafetensorError, ValueError, OSError, KeyError, TypeError):
        return None


def read_model(
    path: str | os.PathLike[str], kind: str, version: int, oldest: int | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file that `write_model` wrote, in this version or one from the oldest on.

    Raises:
        ModelFileError: if it is missing, damaged, not of stadx, of another kind or of another version.
    """
    path = Path(path)
    if not os.path.isfile(path):
        what = "is a folder" if os.path.isdir(path) else "there is no such file"
        raise ModelFileError(f"{path}: {what}; give the path of a {kind} file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = (file.metadata() or {}).get(_KEY)
            if metadata is None:
                raise ModelFileError(f"{path}: is a safetensors file, but not one of stadx; give a {kind} file")
            # files of previous versions hold the words Infinity and NaN, which Python reads
            header: dict[str, Any] = json.loads(metadata, object_hook=_with_floats)
            if not isinstance(header, dict):
                raise ValueError("its header is no JSON object")
            found, found_version = header.pop("kind", None), header.pop("version", None)
            if found != kind:
                raise ModelFileError(f"{path}: is a {found} file; a {kind} file is needed here")
            if found_version not in range(version if oldest is None else oldest, version + 1):
                raise ModelFileError(
                    f"{path}: was written in version {found_version} of the {kind} format, this stadx reads version "
                    f"{version}; train it again or use the stadx that wrote it"
                )
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, ValueError, OSError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(
            f"{path}: cannot be read as a {kind} file, it is damaged or something else ({error}); "
            "copy or train it again"
        ) from error
