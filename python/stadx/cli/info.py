"""The command `stadx info`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from .console import show, write_json
from .options import json_option
from .tables import facts_table


def info(
    model: Annotated[
        Path | None, typer.Argument(help="Model file to tell of.", show_default="stadx and this machine")
    ] = None,
    json_file: Annotated[Path | None, json_option("the same")] = None,
) -> None:
    """Print versions, the instruction set in use, compiled CUDA architectures and devices; or what a model promises."""
    if model is None:
        from stadx.core.devices import facts

        figures: Mapping[str, Any] = (found := facts())
    else:
        from stadx.detectors.registry import load_model

        detector = load_model(model)
        found, figures = detector.facts(), detector.figures()
    show(facts_table(found))
    if json_file is not None:
        write_json(json_file, figures)
