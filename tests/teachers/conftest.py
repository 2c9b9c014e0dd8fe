"""Fixtures of pretraining's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from pretrain_photos import make_cheap, write_photos


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small numbers of patches to begin with."""
    make_cheap(monkeypatch)
