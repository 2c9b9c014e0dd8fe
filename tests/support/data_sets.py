"""Tiny data sets on disk, in the layouts of published ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

_numbers = count()


def draw_anew() -> None:
    """The next picture is the first one again: a test's pictures don't depend on the tests before it."""
    global _numbers
    _numbers = count()


def draw_image(path: Path, size: tuple[int, int] = (12, 8)) -> Path:
    """A picture of noise of `size` (width, height), another each time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(next(_numbers)).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


SPOT = (4, 3, 7, 5)
"""Left, top, right and bottom of a spot of 3 x 2 pixels."""


def draw_mask(
    path: Path, value: int = 255, size: tuple[int, int] = (12, 8), spot: tuple[int, int, int, int] = SPOT
) -> Path:
    """A mask with a spot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.new("L", size)
    mask.paste(value, spot)
    mask.save(path)
    return path


def draw_mvtec(root: Path, good: str = "good", defect: str = "bent", ending: str = "_mask") -> Path:
    """A category of ten images to train on, two good and two with a defect to test."""
    draw_good(root / f"train/{good}", 10)
    draw_good(root / f"test/{good}", 2)
    for i in range(2):
        draw_image(root / f"test/{defect}/{i:03}.png")
        draw_mask(root / f"ground_truth/{defect}/{i:03}{ending}.png")
    return root


def draw_good(folder: Path, count: int, ending: str = "") -> None:
    """So many pictures 000.png, … in a folder."""
    for i in range(count):
        draw_image(folder / f"{i:03}{ending}.png")


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


LOCO_CONFIG = [
    {"defect_name": "missing", "pixel_value": 255, "saturation_threshold": 4, "relative_saturation": False},
    {"defect_name": "wrong", "pixel_value": 254, "saturation_threshold": 0.5, "relative_saturation": True},
    {"defect_name": "large", "pixel_value": 253, "saturation_threshold": 1000, "relative_saturation": False},
]


def draw_loco(root: Path) -> Path:
    """MVTec LOCO AD: an image of each type with a region of six pixels for each entry of the config."""
    for part, count_ in (("train", 10), ("validation", 2), ("test", 2)):
        for i in range(count_):
            draw_image(root / part / f"good/{i:03}.png")
    for kind in ("logical_anomalies", "structural_anomalies"):
        for i in range(2):
            draw_image(root / f"test/{kind}/{i:03}.png")
            for k, entry in enumerate(LOCO_CONFIG):
                draw_spot(root / f"ground_truth/{kind}/{i:03}/{k:03}.png", entry["pixel_value"], (3 * k, i))
    (root / "defects_config.json").write_text(json.dumps(LOCO_CONFIG))
    return root


def draw_spot(path: Path, value: object, corner: tuple[int, int], size: tuple[int, int] = (12, 8)) -> Path:
    """A mask with a spot of 3 x 2 pixels at `corner` (column, row)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.new("L", size)
    mask.paste(int(str(value)), (*corner, corner[0] + 3, corner[1] + 2))
    mask.save(path)
    return path


def draw_ad2(root: Path, private: int = 2) -> Path:
    """MVTec AD 2, with so many images in each private split."""
    for folder, images in (("train", 10), ("validation", 2), ("test_public", 2)):
        draw_good(root / folder / "good", images, "_regular")
    for i in range(2):
        draw_image(root / f"test_public/bad/{i:03}_regular.png")
        draw_mask(root / f"test_public/ground_truth/bad/{i:03}_regular_mask.png")
    for i in range(private):
        draw_image(root / f"test_private/{i:03}_regular.png", (13, 9))
        draw_image(root / f"test_private_mixed/{i:03}_mixed.png", (13, 9))
    return root


def draw_real_iad(root: Path, category: str = "audiojack", nested: bool = False) -> Path:
    """Real-IAD: the category's folder comes back; `nested` as its archive of split files unpacks."""
    images = root / "realiad_1024" / category
    split: dict[str, object] = {"meta": {"prefix": f"{category}/", "normal_class": "OK"}}
    good = [f"OK/S{i:04}/{category}_{i:04}_OK_C1.jpg" for i in range(12)]
    bad = [f"NG/AK/S{i:04}/{category}_{i:04}_NG_AK_C1" for i in range(2)]
    for name in good:
        draw_image(images / name)
    for name in bad:
        draw_image(images / f"{name}.jpg")
        draw_mask(images / f"{name}.png")
    entries = [{"category": category, "anomaly_class": "OK", "image_path": n, "mask_path": None} for n in good]
    defects = [
        {"category": category, "anomaly_class": "AK", "image_path": f"{n}.jpg", "mask_path": f"{n}.png"} for n in bad
    ]
    split |= {"train": entries[:10], "test": entries[10:] + defects}
    file = root / "realiad_jsons" / ("realiad_jsons" if nested else "") / f"{category}.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(split))
    return images


def draw_kolektor(root: Path) -> Path:
    """KolektorSDD: six parts of three images, the second of each part with a defect."""
    for part in range(1, 7):
        for i in range(3):
            draw_image(root / f"kos{part:02}/Part{i}.jpg")
            draw_mask(root / f"kos{part:02}/Part{i}_label.bmp", value=255 if i == 1 else 0)
    return root


def draw_kolektor2(root: Path) -> Path:
    """KolektorSDD2: ten good images and one with a defect to train on, two of each to test."""
    for part, good, bad in (("train", 10, 1), ("test", 2, 2)):
        for i in range(good + bad):
            draw_image(root / f"{part}/{10000 + i}.png")
            draw_mask(root / f"{part}/{10000 + i}_GT.png", value=0 if i < good else 255)
    return root


def draw_dagm(root: Path) -> Path:
    """A class of DAGM 2007: ten good images and one with a defect to train on, two of each to test."""
    for part, good, bad in (("Train", 10, 1), ("Test", 2, 2)):
        for i in range(good + bad):
            draw_image(root / f"{part}/{i:04}.PNG")
            if i >= good:
                draw_mask(root / f"{part}/Label/{i:04}_label.PNG")
        (root / f"{part}/Label/Labels.txt").write_text("1\n")
    return root
