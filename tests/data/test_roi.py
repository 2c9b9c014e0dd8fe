"""Masks of the region of interest: which belongs to an image, and which are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from stadx.core.errors import DataError
from stadx.data.images import write_image
from stadx.data.roi import Roi, nearest
from stadx.data.source import ImageSource

LEFT = np.zeros((8, 12), np.uint8)
LEFT[:, :5] = 255


def mask_file(path: Path, mask: NDArray[Any] = LEFT) -> Path:
    write_image(path, mask)
    return path


@pytest.mark.parametrize("size", [(8, 12), (16, 24), (3, 5), (1, 1), (20, 7)])
def test_nearest_is_what_the_mask_is_at_a_pixels_centre(size: tuple[int, int]) -> None:
    mask = torch.rand(8, 12, generator=torch.Generator().manual_seed(1)) < 0.5
    found = nearest(mask, size)
    want = F.interpolate(mask[None, None].to(torch.uint8), size, mode="nearest-exact")[0, 0].bool()
    assert torch.equal(found, want)
    rows, columns = slice(1, None, 2), slice(0, 3)
    assert torch.equal(nearest(mask, size, rows, columns), found[rows, columns])
    assert Roi(mask).count(*size) == int(found.sum())


def test_one_mask_is_resized_to_each_image(tmp_path: Path) -> None:
    roi = Roi(mask_file(tmp_path / "roi.png"))
    assert roi.share == pytest.approx(5 / 12)
    assert np.array_equal(roi.of(tmp_path / "a.jpg", (8, 12)), LEFT > 0)
    assert np.array_equal(roi.of(0, (16, 24)), np.repeat(np.repeat(LEFT > 0, 2, 0), 2, 1))
    assert np.array_equal(Roi(torch.from_numpy(LEFT)).of(0, (8, 12)), LEFT > 0)


def test_an_images_own_mask_is_found_by_its_name(tmp_path: Path) -> None:
    marks = {}
    for number, name in enumerate(
        ("a.png", "b_mask.png", "c_roi.bmp", "good/d.png", "e.png", "scratch/e.png"), start=1
    ):
        mask = np.zeros((8, 12), np.uint8)
        mask[0, number] = 1
        marks[name] = number
        (tmp_path / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        mask_file(tmp_path / "masks" / name, mask)
    roi = Roi(tmp_path / "masks")
    assert roi.share is None
    images = {"x/a.jpg": "a.png", "x/b.tif": "b_mask.png", "x/c.png": "c_roi.bmp", "good/d.jpg": "good/d.png"}
    images |= {"x/e.png": "e.png", "scratch/e.png": "scratch/e.png"}
    for image, mask_name in images.items():
        assert roi.of(tmp_path / image, (8, 12))[0].nonzero()[0].tolist() == [marks[mask_name]], image


def test_masks_may_lie_beside_their_images(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.full((8, 12, 3), 9, np.uint8))
    mask_file(tmp_path / "a_mask.png")
    assert np.array_equal(Roi(tmp_path).of(tmp_path / "a.png", (8, 12)), LEFT > 0)


def test_masks_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    black = mask_file(tmp_path / "black.png", np.zeros((8, 12), np.uint8))
    with pytest.raises(DataError, match=r"black\.png: the mask is black.*white"):
        Roi(black)
    with pytest.raises(DataError, match=r"none\.png: there is no such mask"):
        Roi(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"text\.png"):
        Roi(tmp_path / "text.png")
    Image.fromarray(LEFT).save(tmp_path / "mask.jpg")
    with pytest.raises(DataError, match=r"mask\.jpg: is compressed with loss.*PNG"):
        Roi(tmp_path / "mask.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: has no masks; put NAME\.png"):
        Roi(tmp_path / "empty")
    thin = np.zeros((8, 12), np.uint8)
    thin[0, 0] = 1
    with pytest.raises(DataError, match=r"thin\.png: the mask has no white pixel at 3x2"):
        Roi(mask_file(tmp_path / "thin.png", thin)).of(0, (2, 3))
    with pytest.raises(DataError, match=r"has shape \[4\]"):
        Roi(np.zeros(4))


def test_masks_of_a_folder_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    for name in ("a.png", "b.png", "b_mask.png", "c.png"):
        mask_file(folder / name)
    mask_file(folder / "black.png", np.zeros((8, 12), np.uint8))
    roi = Roi(folder)
    with pytest.raises(DataError, match=r"x/z\.jpg: has no mask in the region of interest; expected .*z\.png"):
        roi.of(tmp_path / "x/z.jpg", (8, 12))
    with pytest.raises(DataError, match=r"b_mask\.png: is a second mask of .*b\.jpg, beside .*b\.png; remove one"):
        roi.of(tmp_path / "x/b.jpg", (8, 12))
    with pytest.raises(DataError, match=r"a\.png: the mask is 12x8 pixels but its image .*a\.jpg is 12x9"):
        roi.of(tmp_path / "x/a.jpg", (9, 12))
    with pytest.raises(DataError, match=r"black\.png: the mask has no white pixel"):
        roi.of(tmp_path / "x/black.jpg", (8, 12))
    roi.of(tmp_path / "good/c.jpg", (8, 12))
    with pytest.raises(DataError, match=r"c\.png: would be the mask of .*crack/c\.jpg and of .*good/c\.jpg; put masks"):
        roi.of(tmp_path / "crack/c.jpg", (8, 12))


def test_the_mask_is_resized_with_the_image(tmp_path: Path) -> None:
    images = torch.zeros(3, 3, 8, 12, dtype=torch.uint8)
    masks = np.stack([LEFT, np.ones_like(LEFT), LEFT.T.repeat(2, 0)[:8].repeat(2, 1)[:, :12]])
    source = ImageSource(images, (16, 24), roi=Roi(masks))
    assert np.array_equal(source.inside(0), (LEFT > 0).repeat(2, 0).repeat(2, 1))
    assert source.inside(1) is None  # everywhere
    assert ImageSource(images, (16, 24)).inside(0) is None
    prints = {ImageSource(images, 8, roi=roi).roi_fingerprint() for roi in (Roi(masks), Roi(LEFT), Roi(LEFT[:, ::-1]))}
    assert len(prints) == 3 and None not in prints
    assert ImageSource(images, 8, roi=Roi(np.ones((2, 2)))).roi_fingerprint() is None
    with pytest.raises(DataError, match=r"there are 2 masks of the region of interest, but more images"):
        ImageSource(images, 8, roi=Roi(masks[:2])).inside(2)
    with pytest.raises(DataError, match=r"mask 0 of the region of interest is \[8, 12\], its image \[8, 13\]"):
        ImageSource(torch.zeros(1, 3, 8, 13), None, roi=Roi(masks)).inside(0)
