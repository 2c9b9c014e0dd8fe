"""The results of one partition as Parquet: a row for each image."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .extra import parquet

_KEY = b"stadx"


@dataclass(frozen=True)
class Counts:
    """Of images: how many were scored, how many of these are anomalous, and how many could not be read."""

    scored: int = 0
    anomalous: int = 0
    failed: int = 0

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Counts:
        rows = list(rows)
        failed = sum("error" in row for row in rows)
        return cls(len(rows) - failed, sum(bool(row.get("is_anomalous")) for row in rows), failed)

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values(), strict=True)))


def as_parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A file of rows; its footer has their counts.

    Args:
        rows: as the lines of scores.jsonl, with "uri" in the place of "path".
    """
    pyarrow, writer = parquet()
    schema = _schema().with_metadata({_KEY: json.dumps(asdict(Counts.of(rows))).encode()})
    table = pyarrow.Table.from_pylist(list(map(dict, rows)), schema=schema)
    buffer = io.BytesIO()
    writer.write_table(table, buffer)
    return buffer.getvalue()


def counts_of(content: bytes) -> Counts:
    """What the footer of such a file says."""
    return Counts(**json.loads(parquet()[1].read_schema(io.BytesIO(content)).metadata[_KEY]))


def _schema() -> Any:
    pyarrow = parquet()[0]
    text, whole, real = pyarrow.string(), pyarrow.int64(), pyarrow.float64()
    fields = {"box": pyarrow.list_(whole), "area": whole, "area_mm2": real, "peak": real, "mean": real}
    return pyarrow.schema(
        {
            **{"uri": text, "page": whole, "image_score": real, "image_threshold": real},
            **{"is_anomalous": pyarrow.bool_(), "pixel_threshold": real, "anomalous_pixels": whole, "pixels": whole},
            **{"map": text, "regions": pyarrow.list_(pyarrow.struct(list(fields.items())))},
            **{"run": text, "error": text},
        }
    )
