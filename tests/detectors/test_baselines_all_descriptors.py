"""Autoencoders that learn from every descriptor of the training images, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from small import good_images, random_teacher, teacher_file
from torch import Tensor

from stadx.core.progress import silent
from stadx.data.source import ImageSource
from stadx.detectors.baselines import METHODS, AutoencoderDetector, DescriptorBaseline, all_descriptors
from stadx.detectors.baselines.all_descriptors import AllDescriptors
from stadx.networks.dense import dense_features
from stadx.networks.patch_network import normalize_images
from stadx.networks.training import Checkpoint

pytestmark = pytest.mark.arithmetic


ROOM = 2 * 8 * 20 * 24  # bytes of a map of one image


def _made(method: str, folder: Path, **more: object) -> DescriptorBaseline:
    given = {"patch_size": 17, "image_size": (20, 24), "samples": None, "teacher": teacher_file(folder), "seed": 1}
    given["held_out"] = 0.1
    detector = METHODS[method](**{**given, "epochs": 6, "batch": 64, "learning_rate": 3e-3, **more})
    assert isinstance(detector, DescriptorBaseline)
    return detector


def _sorted(rows: Tensor) -> Tensor:
    return rows[torch.from_numpy(np.lexsort(rows.T.numpy()))]


@pytest.mark.parametrize("kept", [0, 1, 9])
def test_an_epoch_has_every_descriptor_once(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(all_descriptors, "_MIXED_BYTES", 2 * ROOM)
    monkeypatch.setattr(all_descriptors, "_CACHE_BYTES", kept * ROOM)
    teacher, images = random_teacher(), good_images(6)
    every = AllDescriptors(teacher, ImageSource(images, None), [0, 1, 3, 4, 5], 0, silent)
    assert every.parts == 3
    whole = dense_features(teacher, normalize_images(images[[0, 1, 3, 4, 5]])).permute(0, 2, 3, 1).flatten(0, 2)
    torch.testing.assert_close(every.mean, whole.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(every.std, whole.std(0, correction=0), rtol=1e-4, atol=1e-5)
    epochs = []
    for epoch in (0, 1):
        parts = [list(every.batches(epoch, part, 100)) for part in range(3)]
        assert [len(batch) for batch in parts[0]] == [100] * 9 + [60]
        assert sorted(sum(map(len, part)) for part in parts) == [480, 960, 960]
        epochs.append(torch.cat([batch for part in parts for batch in part]))
        want = (whole.half().float() - every.mean) / every.std
        torch.testing.assert_close(_sorted(epochs[-1]), _sorted(want), rtol=1e-4, atol=1e-3)
    assert not torch.equal(*epochs)
    again = torch.cat(list(every.batches(1, 0, 960)))
    assert torch.equal(again, epochs[1][: len(again)])


@pytest.mark.parametrize("method", ["l2-ae", "vae"])
def test_a_stopped_training_resumes(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(all_descriptors, "_MIXED_BYTES", 2 * ROOM)
    images, file, seen = good_images(6), tmp_path / "m.part", []
    whole = _made(method, tmp_path).fit(images)
    monkeypatch.setattr(Checkpoint, "due", lambda self: self.path is not None)

    def stop(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if "autoencoder" in stage.lower() and done == 8:
            assert total == 18
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _made(method, tmp_path).fit(images, progress=stop, checkpoint=file)
    again = _made(method, tmp_path)
    again.fit(images, progress=lambda stage, done, total, figures: seen.append((stage, done)), checkpoint=file)
    assert next(done for stage, done in seen if "autoencoder" in stage.lower()) == 8
    for name, value in whole.learned_.items():
        assert torch.equal(again.learned_[name], value), name
    assert again.threshold_ == whole.threshold_
    again.save(tmp_path / "m.safetensors")
    assert not file.exists()


def test_it_learns_as_from_a_sample_of_all(tmp_path: Path) -> None:
    images = good_images(6)
    every, sample = (_made("l2-ae", tmp_path, samples=n, epochs=20).fit(images) for n in (None, 5 * 480))
    for name in ("mean", "std"):
        torch.testing.assert_close(every.learned_[name], sample.learned_[name], rtol=1e-3, atol=1e-3)
    spoiled = good_images(2, seed=3)
    spoiled[:, :, 8:14, 9:16] = 255
    for detector in (every, sample):
        scores = detector.score(spoiled)
        assert scores[:, 8:14, 9:16].mean() > 2 * scores[:, :4].mean()
    assert isinstance(every, AutoencoderDetector) and every.settings["samples"] is None


@pytest.mark.parametrize("method", ["knn", "kmeans", "ocsvm"])
def test_the_others_need_a_number(method: str) -> None:
    with pytest.raises(ValueError, match="samples is None; it must be a whole number"):
        METHODS[method](samples=None)
