"""Files on disk: one safetensors file each, its settings a versioned JSON in the metadata, written atomically."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import math
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .destinations import (
    destination,
    keep_owner_and_mode,
    make_folder,
    open_through,
    sync_file,
    sync_folder,
)
from .destinations import writing_to as writing_to
from .errors import ModelFileError, OutputError
from .growing import growing as growing

_KEY = "stadx"
_OF_NAME = 20  # characters of a file's name in that of its temporary file, which must not be too long where it is not
_NO_NUMBERS = ("inf", "-inf", "nan")  # floats that JSON has no word for: {"float": "inf"} stands for one


def write_bytes(path: str | os.PathLike[str], content: bytes, *, durable: bool = True) -> None:
    """Write a file whole or not at all, as `replacement` does.

    Raises:
        OutputError: naming `path`, if it cannot be written.
    """
    with replacement(path, durable=durable) as file, writing_to(path):
        file.write(content)


@contextlib.contextmanager
def replacement(path: str | os.PathLike[str], *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file under a temporary name beside `path`; it takes that name when the block ends well, else it vanishes.

    A link is followed: the file that it leads to is replaced, and keeps owner and permissions. Another hard link of
    that file keeps the old content. What is no regular file (a pipe, a device, /dev/stdout) is never replaced: it gets
    the content when the block ends well. What the block writes goes under `writing_to`.

    Args:
        path: the file; missing folders are made.
        durable: wait for the disk, so that a loss of power too leaves the old file or the new one.

    Raises:
        OutputError: naming `path`, if it cannot be made, completed or renamed.
    """
    with writing_to(path):
        place = destination(path)
        if place is None:
            file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 (closed below)
        else:
            make_folder(place.parent)
            temporary = place.parent / f".{place.name[:_OF_NAME]}.{secrets.token_hex(4)}"
            # unlike mkstemp's private one, a file with the permissions that the system gives to any new one
            file = os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb")
    if place is None:
        with file:
            yield file
            with writing_to(path), open_through(path) as through:
                file.seek(0)
                shutil.copyfileobj(file, through)
        return
    try:
        yield file
        with writing_to(path):
            file.flush()
            if durable:
                sync_file(file.fileno())
            file.close()  # what was buffered is written here: a full disk may show only now
            keep_owner_and_mode(place, temporary)
            os.replace(temporary, place)
            if durable:
                sync_folder(place.parent)
    except BaseException:  # an interrupt leaves nothing half-written either
        for undo in (file.close, functools.partial(os.unlink, temporary)):
            with contextlib.suppress(OSError):
                undo()
        raise


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise `OutputError` now if `path` could not be written later, after long work. Leaves no file behind.

    A pipe or a device is not opened, as its reader would see an end.
    """
    if os.path.isdir(path):  # unlike Path.is_dir, False for names that cannot be
        raise OutputError(f"{path}: is a folder; name a file")
    with writing_to(path):
        place = destination(path)
        if place is not None:
            make_folder(place.parent)
            handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=".probe.")
            os.close(handle)
            os.unlink(temporary)
        elif stat.S_ISSOCK(os.stat(path).st_mode) or not os.access(path, os.W_OK):
            raise OSError(errno.EACCES, "is a socket, or nobody may write to it")


def is_written_through(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a pipe, a device or an open descriptor: no other file can stand beside it."""
    with writing_to(path):
        return destination(path) is None


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
    anew = "delete it to start anew"  # of a checkpoint
    fix, or_anew = (anew, f", or {anew}") if kind == "checkpoint" else ("copy or train it again", "")
    if not os.path.isfile(path):
        what = "is a folder" if os.path.isdir(path) else "there is no such file"
        raise ModelFileError(f"{path}: {what}; give the path of a {kind} file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = (file.metadata() or {}).get(_KEY)
            if metadata is None:
                raise ModelFileError(
                    f"{path}: is a safetensors file, but not one of stadx; give a {kind} file{or_anew}"
                )
            # files of previous versions hold the words Infinity and NaN, which Python reads
            header: dict[str, Any] = json.loads(metadata, object_hook=_with_floats)
            if not isinstance(header, dict):
                raise ValueError("its header is no JSON object")
            found, found_version = header.pop("kind", None), header.pop("version", None)
            if found != kind:
                raise ModelFileError(f"{path}: is a {found} file; a {kind} file is needed here{or_anew}")
            if found_version not in range(version if oldest is None else oldest, version + 1):
                raise ModelFileError(
                    f"{path}: was written in version {found_version} of the {kind} format, this stadx reads version "
                    f"{version}; train it again or use the stadx that wrote it{or_anew}"
                )
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, ValueError, OSError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(
            f"{path}: cannot be read as a {kind} file, it is damaged or something else ({error}); {fix}"
        ) from error
