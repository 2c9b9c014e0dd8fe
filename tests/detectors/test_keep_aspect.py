"""Images that keep their shape when they are resized."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small import good_images, teacher_file

from stadx import Detector
from stadx.data.images import stretched, write_image
from stadx.data.source import ImageSource
from stadx.data.tensors import Within, resize, resize_maps, resized


@pytest.mark.parametrize(
    ("shape", "within", "expected"),
    [
        ((20, 40), (32, 32), (16, 32)),
        ((40, 20), (32, 32), (32, 16)),
        ((10, 10), (16, 48), (16, 16)),
        ((3, 1000), (32, 32), (1, 32)),
        ((32, 32), (32, 32), (32, 32)),
        ((100, 75), (64, 64), (64, 48)),
    ],
)
def test_the_largest_size_within(shape: tuple[int, int], within: tuple[int, int], expected: tuple[int, int]) -> None:
    assert resized(*shape, Within(*within)) == expected
    assert tuple(resize(torch.zeros(1, 3, *shape), Within(*within)).shape[2:]) == expected
    assert resized(*shape, within) == within and resized(*shape, None) == shape


def test_images_of_several_shapes(tmp_path: Path) -> None:
    wide, high = good_images(4, (30, 60)), good_images(3, (60, 30))
    settings = {"students": 1, "steps": 3, "crop": 12, "teachers": [teacher_file(tmp_path)]}
    detector = Detector((17,), image_size=40, keep_aspect=True, **settings).fit([*wide, *high])
    source = ImageSource([*wide, *high], detector.working_size)
    assert [tuple(source[i].shape[1:]) for i in (0, 6)] == [(20, 40), (40, 20)]
    detector.save(tmp_path / "m.safetensors")
    loaded = Detector.load(tmp_path / "m.safetensors")
    for images, small in ((wide, (20, 40)), (high, (40, 20))):
        maps = loaded.score(images)
        as_they_are = Detector.load(tmp_path / "m.safetensors")
        as_they_are.image_size = None
        expected = resize_maps(as_they_are.score(resize(images, small)), *images.shape[2:])
        assert torch.equal(maps, expected) and torch.equal(maps, detector.score(images))


def test_nothing_is_said_of_stretching(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", good_images(1, (30, 60))[0].permute(1, 2, 0).numpy())
    assert stretched(tmp_path / "a.png", Within(40, 40)) is None
    assert "--keep-aspect" in str(stretched(tmp_path / "a.png", 40))
