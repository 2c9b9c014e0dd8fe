"""Exports know their own content: a changed byte is noticed when they are loaded."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stadx.core.errors import ModelFileError
from stadx.core.files import file_hash, write_bytes

SEAL = b"stadx.sha256"


def sealed(model: bytes) -> bytes:
    """An ONNX file with one more entry of its metadata at the end: the SHA-256 of all bytes before it.

    Protocol buffers that are joined are merged, so that the result is an ONNX file as well. The entry is
    `ModelProto.metadata_props` (field 14), a `StringStringEntryProto` of key and value (fields 1 and 2).
    """
    value = hashlib.sha256(model).hexdigest().encode()
    entry = b"\x0a" + bytes([len(SEAL)]) + SEAL + b"\x12" + bytes([len(value)]) + value
    return model + b"\x72" + bytes([len(entry)]) + entry


def sidecar_of(file: Path) -> Path:
    """The JSON beside an export."""
    return file.with_name(f"{file.name}.json")


def write_sidecar(file: Path, files: Sequence[Path], description: Mapping[str, Any]) -> Path:
    """Write what an export says of itself, and the SHA-256 of its files, beside it."""
    content = {**description, "sha256": {part.name: file_hash(part) for part in files}}
    sidecar = sidecar_of(file)
    write_bytes(sidecar, (json.dumps(content, indent=2, default=str) + "\n").encode())
    return sidecar


def check_export(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Check the files of an export against the JSON beside it, and return that.

    Raises:
        ModelFileError: if a file was changed, is missing, or has no such JSON.
    """
    file = Path(path)
    sidecar = sidecar_of(file)
    try:
        content: dict[str, Any] = json.loads(sidecar.read_text("utf-8"))
        hashes = dict(content["sha256"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelFileError(
            f"{sidecar}: cannot be read ({error}); it comes with the export, copy both or export again"
        ) from error
    if file.name not in hashes:
        raise ModelFileError(f"{sidecar}: says nothing of {file.name}; keep the names of an export, or export again")
    for name, expected in hashes.items():
        if file_hash(file.with_name(name)) != expected:
            raise ModelFileError(f"{file.with_name(name)}: was changed after the export; copy it again or export again")
    return content
