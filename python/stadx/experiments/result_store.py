"""Results in a JSON file, each with all that it depends on, written when it is known; several processes may write."""

from __future__ import annotations

import fcntl
import hashlib
import json
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stadx.core.errors import DataError, OutputError, StadxError
from stadx.core.files import write_bytes, writing_to
from stadx.core.version import package_version

_FORM = 2  # the first form had settings for the file as a whole, and not all
_MEND = "move it away, or name another folder"


@dataclass(frozen=True)
class Identity:
    """What a result is of, and what it depends on: with anything else of it, it is another result.

    Attributes:
        of: names by kind, such as row, system and seed.
        settings: as they were resolved, defaults included.
        inputs: SHA-256 of data and teachers, by name.
        stadx: the version.
    """

    of: Mapping[str, Any]
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    stadx: str = field(default_factory=package_version)

    @property
    def content(self) -> dict[str, Any]:
        """As JSON returns it: tuples are lists."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return plain

    @property
    def key(self) -> str:
        """Readable, and another for anything else."""
        digest = hashlib.sha256(json.dumps(self.content, sort_keys=True).encode()).hexdigest()[:12]
        return " | ".join(f"{kind} {name}" if kind == "seed" else str(name) for kind, name in self.of.items()) + (
            f" | {digest}"
        )


class ResultStore:
    """Results from which a run that was stopped goes on; those of other settings, data or versions stay in the file.

    Args:
        path: the JSON file.

    Raises:
        DataError: if the file is none of results, or of an older form.
        OutputError: if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._locked():
            self._write(self._read() if path.exists() else {"form": _FORM, "figures": {}})

    def entries(self) -> list[dict[str, Any]]:
        """All there are, oldest first: an `Identity` each, "made_with", and "figure", or why it "failed"."""
        return list(self._read()["figures"].values())

    def entry(self, identity: Identity) -> dict[str, Any]:
        """That one; empty if it was never tried."""
        return dict(self._read()["figures"].get(identity.key, {}))

    def has(self, identity: Identity) -> bool:
        """Whether it is there; a failure is not."""
        return "figure" in self.entry(identity)

    def keep(self, identity: Identity, made_with: Mapping[str, str], compute: Callable[[], Any]) -> None:
        """Compute a result, any value that JSON has, if it is not there yet; if that fails, keep why.

        Raises:
            OutputError: if nothing can be written any more.
        """
        if self.has(identity):
            return
        entry = {**identity.content, "made_with": dict(made_with), **attempt(compute)}
        with self._locked():  # another process may have written since
            content = self._read()
            content["figures"].pop(identity.key, None)  # the newest comes last
            content["figures"][identity.key] = entry
            self._write(content)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with writing_to(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = open(self.path.with_name(f".{self.path.name}.lock"), "w")  # noqa: SIM115 (closed below)
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_bytes())
            if content.get("form", 1) != _FORM:
                raise DataError(f"{self.path}: holds figures without their settings, of an older stadx; {_MEND}")
            for entry in content["figures"].values():
                if not all(isinstance(entry[part], dict) for part in ("of", "settings", "inputs", "made_with")):
                    raise TypeError("its parts are no objects")
        except DataError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise DataError(f"{self.path}: is no file of figures ({error}); {_MEND}") from error
        return dict(content)

    def _write(self, content: Mapping[str, Any]) -> None:
        write_bytes(self.path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def attempt(compute: Callable[[], Any]) -> dict[str, Any]:
    """What `compute` returned as "figure"; or why it "failed", and of an error of the program its "traceback".

    Raises:
        OutputError: nothing that follows could be written either.
    """
    try:
        return {"figure": compute()}
    except OutputError:
        raise
    except StadxError as error:
        return {"failed": str(error)}
    except Exception as error:  # whatever it was, the others go on
        return {"failed": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}


def reason(entry: Mapping[str, Any]) -> str:
    """Why it failed."""
    return f"{entry['failed']}{' (its traceback is in the JSON file)' if 'traceback' in entry else ''}"


def matching(
    entries: Sequence[dict[str, Any]], expected: Callable[[Mapping[str, Any]], Identity | None]
) -> list[dict[str, Any]]:
    """The newest of those whose settings and version are as expected, and all inputs that are known now.

    Args:
        entries: of `ResultStore.entries`.
        expected: from what an entry is of to what it should be, None for what is not wanted; its inputs may lack some
            that this call does not know.
    """
    found = []
    for entry in entries:
        if (identity := expected(entry["of"])) is not None:
            want = identity.content
            same = all(entry[part] == want[part] for part in ("settings", "stadx"))
            if same and all(entry["inputs"].get(name) == digest for name, digest in want["inputs"].items()):
                found.append(entry)
    newest = {name: digest for entry in found for name, digest in entry["inputs"].items()}
    return [entry for entry in found if entry["inputs"].items() <= newest.items()]
