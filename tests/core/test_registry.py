"""Names lead to stadx's own objects first, then to entry points; what cannot be found is told."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from stadx import DataError
from stadx.core import registry
from stadx.core.registry import Registry
from stadx.data import layout_registry
from stadx.data.layouts import GOOD_FOLDERS
from stadx.detectors import registry as detectors
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


def test_what_cannot_be_found_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    things = _registry(monkeypatch, gone="no_such_module:it", lost="os:no_such_name", broken="broken_plugin:it")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_plugin.py").write_text("raise RuntimeError('no licence')")
    with pytest.raises(DataError, match="there is no thing 'zoo'; choose one of join, broken, gone, lost"):
        things.get("zoo")
    for name, value in (("gone", "no_such_module:it"), ("lost", "os:no_such_name"), ("broken", "broken_plugin:it")):
        with pytest.raises(
            DataError, match=f"the thing '{name}' cannot be imported from {value} .*install its package"
        ):
            things.get(name)


def test_detectors_and_layouts_of_ours() -> None:
    assert detector_names()[: len(METHODS) + 1] == ["student-teacher", *METHODS]
    assert all(detector_class(name).method == name for name in detector_names())
    assert {"good", "ok", "Normal"} <= GOOD_FOLDERS


def test_what_is_no_detector_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    things = _registry(monkeypatch, function="os:makedirs")
    monkeypatch.setattr(detectors, "_DETECTORS", things)
    with pytest.raises(DataError, match=r"the detector 'function' is <function .*; it must be a subclass of"):
        detectors.detector_class("function")


def test_layouts_that_cannot_be_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    things = _registry(monkeypatch, gone="no_such_module:it", function="os:makedirs")
    own = layout_registry.layouts()[-1]
    monkeypatch.setattr(things, "_own", {"ours": "stadx.data.layouts.mvtec:LAYOUT"})
    monkeypatch.setattr(layout_registry, "_LAYOUTS", things)
    with pytest.warns() as told:
        assert layout_registry.layouts() == [own]
    assert "'gone' cannot be imported" in str(told[0].message)
    assert "'function' is <function" in str(told[1].message)
