"""Maps and masks on disk, for the tests of reading them."""

from __future__ import annotations

from pathlib import Path

import pytest
from map_files_on_disk import write_maps, write_masks


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    return write_maps(tmp_path)


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    return write_masks(tmp_path)
