"""Photos for pretraining: in a folder, in tar files, or in a folder of tar files, which are read where they lie."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import DataError
from .decode import UInt8Array, decode_opened, open_file, to_rgb
from .images import IMAGE_SUFFIXES, list_images, read_image

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")


@dataclass(frozen=True)
class Photo:
    """One photo: an image file, or a part of a tar file.

    Attributes:
        path: the image file or the tar file.
        member: name within the tar file; empty for an image file.
        offset, size: where its bytes lie in the tar file.
    """

    path: Path
    member: str = ""
    offset: int = 0
    size: int = 0

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)


def list_photos(place: str | os.PathLike[str]) -> list[Photo]:
    """Every image in a folder, sub-folders included, and in the tar files there; or in one tar file.

    Image files come first, sorted; then the tar files, sorted, each in its own order. Tar files are indexed by their
    headers and not unpacked.

    Raises:
        DataError: if the place is missing or holds no image, or a tar file is compressed or damaged.
    """
    place = Path(place)
    if os.path.isfile(place):
        if not place.name.lower().endswith((".tar", *_COMPRESSED)):
            raise DataError(f"{place}: is neither a folder nor a .tar file; give one of the two")
        photos = _members(place)
        if not photos:
            raise DataError(f"{place}: holds no images; give a tar file of photos")
        return photos
    if not os.path.isdir(place):
        raise DataError(f"{place}: there is no such folder; give a folder of photos, or a .tar file")
    photos, folders = [], sorted([place, *(p for p in place.rglob("*") if p.is_dir())])
    for folder in folders:
        try:
            photos += [Photo(path) for path in list_images(folder)]
        except DataError:  # this one holds only other folders or files
            continue
    archives = [p for f in folders for p in sorted(f.iterdir()) if p.name.lower().endswith((".tar", *_COMPRESSED))]
    for archive in archives:
        if archive.is_file() and not archive.name.startswith("."):
            photos += _members(archive)
    if not photos:
        raise DataError(f"{place}: holds no images, nor do its sub-folders; give a folder of photos")
    return photos


def _members(path: Path) -> list[Photo]:
    try:
        with tarfile.open(path, "r:") as archive:
            return [
                Photo(path, entry.name, entry.offset_data, entry.size)
                for entry in archive
                if entry.isfile() and not entry.issparse() and _is_image(entry.name)
            ]
    except (tarfile.TarError, OSError, EOFError) as error:
        if path.name.lower().endswith(_COMPRESSED) or _is_compressed(path):
            raise DataError(
                f"{path}: is compressed, so that photos cannot be read from its middle; unpack it, or make it a plain "
                "tar file (photos hardly shrink anyway)"
            ) from error
        raise DataError(f"{path}: cannot be read as a tar file ({error}); copy or make it again") from error


def _is_image(name: str) -> bool:
    inner = PurePosixPath(name)
    return inner.suffix.lower() in IMAGE_SUFFIXES and not inner.name.startswith(".")  # "._x.jpg": macOS leftovers


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))


def read_photo(photo: Photo) -> UInt8Array:
    """Read one photo as `read_image` does: uint8 [H, W, 3] RGB.

    Raises:
        DataError: if it is missing, damaged or no image.
    """
    if not photo.member:
        return read_image(photo.path)
    with open_file(photo.path) as file:
        file.seek(photo.offset)
        content = file.read(photo.size)
    name = Path(str(photo))
    return to_rgb(decode_opened(io.BytesIO(content), name), name)


def fingerprint_photos(photos: Sequence[Photo]) -> str:
    """A hash of the names, sizes and times of photos.

    Raises:
        DataError: naming a file that is not there.
    """
    digest = hashlib.sha256()
    times: dict[Path, tuple[int, int]] = {}
    for photo in photos:
        if photo.path not in times:
            try:
                status = photo.path.stat()
            except OSError as error:
                raise DataError(f"{photo.path}: there is no such image ({error.strerror}); check the name") from error
            times[photo.path] = status.st_size, status.st_mtime_ns
        size, time = times[photo.path]
        where = f" {photo.member} {photo.offset} {photo.size}" if photo.member else ""
        digest.update(f"{photo.path.name} {size} {time}{where}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
