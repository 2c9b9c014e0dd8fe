"""The cluster, the model and the images that its tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import good_images, teacher_file
from two_nodes import s3_server, two_nodes

from stadx import Detector
from stadx.data.images import write_image


@pytest.fixture(scope="session")
def s3() -> Iterator[str | None]:
    with s3_server() as address:
        yield address


@pytest.fixture(scope="session")
def cluster(s3: str | None) -> Iterator[Any]:
    with two_nodes() as found:
        yield found


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector's file, which flags what is white."""
    folder = tmp_path_factory.mktemp("model")
    settings: dict[str, Any] = {"scales": (17,), "image_size": None, "students": 2, "steps": 40, "crop": 16}
    detector = Detector(**settings, held_out=0.3, image_fpr=0.02, teachers=(str(teacher_file(folder)),))
    detector.fit(good_images(12, (40, 48))).save(folder / "m.safetensors")
    return folder / "m.safetensors"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 30 images of several sizes, some with a defect, in two folders, two of one name."""
    for number in range(30):
        image = good_images(1, (40 + number % 3, 48), seed=number)[0].permute(1, 2, 0).numpy()
        if number % 4 == 0:
            image[5 : 25 + number % 3, 8:30] = 255
        name = "first.png" if number in (0, 1) else f"image{number}.png"
        write_image(tmp_path / "photos" / ("night" if number % 3 else ".") / name, np.ascontiguousarray(image))
    return tmp_path / "photos"
