"""AU-sPRO of a detector at other sizes than the images' own, and inside a region of interest, by its definition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from brightness import Brightness
from data_sets import LOCO_CONFIG, draw_loco, draw_spot
from numpy.typing import NDArray
from PIL import Image
from spro_by_definition import brute_force

from stadx.data.images import read_image
from stadx.data.layouts import open_category
from stadx.data.region_files import Saturation, read_config, read_regions
from stadx.data.roi import Roi
from stadx.data.tensors import ImageSize, resize
from stadx.evaluation.of_detector import At, evaluate

HEIGHT, WIDTH = 8, 12
EVERYWHERE = np.ones((HEIGHT, WIDTH), bool)
LEFT = np.arange(WIDTH) < np.full((HEIGHT, 1), 5)  # the first regions, most of the second


class Looking(Brightness):
    """Brightness; what is not looked at scores highest, so that it must not count."""

    def __init__(self, image_size: ImageSize = 256) -> None:
        super().__init__(image_size)
        self.working_size = image_size

    def score(self, images: torch.Tensor, *, stride: int = 1, roi: Any = None) -> torch.Tensor:
        maps = super().score(images)
        if roi is None:
            return maps
        inside = by_nearest(roi, tuple(maps.shape[1:]))
        return maps.masked_fill(~torch.from_numpy(inside), 2.0)


@pytest.fixture
def loco(tmp_path: Path) -> Path:
    return draw_loco(tmp_path / "box")


def by_nearest(mask: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    """Each pixel is that of the mask under its centre."""
    rows, columns = (
        [int((i + 0.5) * old / new) for i in range(new)] for old, new in zip(mask.shape, size, strict=True)
    )
    return mask[rows][:, columns]


def by_hand(root: Path, kind: str, size: tuple[int, int], inside: NDArray[Any], at: At) -> dict[float, float]:
    """Of the images of a type and the good ones; images whose regions all lie outside are left out."""
    scores, regions, saturation = [], [], []
    counts = by_nearest(inside, size)
    for item in open_category(root).test:
        if item.defect not in ("good", kind):
            continue
        image = torch.from_numpy(read_image(item.path)).permute(2, 0, 1)[None]
        if at == "model":
            image = resize(image, size)
        scored = Looking().score(image, roi=inside)
        if isinstance(at, int):
            scored = resize(scored[:, None], size)[:, 0]
        here: list[NDArray[Any]] = []
        found: list[float] = []
        for path in sorted(item.mask.iterdir()) if item.mask is not None else []:
            values = np.asarray(Image.open(path))
            mask = by_nearest(values != 0, size)[counts]
            area = int(mask.sum())
            if not area:
                continue
            wanted: dict[int, float] = {255: 4 * size[0] * size[1] / (HEIGHT * WIDTH), 254: area // 2, 253: area}
            here.append(mask)
            found.append(min(max(wanted[int(values.max())], 1), area))
        scores.append(scored[0].numpy()[counts])
        regions.append(here)
        saturation.append(found)
    return brute_force(scores, regions, saturation)


@pytest.mark.parametrize("inside", [EVERYWHERE, LEFT], ids=["everywhere", "left"])
@pytest.mark.parametrize(
    ("at", "image_size", "size"),
    [
        ("original", 256, (HEIGHT, WIDTH)),
        ("model", (24, 36), (24, 36)),  # nine pixels for each: saturated at 36
        ("model", (13, 17), (13, 17)),
        ("model", (6, 9), (6, 9)),  # the saturation is no whole number
        (7, (HEIGHT, WIDTH), (7, 7)),
    ],
)
def test_regions_are_resized_and_cut(
    at: At, image_size: ImageSize, size: tuple[int, int], inside: NDArray[Any], loco: Path
) -> None:
    roi = None if inside is EVERYWHERE else Roi(inside)
    result = evaluate(Looking(image_size), open_category(loco), at=at, roi=roi).spro
    assert result is not None and len(result.types) == 2
    for kind, found in result.types.items():
        assert found.au_spro == pytest.approx(by_hand(loco, kind, size, inside, at), abs=1e-12)
        assert found.images == 2 and found.regions == (6 if roi is None else 4)
        assert found.image_auroc is not None
    assert result.gone == (0 if roi is None else 4) == json.loads(json.dumps(result.to_json()))["gone"]
    assert any("4 regions have no pixel left" in note for note in result.notes) == (roi is not None)


def test_a_saturation_in_pixels_is_scaled_and_a_share_is_not(loco: Path) -> None:
    assert Saturation("x", 4, False).area(24, 4.0) == 16 and Saturation("x", 4, False).area(24, 5.3) == 21.2
    assert Saturation("x", 4, False).area(2, 0.25) == 1 and Saturation("x", 4, False).area(9, 4.0) == 9
    assert Saturation("x", 0.5, True).area(24, 4.0) == 12
    folder, config = loco / "ground_truth/logical_anomalies/000", loco / "defects_config.json"
    found = read_regions(folder, (HEIGHT, WIDTH), folder, read_config(config), config, size=(16, 24))
    assert [int(m.sum()) for m in found.masks] == [24, 24, 24] and found.saturation == [16, 12, 24]
    assert (found.clipped, found.gone) == (1, 0)
    cut = read_regions(folder, (HEIGHT, WIDTH), folder, read_config(config), config, counts=LEFT)
    assert [m.shape for m in cut.masks] == [(1, 40), (1, 40)] and cut.saturation == [4, 2]
    assert (cut.defects, cut.clipped, cut.gone) == ([entry["defect_name"] for entry in LOCO_CONFIG[:2]], 0, 1)


def test_a_type_of_which_nothing_is_looked_at_is_named(loco: Path) -> None:
    for folder in (loco / "ground_truth/structural_anomalies").iterdir():
        for file in folder.iterdir():
            file.unlink()
        draw_spot(folder / "000.png", 254, (6, 1))
    result = evaluate(Looking(), open_category(loco), roi=Roi(LEFT))
    assert result.spro is not None and list(result.spro.types) == ["logical_anomalies"]
    assert any("structural_anomalies/000.png" in note for note in result.notes)  # left out


def test_a_type_whose_regions_are_too_thin_is_named_and_its_images_stay_anomalous(loco: Path) -> None:
    for kind, index in (("structural_anomalies", 0), ("structural_anomalies", 1), ("logical_anomalies", 0)):
        folder = loco / "ground_truth" / kind / f"{index:03}"
        for file in folder.iterdir():
            file.unlink()
        point = np.zeros((HEIGHT, WIDTH), np.uint8)
        point[0, 0] = 254
        Image.fromarray(point).save(folder / "000.png")
    result = evaluate(Looking((4, 6)), open_category(loco), at="model").spro
    assert result is not None and list(result.types) == ["logical_anomalies"]
    assert result.types["logical_anomalies"].images == 2 and result.types["logical_anomalies"].regions < 6
    assert "AU-sPRO of structural_anomalies is undefined: no pixel" in result.notes[-1]


@pytest.mark.parametrize(("at", "size"), [("original", (HEIGHT, WIDTH)), ("model", (6, 9))])
def test_the_threshold_of_the_validation_maps_is_of_what_is_looked_at(
    at: At, size: tuple[int, int], loco: Path
) -> None:
    category = open_category(loco)
    found = evaluate(Looking(size), category, at=at, roi=Roi(LEFT)).f1_validation
    images = [torch.from_numpy(read_image(path)).permute(2, 0, 1)[None] for path in category.validation]
    images = [resize(image, size) for image in images] if at == "model" else images
    values = np.concatenate([Looking().score(x)[0].numpy()[by_nearest(LEFT, size)] for x in images]).astype(np.float64)
    assert found is not None and found.threshold == pytest.approx(values.mean() + 3 * values.std(), rel=1e-6)
