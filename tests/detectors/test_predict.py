"""`predict` of files, and what `repr` shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small import good_images, teacher_file

from stadx import DataError, Detector
from stadx.data.images import write_image


def _small(folder: Path) -> Detector:
    return Detector((17,), students=2, image_size=None, steps=4, crop=16, teachers=[teacher_file(folder)])


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return _small(tmp_path_factory.mktemp("detector")).fit(good_images(4))


def test_predict_takes_files_folders_and_patterns(fitted: Detector, tmp_path: Path) -> None:
    images = good_images(3, seed=5)
    for number, image in enumerate(images):
        write_image(tmp_path / f"{number}.png", image.permute(1, 2, 0).numpy())
    whole = fitted.predict(images, stride=2)
    for given in (
        tmp_path,
        str(tmp_path / "?.png"),
        sorted(tmp_path.iterdir()),
        [tmp_path / "0.png", f"{tmp_path}/[12].png"],
    ):
        assert all(map(torch.equal, fitted.predict(given, stride=2), whole))
    assert torch.equal(fitted.predict(tmp_path / "1.png").maps[0], fitted.score(images)[1])
    write_image(tmp_path / "3.png", np.zeros((30, 20, 3), np.uint8))
    with pytest.raises(DataError, match=r"3\.png: has 20x30 pixels, .*0\.png has 24x20; images of one size"):
        fitted.predict(tmp_path)
    for wrong, message in (
        ([], "there are no images"),
        (tmp_path / "4.png", r"4\.png"),
        (images.numpy(), r"with transpose\(0, 2, 3, 1\)"),
    ):
        with pytest.raises(DataError, match=message):
            fitted.predict(wrong)  # type: ignore[arg-type]


def test_repr_shows_what_differs_from_the_defaults(tmp_path: Path) -> None:
    assert repr(Detector()) == "Detector()"
    assert repr(Detector((33, 65), students=2)) == "Detector(scales=(33, 65), students=2)"
    assert repr(_small(tmp_path)).startswith("Detector(scales=(17,), students=2, image_size=None, steps=4, ")
