"""What a run on a cluster is of: its model and settings, and which images make a partition."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from stadx.core.errors import DataError, OutputError
from stadx.core.version import package_version

from .extra import parquet
from .listing import Item
from .storage import Folder

MANIFEST, PLAN, SCORES = "manifest.json", "plan.parquet", "scores"
MapFormat = Literal["none", "tiff", "zarr"]
_FORM = 1
_FIX = "choose another folder for the output, or --overwrite to begin anew"


class Partition(NamedTuple):
    """Images that are scored together, and whose results are one file."""

    number: int
    items: tuple[Item, ...]


def part_name(number: int) -> str:
    return f"part-{number:06}"


def part_file(number: int) -> str:
    """Where the results of a partition are: it is done once this file is there."""
    return f"{SCORES}/{part_name(number)}.parquet"


@dataclass(frozen=True)
class Manifest:
    """What every result of a folder was made with.

    Attributes:
        model: SHA-256 of the model's file.
        run: its name in every row, as in scores.jsonl: another for all that makes a row another.
        settings: what `run` comes from, in words.
        maps: the format of the maps; "none".
        stadx: the version.
    """

    model: str
    run: str
    settings: Mapping[str, Any]
    maps: MapFormat = "none"
    form: int = _FORM
    stadx: str = field(default_factory=package_version)


def planned(out: Folder, manifest: Manifest, items: Sequence[Item], size: int) -> list[Partition]:
    """The partitions of a run, new or gone on with.

    Partitions that were planned by a previous run stay as they are; images that are new make further ones.

    Args:
        out: where the results are.
        manifest: of this run.
        items: what is to be scored, sorted.
        size: images in a partition; a shard is one for itself.

    Raises:
        OutputError: if the folder holds results of another model or other settings, or cannot be written.
        DataError: if images were changed since they were planned.
    """
    before = out.read(MANIFEST)
    if before is None:
        if out.names(SCORES):
            raise OutputError(f"{out.uri}: holds scores but no {MANIFEST}; choose another folder for the output")
        partitions = _grouped(items, size, 0)
        _write_plan(out, partitions)
        out.write(MANIFEST, (json.dumps(asdict(manifest), indent=2) + "\n").encode())
        return partitions
    _check_same(out, before, manifest)
    partitions = _read_plan(out)
    known = {item.uri: item for partition in partitions for item in partition.items}
    if changed := [item.uri for item in items if item.uri in known and known[item.uri] != item]:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise DataError(f"{changed[0]}{more}: changed since {out.uri} was begun; {_FIX}")
    if new := [item for item in items if item.uri not in known]:
        partitions += _grouped(new, size, len(partitions))
        _write_plan(out, partitions)
    return partitions


def forget(out: Folder) -> None:
    """Remove the results of previous runs, the manifest first; nothing where there is none."""
    if out.read(MANIFEST) is not None:
        for name in (MANIFEST, PLAN, SCORES, "maps"):
            out.remove(name)


def _grouped(items: Sequence[Item], size: int, first: int) -> list[Partition]:
    images = [item for item in items if not item.is_shard]
    groups = [tuple(images[start : start + size]) for start in range(0, len(images), size)]
    groups += [(item,) for item in items if item.is_shard]
    return [Partition(number, group) for number, group in enumerate(groups, start=first)]


def _check_same(out: Folder, content: bytes, manifest: Manifest) -> None:
    try:
        found = json.loads(content)
        form, model = found["form"], found["model"]
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{out.uri}/{MANIFEST}: is damaged ({error}); choose another folder for the output"
        ) from error
    if form != _FORM:
        raise OutputError(f"{out.uri}: was written by stadx {found.get('stadx')} in another form; {_FIX}")
    if model != manifest.model:
        raise OutputError(
            f"{out.uri}: holds results of another model (SHA-256 {model[:12]}, not {manifest.model[:12]}); {_FIX}"
        )
    now = json.loads(json.dumps(asdict(manifest)))
    if odd := [key for key in now["settings"] if found["settings"].get(key) != now["settings"][key]]:
        told = ", ".join(f"{key} {found['settings'].get(key)} instead of {now['settings'][key]}" for key in odd)
        raise OutputError(f"{out.uri}: holds results of other settings ({told}); {_FIX}")
    if found["run"] != manifest.run:
        raise OutputError(f"{out.uri}: holds results of another region of interest; {_FIX}")
    if found["maps"] != manifest.maps:
        raise OutputError(f"{out.uri}: was begun with --maps {found['maps']}, not {manifest.maps}; {_FIX}")


def _write_plan(out: Folder, partitions: Sequence[Partition]) -> None:
    pyarrow, writer = parquet()
    rows = [(number, *item) for number, items in partitions for item in items]
    columns = list(zip(*rows, strict=True))
    table = pyarrow.table(dict(zip(("partition", "uri", "bytes", "stamp", "error"), map(list, columns), strict=True)))
    buffer = io.BytesIO()
    writer.write_table(table, buffer)
    out.write(PLAN, buffer.getvalue())


def _read_plan(out: Folder) -> list[Partition]:
    content = out.read(PLAN)
    if content is None:
        raise OutputError(f"{out.uri}: has a {MANIFEST} but no {PLAN}; choose another folder for the output")
    rows = parquet()[1].read_table(io.BytesIO(content)).to_pylist()
    groups: dict[int, list[Item]] = {}
    for row in rows:
        groups.setdefault(row["partition"], []).append(
            Item(row["uri"], row["bytes"], row["stamp"], row.get("error", ""))
        )
    return [Partition(number, tuple(items)) for number, items in groups.items()]
