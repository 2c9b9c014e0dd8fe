"""Training images at the size that the detector works at."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from small import good_images

from stadx import DataError
from stadx.data import kept_images
from stadx.data.images import write_image
from stadx.data.kept_images import KeptImages
from stadx.data.source import ImageSource
from stadx.data.tensors import resize


def test_resize_is_antialiased_and_keeps_the_dtype() -> None:
    stripes = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    stripes[..., ::2] = 255
    small = resize(stripes, 16)
    assert small.shape == (1, 3, 16, 16) and small.dtype == torch.uint8
    assert (small[..., 2:-2, 2:-2].int() - 128).abs().max() <= 2
    assert resize(stripes, (8, 20)).shape == (1, 3, 8, 20)
    assert resize(stripes, None) is stripes and resize(stripes, 64) is stripes
    assert torch.equal(resize(stripes, np.int64(16)), small)  # type: ignore[arg-type]
    for dtype in (torch.float16, torch.bfloat16):
        some = (stripes / 255).to(dtype)
        assert torch.equal(resize(some, 16), resize(some.float(), 16))


def test_images_are_read_once_and_again_without_room(tmp_path: Path) -> None:
    images = good_images(2)
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for path, image in zip(paths, images, strict=True):
        write_image(path, image.permute(1, 2, 0).numpy())
    kept, unkept = ImageSource(paths, None), ImageSource(paths, None, cache_bytes=0)
    assert torch.equal(kept[1], images[1]) and torch.equal(unkept[1], images[1])
    paths[1].unlink()
    assert torch.equal(kept[1], images[1])
    with pytest.raises(DataError, match=r"1\.png"):
        unkept[1]


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_beyond_its_memory_images_and_masks_are_kept_in_a_file(kind: torch.dtype) -> None:
    images = good_images(4, (9, 14)).to(kind)
    kept = KeptImages(memory_bytes=images[0].nbytes, file_bytes=2 * images[0].nbytes + 9 * 14)
    masks = {1: torch.rand(9, 14) > 0.5}
    room = [kept.put(i, images[i], masks.get(i), images[i].nbytes + (9 * 14 if i in masks else 0)) for i in range(4)]
    assert room == [True, True, True, False] and kept.get(3) is None
    for index in (2, 0, 1, 2):
        image, mask = kept.get(index) or (None, None)
        assert image is not None and image.dtype == kind and torch.equal(image, images[index])
        assert torch.equal(mask, masks[1]) if mask is not None else index != 1


def test_little_memory_for_images_does_not_read_them_twice(tmp_path: Path) -> None:
    images = good_images(3)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, image in zip(paths, images, strict=True):
        write_image(path, image.permute(1, 2, 0).numpy())
    source = ImageSource(paths, None, cache_bytes=images[0].nbytes)
    hashes = [source.hash_of(index) for index in range(3)]
    for path in paths:
        path.unlink()
    assert all(torch.equal(source[index], images[index]) for index in range(3))
    assert len(set(hashes)) == 3


def test_a_full_disk_has_images_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept_images.tempfile, "TemporaryFile", full)
    path = tmp_path / "0.png"
    write_image(path, good_images(1)[0].permute(1, 2, 0).numpy())
    source = ImageSource([path], None, cache_bytes=1)
    assert torch.equal(source[0], source[0]) and torch.equal(source[0], good_images(1)[0])


def test_images_in_memory_take_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    images = good_images(3)
    source = ImageSource(images, None, cache_bytes=1)
    monkeypatch.setattr(kept_images.tempfile, "TemporaryFile", lambda **given: pytest.fail("they are written"))
    assert all(source[index].data_ptr() == images[index].data_ptr() for index in range(3))


def test_fingerprints_tell_sets_apart(tmp_path: Path) -> None:
    images = good_images(3)
    same = ImageSource(images.clone(), None).fingerprint()
    assert ImageSource(images, None).fingerprint() == same
    others = [ImageSource(images, 8), ImageSource(images.flip(0), None), ImageSource(images.float() / 255, None)]
    others.append(ImageSource((images.float() / 255).bfloat16(), None))
    assert len({same, *(other.fingerprint() for other in others)}) == 5
    path = tmp_path / "a.png"
    write_image(path, images[0].permute(1, 2, 0).numpy())
    before = ImageSource([path], None).fingerprint()
    os.utime(path, (1, 1))
    assert ImageSource([path], None).fingerprint() != before


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("size", "target"),
    [((50, 1), (20, 1)), ((50, 1), (70, 3)), ((1, 50), (1, 20)), ((1, 1), (4, 5))],
)
def test_images_one_pixel_wide_are_resized_as_wider_ones(
    size: tuple[int, int], target: tuple[int, int], dtype: torch.dtype
) -> None:
    images = (255 * torch.rand(2, 3, *size)).to(dtype)
    wide = images.repeat(1, 1, 5 if size[0] == 1 else 1, 5 if size[1] == 1 else 1)
    across = tuple(5 if length == 1 else out for length, out in zip(size, target, strict=True))
    expected = resize(wide, across)[:, :, : 1 if size[0] == 1 else None, : 1 if size[1] == 1 else None]
    found = resize(images, target)
    assert found.shape[2:] == target
    # what is constant along an axis stays so; the order of sums may differ
    torch.testing.assert_close(
        found, expected.expand(-1, -1, *target), rtol=1e-5, atol=0 if dtype == torch.uint8 else 1e-4
    )
