"""Files and folders behind URIs: local ones, s3://, gs:// and all else that fsspec opens."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stadx.core.errors import DataError, OutputError, StadxError
from stadx.core.files import write_bytes

from .extra import needed

# a write of theirs is seen whole or not at all
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "memory"})
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://|[a-z][a-z0-9+.-]+::", re.IGNORECASE)


def is_uri(text: str) -> bool:
    """Whether this names a scheme, as s3://bucket/folder does."""
    return _SCHEME.match(text) is not None


def opened(uri: str) -> tuple[Any, str]:
    """The file system of a URI or a local path, and the place within it.

    Raises:
        StadxError: if its scheme is unknown, or a package for it is missing.
    """
    try:
        fs, place = needed("fsspec.core").url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise StadxError(f"{uri}: cannot be opened ({error}); install the fsspec package of its scheme") from error
    return fs, str(place)


def local_path(uri: str) -> Path | None:
    """The path of a local file's URI; None of any other."""
    return Path(uri.removeprefix("file://")) if uri.startswith("file://") else None


def reading(uri: str) -> contextlib.AbstractContextManager[None]:
    """Turn what a file system raises while `uri` is read into a `DataError`."""
    return _told(DataError, uri, "cannot be read", "there is no such file or folder; check the name")


@contextlib.contextmanager
def _told(kind: type[StadxError], uri: str, what: str, missing: str) -> Iterator[None]:
    try:
        yield
    except StadxError:
        raise
    except FileNotFoundError as error:
        raise kind(f"{uri}: {missing}") from error
    except Exception as error:  # every file system has errors of its own
        reason = str(error) or type(error).__name__
        raise kind(f"{uri}: {what} ({reason}); check name, permissions and network") from error


@dataclass(frozen=True)
class Folder:
    """A folder for results; each of its files is written whole or not at all.

    Attributes:
        uri: of the folder.
    """

    uri: str

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        fs, place = opened(self.uri)
        return fs, place.rstrip("/")

    def __getstate__(self) -> dict[str, str]:
        return {"uri": self.uri}  # a file system's connections are this process's own

    @property
    def root(self) -> str:
        """Of the folder, with its scheme."""
        fs, place = self._opened
        return str(fs.unstrip_protocol(place))

    def names(self, inside: str) -> set[str]:
        """What the folder `inside` holds; nothing if there is none."""
        fs, place = self._opened
        fs.invalidate_cache()
        with reading(self.uri):
            try:
                return {str(name).rpartition("/")[2] for name in fs.ls(f"{place}/{inside}", detail=False)}
            except FileNotFoundError:
                return set()

    def read(self, name: str) -> bytes | None:
        """A file's content; None if there is none."""
        fs, place = self._opened
        fs.invalidate_cache()
        with reading(f"{self.uri}/{name}"):
            try:
                return bytes(fs.cat_file(f"{place}/{name}"))
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole: under a temporary name first, or where a single write is whole, by that.

        Raises:
            OutputError: if it cannot be written.
        """
        fs, place = self._opened
        if is_local(fs):
            write_bytes(f"{place}/{name}", content)
            return
        with self._writing(name):
            if _OBJECT_STORES.intersection(_schemes(fs)):
                fs.pipe_file(f"{place}/{name}", content)
                return
            folder, _, last = f"{place}/{name}".rpartition("/")
            fs.makedirs(folder, exist_ok=True)
            temporary = f"{folder}/.{last}.{secrets.token_hex(4)}"
            fs.pipe_file(temporary, content)
            fs.mv(temporary, f"{place}/{name}")

    def put(self, name: str, file: Path) -> None:
        """Copy a local file there; it counts once a file that is written later names it.

        Raises:
            OutputError: if it cannot be written.
        """
        fs, place = self._opened
        with self._writing(name):
            if is_local(fs):
                os.makedirs(os.path.dirname(f"{place}/{name}"), exist_ok=True)
            fs.put_file(os.fspath(file), f"{place}/{name}")

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that it holds."""
        fs, place = self._opened
        with self._writing(name):
            fs.invalidate_cache()
            if fs.exists(f"{place}/{name}"):
                fs.rm(f"{place}/{name}", recursive=True)

    def _writing(self, name: str) -> contextlib.AbstractContextManager[None]:
        missing = "cannot be written (no such bucket or folder); create it"
        return _told(OutputError, f"{self.uri}/{name}", "cannot be written", missing)


def _schemes(fs: Any) -> tuple[str, ...]:
    found = fs.protocol
    return (found,) if isinstance(found, str) else tuple(found)


def is_local(fs: Any) -> bool:
    """Whether a file system is this machine's own."""
    return "file" in _schemes(fs)
