"""The lines of scores.jsonl as a table in other formats."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from stadx.core.errors import MissingExtraError, OutputError
from stadx.core.files import growing, replacement, writing_to

from .score_lines import SCORES_FILE, read_lines

TableName: TypeAlias = Literal["csv", "parquet"]
_ROWS = 10_000  # of a Parquet file that are in memory at a time
_COLUMNS = {
    "path": "string",
    "page": "int64",  # of a file with several
    "image_score": "float64",
    "image_threshold": "float64",
    "is_anomalous": "bool",
    "pixel_threshold": "float64",
    "anomalous_pixels": "int64",
    "pixels": "int64",
    "overlay": "string",
    "map": "string",
    "mask": "string",
    "regions": "int64",  # how many
    "run": "string",
    "error": "string",
}

Add: TypeAlias = Callable[[Mapping[str, Any]], None]


def check_tables(names: Sequence[str]) -> None:
    """Raise `ValueError` for an unknown table, `MissingExtraError` if a package is missing."""
    if unknown := [name for name in names if name not in TABLES]:
        raise ValueError(f"{unknown[0]!r} is no format of scores; choose one of {tuple(TABLES)}")
    if "parquet" in names:
        _pyarrow()


def csv_row(*cells: object) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8", "surrogateescape")  # names of files may be no Unicode


@contextlib.contextmanager
def growing_csv(file: Path, header: bytes, anew: bool) -> Iterator[Callable[[bytes], None]]:
    """A table that grows by whole rows, to which later runs add.

    Raises:
        OutputError: if it cannot be written, or has other columns.
    """
    with growing(file, anew=anew) as write:
        if os.path.isfile(file) and os.path.getsize(file):
            with writing_to(file), open(file, "rb") as lines:
                if lines.readline().rstrip(b"\r\n") != header.rstrip(b"\n"):
                    raise OutputError(
                        f"{file}: has other columns than this run writes; choose another folder, or --overwrite"
                    )
        else:
            write(header)
        yield write


@contextlib.contextmanager
def csv_scores(out: Path, anew: bool) -> Iterator[Add]:
    """Write scores.csv, a row for each line; what scores.jsonl has already comes first if the table is new."""
    file, lines = out / "scores.csv", out / SCORES_FILE
    is_new = anew or not os.path.isfile(file) or not os.path.getsize(file)
    with growing_csv(file, csv_row(*_COLUMNS), anew) as write:

        def add(line: Mapping[str, Any]) -> None:
            write(csv_row(*("" if cell is None else cell for cell in _row(line).values())))

        if is_new and not anew and os.path.isfile(lines):
            for line in read_lines(lines):
                add(line)
        yield add


@contextlib.contextmanager
def parquet_scores(out: Path, anew: bool) -> Iterator[Add]:
    """Write scores.parquet at the end, also when interrupted, from all lines of scores.jsonl."""
    try:
        yield lambda line: None
    finally:
        pyarrow, parquet = _pyarrow()
        types = {"string": pyarrow.string(), "bool": pyarrow.bool_()}
        types |= {"float64": pyarrow.float64(), "int64": pyarrow.int64()}
        schema = pyarrow.schema([(name, types[kind]) for name, kind in _COLUMNS.items()])
        file, lines = out / "scores.parquet", read_lines(out / SCORES_FILE)
        with replacement(file) as target, writing_to(file), parquet.ParquetWriter(target, schema) as writer:
            while rows := [_in_unicode(_row(line)) for line in itertools.islice(lines, _ROWS)]:
                writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))


TABLES: dict[TableName, Callable[[Path, bool], contextlib.AbstractContextManager[Add]]] = {
    "csv": csv_scores,
    "parquet": parquet_scores,
}


def _row(line: Mapping[str, Any]) -> dict[str, Any]:
    row = {name: line.get(name) for name in _COLUMNS}
    return row if row["regions"] is None else {**row, "regions": len(row["regions"])}


def _in_unicode(row: Mapping[str, Any]) -> dict[str, Any]:
    """Parquet's strings are Unicode, names of files need not be."""
    return {k: v.encode("utf-8", "backslashreplace").decode() if isinstance(v, str) else v for k, v in row.items()}


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(
            "pyarrow, which writes scores as Parquet, is not installed; run: pip install 'stadx[parquet]'"
        ) from error
    return pyarrow, pyarrow.parquet
