"""The packages of the extra `cluster`, imported when they are needed."""

from __future__ import annotations

import logging
import os
from importlib import import_module
from typing import Any

from stadx.core.errors import MissingExtraError


def needed(name: str) -> Any:
    """A module of the extra.

    Raises:
        MissingExtraError: if its package is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise MissingExtraError(
            f"{package}, which work on a cluster needs, is not installed ({error}); run: pip install 'stadx[cluster]'"
        ) from error


def ray() -> Any:
    """Ray with Ray Data; it reports its use to nobody, and is silent unless something fails."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # of the core; it tells of lost workers, which are replaced
    found = needed("ray")
    context = needed("ray.data").DataContext.get_current()
    context.enable_progress_bars = False  # stadx shows its own
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return found


def parquet() -> tuple[Any, Any]:
    """PyArrow, and its module of Parquet."""
    return needed("pyarrow"), needed("pyarrow.parquet")
