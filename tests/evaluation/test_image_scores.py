"""Image scores of files are those that `predict` finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from brightness import Brightness

from stadx.data import strips
from stadx.data.images import write_image
from stadx.evaluation.image_scores import score_files


class Strided(Brightness):
    def score(self, images: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
        return super().score(images) / stride


def test_the_highest_score_of_each_image_and_what_fails(tmp_path: Path) -> None:
    pixels = np.zeros((5, 6, 3), np.uint8)
    pixels[4, 2] = 90
    write_image(tmp_path / "a.png", pixels)
    (tmp_path / "b.png").write_bytes(b"")
    write_image(tmp_path / "c.png", pixels // 2)
    told: list[tuple[str, int, int]] = []
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    scores, failures = score_files(
        Strided(),
        paths,
        stride=2,
        stage="Known",
        progress=lambda stage, done, total, _: told.append((stage, done, total)),
    )
    assert scores == pytest.approx({paths[0]: 45 / 255, paths[2]: 22.5 / 255})
    assert [failure.path for failure in failures] == [paths[1]] and "b.png" in failures[0].message
    assert told == [("Known", done, 3) for done in range(4)]


def test_huge_images_are_read_by_strips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "LARGE_IMAGE_PIXELS", 100)
    pixels = np.zeros((35, 20, 3), np.uint8)
    pixels[33, 7] = 200
    tifffile.imwrite(tmp_path / "a.tiff", pixels, rowsperstrip=5)
    monkeypatch.setattr("stadx.evaluation.image_scores.read_in_range", None)  # is not called
    scores, failures = score_files(Brightness(None), [tmp_path / "a.tiff"])
    assert scores == pytest.approx({tmp_path / "a.tiff": 200 / 255}) and not failures


def test_scores_that_are_not_finite_are_failures(tmp_path: Path) -> None:
    class Broken(Brightness):
        def score(self, images: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
            return images.float().mean(1) / 0

    write_image(tmp_path / "a.png", np.ones((5, 6, 3), np.uint8))
    scores, failures = score_files(Broken(), [tmp_path / "a.png"])
    assert not scores and "not a finite number" in failures[0].message
