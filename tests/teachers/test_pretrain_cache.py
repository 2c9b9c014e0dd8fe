"""P runs once per patch, over several trainings, and damaged caches do no harm."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pretrain_photos import P_NET, SETTINGS, make_cheap, mean_colours, write_photos
from torch import Tensor

from stadx import ModelFileError, OutputError, StadxError
from stadx.core.files import read_model
from stadx.teachers.feature_cache import FeatureCache
from stadx.teachers.pretraining import pretrain

FEATURES = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


def forbidden() -> Tensor:
    pytest.fail("computed again")


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    make_cheap(monkeypatch)


def test_the_network_runs_once_per_distinct_batch_over_two_trainings(tmp_path: Path, cheap: None) -> None:
    photos, calls = write_photos(tmp_path / "photos"), Counter[int]()

    def counted(images: Tensor) -> Tensor:
        calls[len(images)] += 1  # 16 in training, 64 elsewhere
        return mean_colours(images)

    p_net = replace(P_NET, features=counted)
    settings = replace(SETTINGS, steps=4, distinct_batches=3)
    card = pretrain(photos, settings, tmp_path / "a", network=p_net, feature_cache=tmp_path / "cache")
    assert calls[16] == 3
    other = replace(settings, learning_rate=1e-4, triplet_weight=1.0, steps=3, compactness_weight=0.1)
    pretrain(photos, other, tmp_path / "b", network=p_net, feature_cache=tmp_path / "cache")
    assert calls[16] == 3 and len(list((tmp_path / "cache").iterdir())) == 1
    again = pretrain(photos, settings, tmp_path / "c", network=p_net, feature_cache=tmp_path / "cache")
    assert calls[16] == 3 and again == card  # read features train as computed ones
    assert (tmp_path / "c").read_bytes() == (tmp_path / "a").read_bytes()
    pretrain(photos, settings, tmp_path / "d", network=p_net)  # in memory
    assert calls[16] == 6 and (tmp_path / "d").read_bytes() == (tmp_path / "a").read_bytes()
    pretrain(photos, replace(settings, seed=1), tmp_path / "e", network=p_net, feature_cache=tmp_path / "cache")
    assert calls[16] == 9 and len(list((tmp_path / "cache").iterdir())) == 2


def test_a_cache_without_distinct_batches_serves_the_next_training(tmp_path: Path, cheap: None) -> None:
    photos, calls = write_photos(tmp_path / "photos"), Counter[int]()

    def counted(images: Tensor) -> Tensor:
        calls[len(images)] += 1
        return mean_colours(images)

    for steps, expected in ((2, 2), (3, 3)):
        settings = replace(SETTINGS, steps=steps)
        pretrain(
            photos, settings, tmp_path / "t", network=replace(P_NET, features=counted), feature_cache=tmp_path / "cache"
        )
        assert calls[16] == expected
    assert len(read_model(tmp_path / "t", "teacher", 1)[0]["card"]["history"]) == 3


@pytest.mark.parametrize("on_disk", [True, False])
def test_features_are_rounded_whether_computed_or_read(tmp_path: Path, on_disk: bool) -> None:
    cache = FeatureCache(tmp_path / "new" / "folder" if on_disk else None, {"a": 1}, 5, (4, 3))
    computed = cache.get(2, lambda: FEATURES)
    assert computed.dtype == torch.float32 and torch.equal(computed, FEATURES.half().float())
    assert torch.equal(cache.get(2, forbidden), computed)
    assert torch.equal(cache.get(0, lambda: 2 * FEATURES), (2 * FEATURES).half().float())
    with pytest.raises(StadxError, match=r"beyond 65,504"):
        cache.get(3, lambda: 1e6 * FEATURES)


def test_a_cache_on_disk_is_found_again_and_grows(tmp_path: Path) -> None:
    FeatureCache(tmp_path, {"a": 1}, 3, (4, 3)).get(2, lambda: FEATURES)
    larger = FeatureCache(tmp_path, {"a": 1}, 9, (4, 3))
    assert torch.equal(larger.get(2, forbidden), FEATURES.half().float())
    larger.get(8, lambda: FEATURES)
    assert torch.equal(FeatureCache(tmp_path, {"a": 1}, 2, (4, 3)).get(1, lambda: FEATURES), FEATURES.half().float())
    assert torch.equal(FeatureCache(tmp_path, {"a": 1}, 9, (4, 3)).get(8, forbidden), FEATURES.half().float())
    FeatureCache(tmp_path, {"a": 2}, 3, (4, 3)).get(2, lambda: 3 * FEATURES)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_batch_is_computed_anew(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, {}, 2, (4, 3))
    cache.get(0, lambda: FEATURES)
    cache.get(1, lambda: FEATURES)
    assert cache.path is not None
    content = bytearray(cache.path.read_bytes())
    content[-1] ^= 1
    cache.path.write_bytes(content)
    opened = FeatureCache(tmp_path, {}, 2, (4, 3))
    assert torch.equal(opened.get(0, forbidden), FEATURES.half().float())
    assert torch.equal(opened.get(1, lambda: 2 * FEATURES), (2 * FEATURES).half().float())


def test_foreign_files_and_bad_places(tmp_path: Path) -> None:
    path = FeatureCache(tmp_path, {}, 2, (4, 3)).path
    assert path is not None
    for content in (b"something else", b"x" * 10_000):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=rf"{path.name}: is no feature cache of this training; delete it"):
            FeatureCache(tmp_path, {}, 2, (4, 3))
    with pytest.raises(OutputError, match="cannot be written"):
        FeatureCache(path, {}, 2, (4, 3))
