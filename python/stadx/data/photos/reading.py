"""Photos for pretraining: in a folder, in tar files, or in a folder of tar files, which are read where they lie."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from stadx.core.errors import DataError
from stadx.core.progress import Progress, silent

from ..decode import UInt8Array, decode_opened, open_file, to_rgb
from ..images import IMAGE_SUFFIXES, list_images, read_image

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
_AT_ONCE = 256  # photos between two words on how far it is
_MEGABYTE = 1 << 20


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


def list_photos(place: str | os.PathLike[str], progress: Progress = silent) -> list[Photo]:
    """Every image in a folder, sub-folders included, and in the tar files there; or in one tar file.

    Image files come first, sorted; then the tar files, sorted, each in its own order. Tar files are indexed by their
    headers and not unpacked. `progress` is told "Folders of photos", and "Index of tar files" in megabytes.

    Raises:
        DataError: if the place is missing or holds no image, or a tar file is compressed or damaged.
    """
    place = Path(place)
    if os.path.isfile(place):
        if not place.name.lower().endswith((".tar", *_COMPRESSED)):
            raise DataError(f"{place}: is neither a folder nor a .tar file; give one of the two")
        photos = _indexed([place], progress)
        if not photos:
            raise DataError(f"{place}: holds no images; give a tar file of photos")
        return photos
    if not os.path.isdir(place):
        raise DataError(f"{place}: there is no such folder; give a folder of photos, or a .tar file")
    photos, folders = [], [place]
    for here, inner, _ in os.walk(place):
        folders += [Path(here, name) for name in inner]
        progress("Folders of photos", 0, len(folders), {})
    folders.sort()
    for done, folder in enumerate(folders, 1):
        with contextlib.suppress(DataError):  # of one that holds only other folders or files
            photos += [Photo(path) for path in list_images(folder)]
        progress("Folders of photos", done, len(folders), {})
    archives = [p for f in folders for p in sorted(f.iterdir()) if p.name.lower().endswith((".tar", *_COMPRESSED))]
    photos += _indexed([p for p in archives if p.is_file() and not p.name.startswith(".")], progress)
    if not photos:
        raise DataError(f"{place}: holds no images, nor do its sub-folders; give a folder of photos")
    return photos


def _indexed(archives: Sequence[Path], progress: Progress) -> list[Photo]:
    """The photos of tar files, one file after the other."""
    photos: list[Photo] = []
    sizes = [archive.stat().st_size for archive in archives]
    total, before, told = -(-sum(sizes) // _MEGABYTE), 0, 0
    for archive, size in zip(archives, sizes, strict=True):
        for photo, place in _members(archive):
            if photo is not None:
                photos.append(photo)
            if (done := min((before + place) // _MEGABYTE, total - 1)) > told:
                progress("Index of tar files", told := done, total, {})
        before += size
    if archives:
        progress("Index of tar files", total, total, {})
    return photos


def _members(path: Path) -> Iterator[tuple[Photo | None, int]]:
    """For each member the photo, if it is one, and its place in the file."""
    try:
        with tarfile.open(path, "r:") as archive:
            for entry in archive:
                is_photo = entry.isfile() and not entry.issparse() and _is_image(entry.name)
                photo = Photo(path, entry.name, entry.offset_data, entry.size) if is_photo else None
                yield photo, entry.offset
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


def fingerprint_photos(photos: Sequence[Photo], progress: Progress = silent) -> str:
    """A hash of the names, sizes and times of photos; `progress` is told "Photos".

    Raises:
        DataError: naming a file that is not there.
    """
    digest = hashlib.sha256()
    times: dict[Path, tuple[int, int]] = {}
    for done, photo in enumerate(photos, 1):
        if photo.path not in times:
            try:
                status = photo.path.stat()
            except OSError as error:
                raise DataError(f"{photo.path}: there is no such image ({error.strerror}); check the name") from error
            times[photo.path] = status.st_size, status.st_mtime_ns
        size, time = times[photo.path]
        where = f" {photo.member} {photo.offset} {photo.size}" if photo.member else ""
        digest.update(f"{photo.path.name} {size} {time}{where}\n".encode("utf-8", "surrogateescape"))
        if done % _AT_ONCE == 0 or done == len(photos):
            progress("Photos", done, len(photos), {})
    return digest.hexdigest()
