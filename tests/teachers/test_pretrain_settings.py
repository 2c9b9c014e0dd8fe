"""Settings of pretraining: what cannot be is refused by name, and what is left out has its number."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from stadx.teachers.settings import PRESETS, PretrainSettings

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"distillation_weight": 0, "compactness_weight": 0}, "all three losses are 0; give at least one above"),
        *(
            ({name: value}, f"{name} is {value}; it must be .*a number, at least 0")
            for name in ("learning_rate", "weight_decay", "distillation_weight", "triplet_weight", "compactness_weight")
            for value in (-1, NAN, INFINITY)
        ),
        ({"triplet_margin": -1}, "triplet_margin is -1; it must be a number, at least 0"),
        ({"noise": NAN}, "noise is nan; it must be a number, at least 0"),
        ({"steps": 0}, "steps is 0; it must be a whole number, at least 1"),
        ({"steps": NAN}, "steps is nan; it must be a whole number, at least 1"),
        ({"batch": 1}, "batch is 1; it must be a whole number, at least 2"),
        ({"descriptor_size": 0}, "descriptor_size is 0; it must be a whole number, at least 2"),
        ({"conv3_channels": 0}, "conv3_channels is 0; it must be a whole number, at least 1"),
        ({"pretrained_input": 0}, "pretrained_input is 0; it must be a whole number, at least 1"),
        ({"distinct_batches": -1}, "distinct_batches is -1; it must be a whole number, at least 0"),
        ({"seed": -1}, "seed is -1; it must be a whole number, at least 0"),
        ({"grey": 1.5}, "grey is 1.5; it must be a number, at least 0 and at most 1"),
        ({"luminance": NAN}, "luminance is nan; it must be a number, at least 0 and at most 1"),
        ({"zoom": (0, 4)}, "zoom is .*it must be a whole number, at least 1"),
        ({"zoom": (5, 4)}, "zoom is .*smallest and the largest multiple"),
        ({"patch_size": 18}, r"patch_size is 18; choose one of \(17, 33, 65\)"),
        ({"targets": "foo"}, "targets is 'foo'; choose one of .*'pooled', 'dense'"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'; choose one of .*'muon', 'adam'"),
        ({"schedule": "x"}, "schedule is 'x'; choose one of .*'cosine', 'constant'"),
        ({"compactness_reduction": "x"}, "compactness_reduction is 'x'; choose one of .*'mean'"),
        ({"precision": "x"}, "precision is 'x'; choose one of .*'auto', 'float32', 'bfloat16'"),
        ({"padding": "x"}, "padding is 'x'; choose one of .*'reflect', 'zeros', 'replicate'"),
    ],
    ids=str,
)
def test_settings_that_cannot_be(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PretrainSettings(**wrong)


def test_a_learning_rate_left_out_is_the_optimizers_own() -> None:
    adam = PretrainSettings()
    muon = replace(adam, optimizer="muon")
    assert (adam.rate, muon.rate, replace(muon, learning_rate=0.0).rate) == (1.2e-3, 2e-3, 0.0)
    assert (adam.to_json()["learning_rate"], muon.to_json()["learning_rate"]) == (1.2e-3, 2e-3)
    assert PretrainSettings(**PRESETS["paper"]).rate == 2e-4


def test_the_preset_of_the_paper() -> None:
    settings = PretrainSettings(**PRESETS["paper"])
    found = asdict(settings)
    expected = {"pretrained_network": "resnet18", "learning_rate": 2e-4, "schedule": "constant", "steps": 50_000}
    expected |= {"batch": 64, "weight_decay": 1e-5, "pretrained_input": 224, "triplet_weight": 0}
    expected |= {"distillation_weight": 1, "compactness_weight": 1}
    assert {name: found[name] for name in expected} == expected
