"""The benchmark of the exports' gate covers what it says, and its table tells of what was refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from small_exports import SIZE, frames, images, untrained

from stadx.data.images import write_image
from stadx.detectors.export import ParityError

# at the end: a module of the tests with the same name wins
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import export_gate


def test_some_of_a_list_are_from_all_along_it() -> None:
    files = [Path(str(i)) for i in range(10)]
    assert export_gate.spread(files, 3) == [Path("0"), Path("3"), Path("6")]
    assert export_gate.spread(files[:2], 3) == files[:2]


@pytest.mark.usefixtures("narrow_networks")
def test_all_scales_and_strides_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / f"{number}.png" for number in range(2)]
    for file, frame in zip(files, frames(images()), strict=False):
        write_image(file, frame)
    found = list(export_gate.variants(untrained((17, 33, 65)), files))
    assert [(d.scales, d.stride) for d in found] == [(p, s) for p in export_gate.SCALES for s in (1, 2, 4, 8)]
    assert len({d.threshold_ for d in found}) == len(found)
    row = export_gate.figures(found[7], "torch", files, tmp_path)
    assert row["images"] == 2 and row["real"] and row["map_difference"] < 1e-3 and row["wrong_verdicts"] == 0

    def refuse(*_: object, size: tuple[int, int], **__: object) -> None:
        assert size == SIZE
        raise ParityError("no")

    monkeypatch.setattr(export_gate, "export_detector", refuse)
    assert export_gate.figures(found[7], "torch", files, tmp_path) == {"refused": "no"}


def test_the_table_has_the_worst_and_counts_what_was_refused() -> None:
    figures = {"images": 2, "verdicts": 1, "wrong_verdicts": 0, "compared_with": "direct"}
    key = {"scales": [33], "stride": 4, "to": "onnx"}
    rows = [{**key, **figures, "map_difference": 1e-4 * n} for n in (1, 3, 2)]
    table = export_gate.table([*rows, {**key, "refused": "no"}])
    assert "| 33 | 4 | 0.300, 1 refused |  |  |" in table
    assert "4 exports, 1 refused; 3 of 6 verdicts differ, 0 of them" in table and "3 compared with PyTorch's" in table
