"""scores.jsonl: what previous runs wrote into it, and the lines of this one, read when they are looked at."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from stadx.core.errors import OutputError
from stadx.data.pages import page_of
from stadx.data.roi import Roi

from .output_names import PICTURES, Picture, name_key, name_of

SCORES_FILE = "scores.jsonl"
_DIGITS = 12

Item = TypeVar("Item")


def as_line(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content) + "\n").encode("ascii")


def is_line(content: bytes) -> bool:
    """Whether this is a line, or, without its end, the last one of a file that was edited."""
    return _parsed(content) is not None


def read_lines(file: Path, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
    """The lines between two places of a file, in bytes; what is no JSON object is passed over."""
    with open(file, "rb") as lines:
        lines.seek(start)
        for line in lines:
            start += len(line)
            if stop is not None and start > stop:
                return
            if (content := _parsed(line)) is not None:
                yield content


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


class Lines(Sequence[Item], Generic[Item]):
    """What one run wrote, read from the file each time: a run of a week needs no more memory than one of a minute."""

    def __init__(
        self, file: Path, start: int, stop: int, count: int, take: Callable[[dict[str, Any]], Item | None]
    ) -> None:
        self._file, self._start, self._stop, self._count, self._take = file, start, stop, count, take

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        if self._count:
            for content in read_lines(self._file, self._start, self._stop):
                if (item := self._take(content)) is not None:
                    yield item

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        return list(self)[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self._count} lines of {self._file}>"


@dataclass(frozen=True)
class Counts:
    """What a run did.

    Attributes:
        scored, anomalous, failed: images.
        skipped: images that a previous run had scored.
        run: its name; "" for an unknown model.
        has_others: whether lines of another run stand before its own.
    """

    scored: int
    anomalous: int
    failed: int
    skipped: int
    run: str
    has_others: bool


class ScoredLines(Lines[dict[str, Any]]):
    """The lines of the images that a run scored, and in `counts` what it did."""

    def __init__(self, file: Path, start: int, stop: int, counts: Counts) -> None:
        super().__init__(file, start, stop, counts.scored, lambda line: None if "error" in line else line)
        self.counts = counts


def run_name(model: str, roi: Roi | None, settings: Mapping[str, Any]) -> str:
    """Another for another model, region of interest or settings; "" for an unknown model."""
    if not model:
        return ""
    region = None if roi is None else roi.name if roi.mask is None else _digest(roi.mask.tobytes())
    return _digest(json.dumps([model, region, settings], sort_keys=True).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def stamp_of(path: Path) -> dict[str, int]:
    """What tells an image from another that has its path later; empty if there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return {}
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}


@dataclass
class Previous:
    """What the previous runs into a folder left.

    Attributes:
        owners: by `name_key`, the path of the image whose outputs have that name.
        files: names of all outputs, if they were asked for.
        run: the name of the last run; None if there was none.
    """

    out: Path
    owners: dict[str, str] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    run: str | None = None
    _done: dict[tuple[str, int | None], dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, out: Path, *, resumed: str = "", with_files: bool = False) -> Previous:
        """Of the folder `out`; `resumed` is the run whose images are not scored again.

        Raises:
            OutputError: if it cannot be read.
        """
        found = cls(out)
        file = out / SCORES_FILE
        if not os.path.isfile(file):  # a pipe cannot be read
            return found
        try:
            for line in read_lines(file):
                found._add(line, resumed, with_files)
        except OSError as error:
            raise OutputError(f"{file}: cannot be read ({error.strerror or error}); check its permissions") from error
        return found

    def _add(self, line: dict[str, Any], resumed: str, with_files: bool) -> None:
        path, files = line.get("path"), [line[kind] for kind in PICTURES if isinstance(line.get(kind), str)]
        if not isinstance(path, str):
            return
        for name in files:
            self.owners[name_key(name_of(name))] = path
        if with_files:
            self.files.update(files)
        if "error" not in line:
            self.run = str(line.get("run", ""))
        if resumed and line.get("run") == resumed:
            told = ("bytes", "modified_ns", "is_anomalous", *PICTURES)
            self._done[path, line.get("page")] = {key: line[key] for key in told if key in line}

    def is_done(self, path: Path, pictures: Sequence[Picture], only_anomalous: bool) -> bool:
        """Whether the run that is resumed has scored this very file and its pictures are there."""
        line = self._done.get((os.fspath(path), page_of(path)))
        if line is None or not (stamp := stamp_of(path)) or any(line.get(key) != stamp[key] for key in stamp):
            return False
        if only_anomalous and not line.get("is_anomalous"):
            return True
        return all(kind in line and _has_content(self.out / line[kind]) for kind in pictures)


def _has_content(file: Path) -> bool:
    """A loss of power may leave a name without content."""
    try:
        return os.stat(file).st_size > 0
    except OSError:
        return False
