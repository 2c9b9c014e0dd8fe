"""Module paths of 0.1.0 give the modules at their new paths."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from stadx.core.aliases import MOVED


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_path_is_the_module_at_its_new_one(old: str) -> None:
    sys.modules.pop(old, None)
    new = importlib.import_module(MOVED[old])
    with pytest.warns(DeprecationWarning, match=f"{old} is now {MOVED[old]}"):
        module = importlib.import_module(old)
    assert module is new and module.__name__ == MOVED[old]
    assert module.__spec__ is not None and module.__spec__.name == MOVED[old]


def test_modules_inside_a_moved_package_are_not_loaded_twice() -> None:
    code = """
import warnings
warnings.simplefilter("ignore")
from stadx.baselines.shallow import NearestNeighborDetector as old
from stadx.detectors.baselines.shallow import NearestNeighborDetector as new
assert old is new
from stadx.report.overlay import overlay
import stadx.reference
assert stadx.reference.ensemble_score
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("stadx.baseline")


def test_short_paths_say_nothing() -> None:
    code = """
import warnings
warnings.simplefilter("error")
import stadx
import stadx.testing
from stadx.detectors.testing import check_detector
assert stadx.testing.check_detector is check_detector
"""
    subprocess.run([sys.executable, "-c", code], check=True)
