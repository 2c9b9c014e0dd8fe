"""Results in a JSON file, each written when it is known; several processes may write at once."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import write_bytes, writing_to

_MEND = "delete it, or name another folder"


class ResultStore:
    """Results by key, from which a run that was stopped goes on.

    Args:
        path: the JSON file.
        settings: what all results in it share, budget and version.
        inputs: hashes of data and teachers, by name; a later run may bring others, of which the file then knows too.

    Raises:
        DataError: if the file is none of results, or of those of other settings or inputs.
        OutputError: if it cannot be written.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> None:
        self.path = path
        with self._locked():
            content: dict[str, Any] = {"settings": settings, "inputs": dict[str, str](), "figures": dict[str, Any]()}
            if path.exists():
                content = self._read()
            if content["settings"] != settings:
                raise DataError(f"{path}: holds figures of another budget or version; {_MEND}")
            if other := [name for name in inputs if content["inputs"].get(name, inputs[name]) != inputs[name]]:
                raise DataError(f"{path}: holds figures of other data ({', '.join(other)}); {_MEND}")
            content["inputs"].update(inputs)
            self._write(content)

    def results(self) -> dict[str, Any]:
        """All there are by now."""
        found: dict[str, Any] = self._read()["figures"]
        return found

    def keep(self, key: str, compute: Callable[[], Any]) -> None:
        """Compute a result, any value that JSON has, if it is not there yet."""
        if key in self.results():
            return
        value = compute()
        with self._locked():  # another process may have written since
            content = self._read()
            content["figures"][key] = value
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
            if any(not isinstance(content[part], dict) for part in ("settings", "inputs", "figures")):
                raise TypeError("its parts are no objects")
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise DataError(f"{self.path}: is no file of figures ({error}); {_MEND}") from error
        return dict(content)

    def _write(self, content: Mapping[str, Any]) -> None:
        write_bytes(self.path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
