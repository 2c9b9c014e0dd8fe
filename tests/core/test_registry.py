"""Names lead to stadx's own objects first, then to entry points; what cannot be found is told."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from stadx import DataError
from stadx.core import registry
from stadx.core.registry import Registry
from stadx.data.layouts import GOOD_FOLDERS
from stadx.detectors.baselines import METHODS
from stadx.detectors.registry import detector_class, detector_names


def _registry(monkeypatch: pytest.MonkeyPatch, **points: str) -> Registry:
    found = [EntryPoint(name, value, "stadx.tests") for name, value in points.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: found)
    return Registry("thing", "stadx.tests", {"join": "os.path:join"})


def test_own_names_come_first_and_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    things = _registry(monkeypatch, zoo="os.path:exists", join="os.path:split", dirs="os:makedirs")
    assert things.names() == ["join", "dirs", "zoo"]
    assert things.get("join").__name__ == "join" and things.get("zoo").__name__ == "exists"


def test_what_cannot_be_found_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    things = _registry(monkeypatch, gone="no_such_module:it", lost="os:no_such_name")
    with pytest.raises(DataError, match="there is no thing 'zoo'; choose one of join, gone, lost"):
        things.get("zoo")
    for name, value in (("gone", "no_such_module:it"), ("lost", "os:no_such_name")):
        with pytest.raises(
            DataError, match=f"the thing '{name}' cannot be imported from {value} .*install its package"
        ):
            things.get(name)


def test_detectors_and_layouts_of_ours() -> None:
    assert detector_names()[: len(METHODS) + 1] == ["student-teacher", *METHODS]
    assert all(detector_class(name).method == name for name in detector_names())
    assert {"good", "ok", "Normal"} <= GOOD_FOLDERS
