"""What `predict` writes."""

from __future__ import annotations

from dataclasses import dataclass

from .output_names import PICTURES, Picture
from .score_tables import TableName, check_tables


@dataclass(frozen=True)
class OutputSettings:
    """What is written for each image besides its line in scores.jsonl, and what becomes of previous lines.

    Attributes:
        pictures: those of "overlay", "map" and "mask" that are written.
        only_anomalous: write them, and files of LabelMe, for anomalous images alone; what lists images lists all.
        tables: formats that the scores are written in too, "csv" or "parquet".
        model: what tells the model from others, as its file's hash: it goes into the name of the run, see `resume`.
        resume: leave out images that the same model has scored with the same settings, unless the file was changed.
        overwrite: begin scores.jsonl and the other files that grow anew.

    Raises:
        ValueError: for settings that cannot be.
        MissingExtraError: if a table needs a package that is not installed.
    """

    pictures: tuple[Picture, ...] = PICTURES
    only_anomalous: bool = False
    tables: tuple[TableName, ...] = ()
    model: str = ""
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_tables(self.tables)
        if unknown := set(self.pictures) - set(PICTURES):
            raise ValueError(f"pictures are {PICTURES}, not {sorted(unknown)[0]!r}")
        if self.resume and self.overwrite:
            raise ValueError("resume goes on with what is there, overwrite begins anew; choose one of them")
        if self.resume and not self.model:
            raise ValueError("resume needs the model's name or hash, which tells its lines from those of others")


ALL_OUTPUTS = OutputSettings()
