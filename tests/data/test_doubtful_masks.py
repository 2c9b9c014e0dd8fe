"""Masks that are nearly two-valued, inverted or of one colour: one rule for all commands, and what is said of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from stadx import DataError
from stadx.data.checking import check_set
from stadx.data.layouts import open_category
from stadx.data.maps import open_map_set
from stadx.data.masks import Doubts, mask_pixels, read_mask, read_truth
from stadx.evaluation.of_detector import evaluate
from stadx.evaluation.of_maps import evaluate_map_files

SIDE = 48
DEFECT = np.zeros((SIDE, SIDE), bool)
DEFECT[18:33, 13:38] = True  # across JPEG's blocks
EXACT = DEFECT.astype(np.uint8) * 255
LABELS = DEFECT.astype(np.uint8)
LABELS[24:33, 13:38] = 3
RING = (np.random.default_rng(0).random((SIDE, SIDE)) < 0.1) & ~DEFECT


def jpeg(grey: np.ndarray, quality: int = 75) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def noisy(lowest: int, highest: int) -> np.ndarray:
    noise = np.random.default_rng(1).integers(lowest, highest + 1, (SIDE, SIDE)).astype(np.uint8)
    return np.where(RING, noise, EXACT)


def palette(colours: list[int]) -> Image.Image:
    image = Image.fromarray(LABELS)
    image.putpalette([*colours, *[0] * (768 - len(colours))])
    return image


def soft(alpha: np.ndarray) -> np.ndarray:
    return np.dstack([np.full((SIDE, SIDE, 3), 255, np.uint8), alpha])


@pytest.mark.parametrize(
    "mask",
    [
        *(EXACT, LABELS, DEFECT, DEFECT.astype(np.uint8), DEFECT * np.uint8(200), LABELS * np.uint8(7)),
        *(LABELS * np.uint8(85), np.where(LABELS == 3, 255, LABELS * np.uint8(40)).astype(np.uint8)),
        *(DEFECT.astype(np.uint16), DEFECT * np.uint16(65535), LABELS.astype(np.uint16) * 20000),
        *(palette([0, 0, 0, 128, 0, 0, 0, 0, 0, 0, 128, 0]), palette([0, 0, 0, 2, 0, 0, 0, 0, 0, 255, 255, 0])),
        *(soft(EXACT), np.repeat(EXACT[..., None], 3, axis=2)),
    ],
)
def test_exact_masks_and_labels_are_used_whole(tmp_path: Path, mask: np.ndarray | Image.Image) -> None:
    path, doubts = tmp_path / "m.png", Doubts()
    (mask if isinstance(mask, Image.Image) else Image.fromarray(mask)).save(path)
    assert np.array_equal(read_mask(path, DEFECT.shape, "x.png", doubts), DEFECT)
    assert np.array_equal(mask_pixels(path), DEFECT) and not doubts.sentences()


@pytest.mark.parametrize(
    "mask",
    [
        *(jpeg(EXACT), jpeg(EXACT, 30), jpeg(EXACT, 95), noisy(1, 20), noisy(5, 5), noisy(1, 8), noisy(1, 1)),
        *(jpeg(np.repeat(EXACT[..., None], 3, axis=2)), jpeg(EXACT).astype(np.uint16) * 257, soft(noisy(1, 20))),
    ],
)
def test_noise_around_a_mask_is_no_defect(tmp_path: Path, mask: np.ndarray) -> None:
    path, doubts = tmp_path / "m.png", Doubts()
    Image.fromarray(mask).save(path)
    assert np.array_equal(read_mask(path, DEFECT.shape, "x.png", doubts), DEFECT)
    grey = mask[..., 3] if mask.ndim == 3 and mask.shape[2] == 4 else mask if mask.ndim == 2 else mask.max(axis=2)
    assert doubts.grey == {path: pytest.approx(((grey > 0) & (grey < grey.max())).sum() / (grey > 0).sum())}
    (sentence,) = doubts.sentences()
    assert str(path) in sentence and "% of the pixels that are not black are grey" in sentence and "PNG" in sentence


def test_the_rule_is_half_of_the_maximum(tmp_path: Path) -> None:
    blurred = np.asarray(Image.fromarray(EXACT // 2).filter(ImageFilter.GaussianBlur(2)))
    Image.fromarray(blurred).save(tmp_path / "m.png")
    assert np.array_equal(mask_pixels(tmp_path / "m.png"), blurred > blurred.max() / 2)
    values = blurred.astype(np.float32) / 255
    Image.fromarray(values).save(tmp_path / "m.tif")
    assert np.array_equal(mask_pixels(tmp_path / "m.tif"), values > values.max() / 2)


def test_ignored_values_are_not_looked_at(tmp_path: Path) -> None:
    for mask, value in ((EXACT, 128), (LABELS, 255), (noisy(1, 20), 128)):
        mask = mask.copy()
        mask[:4] = value
        Image.fromarray(mask).save(tmp_path / "m.png")
        truth = read_truth(tmp_path / "m.png", DEFECT.shape, "x.png", value)
        assert np.array_equal(truth == 1, DEFECT) and (truth[:4] == 2).all() and (truth[4:] < 2).all()


def test_inverted_and_white_masks_are_told(tmp_path: Path) -> None:
    doubts = Doubts()
    for name, mask in (
        ("inverted", 255 - EXACT),
        ("white", np.full_like(EXACT, 255)),
        ("large", np.pad(EXACT[4:-4, 4:-4] * 0 + 255, 4)),
    ):
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
        assert np.array_equal(read_mask(tmp_path / f"{name}.png", DEFECT.shape, "x.png", doubts), mask > 0)
    inverted, white = doubts.sentences()
    assert (
        inverted.startswith(f"{tmp_path}/inverted.png: most of the image is marked") and "invert the mask" in inverted
    )
    assert white.startswith(f"{tmp_path}/white.png: marks every pixel")
    Image.fromarray(EXACT * 0).save(tmp_path / "black.png")
    with pytest.raises(DataError, match="marks no pixel"):
        read_mask(tmp_path / "black.png", DEFECT.shape, "x.png")


@pytest.fixture
def category(tmp_path: Path) -> Path:
    root = tmp_path / "part"
    rng = np.random.default_rng(0)
    masks = (EXACT, jpeg(EXACT), jpeg(EXACT), 255 - EXACT)
    for folder in ("train/good", "test/good", "test/bad", "ground_truth/bad"):
        (root / folder).mkdir(parents=True)
    for i in range(10):
        Image.fromarray(rng.integers(0, 99, (SIDE, SIDE, 3), np.uint8)).save(root / f"train/good/{i}.png")
    for i, mask in enumerate(masks):
        Image.fromarray(rng.integers(0, 99, (SIDE, SIDE, 3), np.uint8)).save(root / f"test/good/{i}.png")
        Image.fromarray(rng.integers(0, 99, (SIDE, SIDE, 3), np.uint8)).save(root / f"test/bad/{i}.png")
        Image.fromarray(mask).save(root / f"ground_truth/bad/{i}_mask.png")
    return root


def check_told(messages: list[str], root: Path) -> None:
    grey, inverted = messages
    assert grey.startswith(f"{root}/ground_truth/bad/1_mask.png, {root}/ground_truth/bad/2_mask.png: up to ")
    assert inverted.startswith(f"{root}/ground_truth/bad/3_mask.png: most of the image is marked")


def test_the_check_tells(category: Path) -> None:
    findings = check_set(category)[0].findings
    assert {finding.severity for finding in findings} == {"warning"}
    check_told([finding.message for finding in findings], category)
    assert [len(finding.files) for finding in findings] == [2, 1]


def test_evaluations_tell(category: Path) -> None:
    from brightness import Brightness

    found = evaluate(Brightness(), open_category(category))
    check_told(found.notes, category)
    assert [int(image.mask.sum()) for image in found.images if not image.is_good][:3] == [DEFECT.sum()] * 3
    maps = category.parent / "maps"
    (maps / "bad").mkdir(parents=True)
    for i in range(4):
        np.save(maps / f"bad/{i}.npy", np.random.default_rng(i).random((SIDE, SIDE), np.float32))
    assert [int(mask.sum()) for _, mask, _ in open_map_set(maps, category / "ground_truth")][:3] == [DEFECT.sum()] * 3
    of_maps = evaluate_map_files(maps, category)
    check_told(of_maps.notes, category)
    assert of_maps.to_json()["notes"] == of_maps.notes
    np.save(category.parent / "maps.npy", np.zeros((1, SIDE, SIDE), np.float32))
    np.save(category.parent / "masks.npy", noisy(1, 20)[None])
    ((_, mask, _),) = open_map_set(category.parent / "maps.npy", category.parent / "masks.npy")
    assert np.array_equal(mask, DEFECT)
