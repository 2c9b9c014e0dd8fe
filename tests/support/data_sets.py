"""Tiny data sets on disk, in the layouts of published ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

_numbers = count()


def draw_image(path: Path, size: tuple[int, int] = (12, 8)) -> Path:
    """A picture of noise of `size` (width, height), another each time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(next(_numbers)).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def draw_mask(path: Path, value: int = 255, size: tuple[int, int] = (12, 8)) -> Path:
    """A mask with a spot of 3 x 2 pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.new("L", size)
    mask.paste(value, (4, 3, 7, 5))
    mask.save(path)
    return path


def draw_mvtec(root: Path, good: str = "good", defect: str = "bent", ending: str = "_mask") -> Path:
    """A category of ten images to train on, two good and two with a defect to test."""
    for i in range(10):
        draw_image(root / f"train/{good}/{i:03}.png")
    for i in range(2):
        draw_image(root / f"test/{good}/{i:03}.png")
        draw_image(root / f"test/{defect}/{i:03}.png")
        draw_mask(root / f"ground_truth/{defect}/{i:03}{ending}.png")
    return root


def draw_btad(root: Path) -> Path:
    """BTAD: 01 has BMP images and PNG masks, 02 PNG alone, 03 BMP alone."""
    for category, image, mask in (("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")):
        for i in range(10):
            draw_image(root / category / f"train/ok/{i:04}.{image}")
        draw_image(root / category / f"test/ok/0000.{image}")
        for i in range(2):
            draw_image(root / category / f"test/ko/{i:04}.{image}")
            draw_mask(root / category / f"ground_truth/ko/{i:04}.{mask}")
    return root


def draw_visa(root: Path, categories: Sequence[str] = ("candle", "pcb1")) -> Path:
    """VisA: images from 0 to 12 are good, of which the split tests on 3 and 10; masks have small values."""
    lines = ["object,split,label,image,mask"]
    for category in categories:
        for i in range(13):
            path = f"{category}/Data/Images/Normal/{i:04}.JPG"
            draw_image(root / path)
            lines.insert(1, f"{category},{'test' if i in (3, 10) else 'train'},normal,{path},")
        for i in range(2):
            image, mask = (f"{category}/Data/{kind}/Anomaly/{i:03}" for kind in ("Images", "Masks"))
            draw_image(root / f"{image}.JPG")
            draw_mask(root / f"{mask}.png", value=i + 1)
            lines.append(f"{category},test,anomaly,{image}.JPG,{mask}.png")
    (root / "split_csv").mkdir()
    (root / "split_csv/1cls.csv").write_text("\n".join(lines) + "\n")
    return root
