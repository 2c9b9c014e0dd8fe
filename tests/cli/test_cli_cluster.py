"""What `--cluster` says without a cluster, and without its packages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import stadx
from small import good_images, teacher_file

from stadx import Detector
from stadx.data.images import write_image


@pytest.fixture
def predict(tmp_path: Path) -> Any:
    write_image(tmp_path / "in/a.png", np.zeros((24, 24, 3), np.uint8))
    settings: dict[str, Any] = {"scales": (17,), "image_size": None, "students": 2, "steps": 2, "crop": 16}
    detector = Detector(**settings, held_out=0.5, teachers=(str(teacher_file(tmp_path)),))
    detector.fit(good_images(4)).save(tmp_path / "m")

    def run(*options: object, images: object = tmp_path / "in", out: object = tmp_path / "out") -> Any:
        return stadx("predict", tmp_path / "m", images, "--out", out, *options)

    return run


def test_a_missing_package_is_named(predict: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    result = predict("--cluster", "auto")
    assert result.exit_code == 2
    assert "ray, which work on a cluster needs, is not installed" in result.output
    assert "pip install 'stadx[cluster]'" in result.output


def test_options_that_would_do_nothing(predict: Any) -> None:
    for option in (("--workers", 2), ("--maps", "tiff"), ("--partition", 5)):
        result = predict(*option)
        assert result.exit_code == 2 and f"{option[0]}: means nothing without --cluster" in result.output
    for option in (("--export", "csv"), ("--only-anomalous",), ("--profile",), ("--no-mask",)):
        assert "means nothing with --cluster" in predict("--cluster", "auto", *option).output
    assert "is 'cuda:1'; of workers it is cpu or cuda" in predict("--cluster", "auto", "--device", "cuda:1").output


def test_uris_are_for_clusters(predict: Any) -> None:
    for given in ({"images": "s3://photos/line1"}, {"out": "s3://found/today"}):
        assert "is a URI" in predict(**given).output
