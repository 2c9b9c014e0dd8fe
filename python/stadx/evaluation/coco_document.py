"""COCO's annotations, one JSON document, written by runs that add to it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from stadx.core.errors import OutputError
from stadx.core.files import check_writable, growing, replacement, writing_to
from stadx.core.version import package_version
from stadx.data.pages import entry_of

COCO_FILE = "regions.coco.json"
LABEL = "anomaly"
_LISTS = ("images", "annotations")

Write: TypeAlias = Callable[[Path, int, int, Sequence[dict[str, Any]]], None]


@contextlib.contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Let no other run that writes COCO's document into the folder `out` begin: it would drop this one's hidden files.

    Raises:
        OutputError: if there is one.
    """
    handle = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of the folder: no file of a lock is left behind
    except BlockingIOError as error:
        os.close(handle)
        raise OutputError(
            f"{out / COCO_FILE}: another stadx predict is writing it; wait for its end, or choose another folder"
        ) from error
    except OSError:  # a network's disk may have no locks of folders
        pass
    try:
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def growing_coco(out: Path, anew: bool, again: Collection[tuple[str, int | None]]) -> Iterator[Write]:
    """Yield what adds an image (path, width, height) and its annotations to regions.coco.json in the folder `out`.

    A document has an end, so its two lists grow in hidden files beside it, line by line. At the end, also when
    interrupted, they become the document. After a crash they are still there, and the next run goes on with them.

    Args:
        out: the folder.
        anew: forget what previous runs wrote.
        again: path and page of images whose previous entries are dropped.

    Raises:
        OutputError: if nothing can be written, or there is a document of somebody else.
    """
    file, parts = out / COCO_FILE, {name: out / f".{COCO_FILE}.{name}" for name in _LISTS}
    check_writable(file)
    last = _begin(file, parts, anew, again)
    with contextlib.ExitStack() as stack:
        stack.callback(_finish, file, parts)  # last, and whatever happens
        write = {name: stack.enter_context(growing(part, anew=False)) for name, part in parts.items()}

        def add(path: Path, width: int, height: int, annotations: Sequence[dict[str, Any]]) -> None:
            last["images"] += 1
            lines = []
            for annotation in annotations:
                last["annotations"] += 1
                lines.append(_line({"id": last["annotations"], "image_id": last["images"], **annotation}))
            write["annotations"](b"".join(lines))
            named = entry_of(path)
            size = {"width": width, "height": height}
            image = {"id": last["images"], "file_name": named.pop("path"), **named, **size}
            write["images"](_line(image))  # after its annotations: those without an image do not count

        yield add


def _line(entry: dict[str, Any]) -> bytes:
    return (json.dumps(entry) + "\n").encode("ascii")


def _begin(file: Path, parts: dict[str, Path], anew: bool, again: Collection[tuple[str, int | None]]) -> dict[str, int]:
    """Write the parts with what previous runs left; the highest number in each."""
    crashed = all(os.path.isfile(part) for part in parts.values())
    last, kept = dict.fromkeys(_LISTS, 0), set[int]()
    for name, part in parts.items():
        with replacement(part) as target, writing_to(part):
            if anew:
                continue
            for entry in _of_part(part) if crashed else _of_document(file, name):
                image = (entry["file_name"], entry.get("page")) if name == "images" else None
                if entry["image_id"] in kept if image is None else image not in again:
                    kept.update([entry["id"]] if name == "images" else [])
                    last[name] = max(last[name], entry["id"])
                    target.write(_line(entry))
    return last


def _of_part(part: Path) -> Iterator[dict[str, Any]]:
    with open(part, "rb") as lines:
        for line in lines:
            with contextlib.suppress(ValueError):  # the last one, if a crash cut it
                yield json.loads(line)


def _of_document(file: Path, name: str) -> Iterator[dict[str, Any]]:
    """One list of a document, which `_finish` writes with a line for each entry: it need not fit into memory."""
    if not os.path.isfile(file) or not os.path.getsize(file):
        return
    with open(file, "rb") as lines:
        inside = False
        try:
            for line in lines:
                if not inside:
                    inside = line.startswith(f'"{name}": ['.encode())
                elif line.startswith(b"]"):
                    return
                elif line.strip():
                    entry = json.loads(line.strip().removesuffix(b","))
                    entry["id"], entry["file_name" if name == "images" else "image_id"]
                    yield entry
        except (ValueError, LookupError, TypeError) as error:
            raise _foreign(file) from error
        raise _foreign(file)


def _foreign(file: Path) -> OutputError:
    return OutputError(
        f"{file}: was not written by stadx predict, which cannot add to it; choose another folder, or --overwrite"
    )


def _finish(file: Path, parts: dict[str, Path]) -> None:
    """Put the document together."""
    info = json.dumps({"description": "stadx predict", "version": package_version()})
    categories = json.dumps([{"id": 1, "name": LABEL, "supercategory": LABEL}])
    with replacement(file) as target, writing_to(file):
        target.write(f'{{"info": {info},\n"licenses": [],\n"categories": {categories}'.encode("ascii"))
        for name, part in parts.items():
            target.write(f',\n"{name}": [\n'.encode("ascii"))
            with open(part, "rb") as lines:
                for number, line in enumerate(lines):
                    target.write((b",\n" if number else b"") + line.rstrip(b"\n"))
            target.write(b"\n]")
        target.write(b"}\n")
    for part in parts.values():
        part.unlink(missing_ok=True)
