"""What students learn of the teacher, and what they see of the images: the same for images of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small import good_images, random_teacher

from stadx import DataError, dense_features, normalize_images
from stadx.data.images import write_image
from stadx.data.source import ImageSource
from stadx.detectors.student_teacher import targets as target_module
from stadx.detectors.student_teacher.batches import Batches
from stadx.detectors.student_teacher.crops import Crop, random_crops
from stadx.detectors.student_teacher.first_patches import random_patches
from stadx.detectors.student_teacher.settings import DetectorSettings
from stadx.detectors.student_teacher.students import train_students
from stadx.detectors.student_teacher.targets import TeacherTargets
from stadx.networks.choices import Padding
from stadx.networks.padding import pad_images
from stadx.networks.patch_network import PatchNetwork

pytestmark = [pytest.mark.arithmetic, pytest.mark.usefixtures("narrow_networks")]


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_statistics_are_those_of_every_pixel_of_every_image(cache_bytes: int) -> None:
    teacher, images = random_teacher(), good_images(5)
    targets = TeacherTargets(teacher, ImageSource(images, None), [0, 2, 3], cache_bytes)
    mean, std = targets.statistics()
    values = dense_features(teacher, normalize_images(images[[0, 2, 3]])).transpose(0, 1).flatten(1).double()
    torch.testing.assert_close(mean, values.mean(1).float())
    torch.testing.assert_close(std, values.std(1, correction=0).float())


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_large_images_are_described_tile_by_tile(cache_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, images = random_teacher(33), good_images(3, (83, 61))
    wholes, found = [], []
    for whole_pixels, tile in ((1 << 20, 384), (1 << 20, 24), (83 * 61 - 1, 24)):
        monkeypatch.setattr(target_module, "_WHOLE_PIXELS", whole_pixels)
        monkeypatch.setattr(target_module, "_TILE", tile)
        targets = TeacherTargets(teacher, ImageSource(images, None), [0, 2], cache_bytes)
        found.append(targets.statistics())
        assert len(targets._maps) == (2 if cache_bytes else 0)
        fresh = TeacherTargets(teacher, ImageSource(images, None), [0, 2], cache_bytes)
        assert torch.equal(fresh.whole(2), targets.whole(2)) and fresh.whole(2).dtype == torch.float16
        wholes.append([targets.whole(0), targets.whole(2), targets.crop(2, Crop(8, 5, 9, 7, 4))])
    assert all(torch.equal(x, y) for other in wholes[1:] for x, y in zip(wholes[0], other, strict=True))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    for x, y in zip(found[0], found[2], strict=True):  # float32 along a row of a tile
        torch.testing.assert_close(x, y, rtol=1e-6, atol=1e-6)


def test_images_of_one_colour_are_refused_before_the_teacher_sees_them(tmp_path: Path) -> None:
    grey = torch.full((2, 3, 20, 20), 7, dtype=torch.uint8)
    write_image(tmp_path / "a.png", grey[0].permute(1, 2, 0).numpy())
    stages: list[str] = []
    for source, name in (
        (ImageSource(grey, None), "images in memory"),
        (ImageSource(tmp_path, None), str(tmp_path)),
        (ImageSource([tmp_path / "a.png"] * 3, None), "a.png and 2 more"),
    ):
        with pytest.raises(DataError, match="all one colour") as caught:
            targets = TeacherTargets(random_teacher(), source, range(len(source)))
            targets.statistics(lambda stage, done, total, figures: stages.append(stage))
        assert name in str(caught.value)
    assert not stages
    grey[1, 2, -1, -1] = 8  # one pixel is enough
    TeacherTargets(random_teacher(), ImageSource(grey, None), [0, 1]).statistics()


def test_a_blind_teacher_is_refused() -> None:
    teacher = random_teacher()
    for weight in teacher.layers[-1].parameters():
        weight.zero_()
    with pytest.raises(DataError, match="p = 17 sees no difference"):
        TeacherTargets(teacher, ImageSource(good_images(2), None), [0, 1]).statistics()


@pytest.mark.parametrize("dead", [1, 5])
def test_a_dead_channel_does_no_harm(dead: int) -> None:
    """Of such a channel float16 keeps its mean to three digits, which are many times its own σ."""
    teacher, source = random_teacher(), ImageSource(good_images(), None)
    weight, bias = teacher.layers[-1].parameters()
    weight[:dead] *= 1e-5
    bias[:dead] = 5.0012
    targets = TeacherTargets(teacher, source, range(5))
    mean, std = targets.statistics()
    assert (std[:dead] > 5e-3).all() and (std[dead:] > 0.5).all()
    normalised = (targets.crop(0, Crop(0, 0, 20, 24, 1))[0] - mean[:, None, None]) / std[:, None, None]
    assert normalised[:dead].abs().max() < 0.3
    settings = DetectorSettings(students=1, steps=40, crop=12, precision="float32")
    history = train_students(teacher, source, range(5), settings, held_out=[5]).history
    assert history[-1]["held_out"] < 0.8 * history[0]["held_out"]


@pytest.mark.parametrize("p, stride", [(17, 1), (33, 4), (33, 1), (65, 8), (65, 4)])
def test_targets_of_a_crop_are_those_of_the_whole_image(p: int, stride: int) -> None:
    teacher, images = random_teacher(p), good_images(2, (37, 46))
    source = ImageSource(images, None)
    dense = dense_features(teacher, normalize_images(images), method="direct")
    room = 2 * 8 * 37 * 46  # for one image: the other's crops are computed each time
    targets = TeacherTargets(teacher, source, [1, 0], room)
    rng = np.random.default_rng(0)
    for index in (0, 1):
        for _ in range(3):
            crop = random_crops([(37, 46)], 24, stride, rng)[0]  # an even number of pixels along each side
            s = crop.stride
            expected = dense[index, :, crop.row :: s, crop.column :: s][:, : crop.height, : crop.width]
            torch.testing.assert_close(targets.crop(index, crop)[0], expected, atol=2e-3, rtol=1e-3)
            part = crop.receptive_field(source[index], teacher)
            if stride == teacher.stride > 1:
                torch.testing.assert_close(teacher.grid(part)[0], expected, atol=1e-4, rtol=1e-4)
    assert set(targets._maps) == {1}


def test_few_descriptors_are_kept_and_the_engine_makes_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 250 images of 256² they were 3.2 GB; PyTorch's convolutions take two to four times as long."""
    monkeypatch.setattr(target_module, "_CACHE_BYTES", 2 * 8 * 37 * 46)
    for slow in ("training_grid", "dense_features_padded"):
        monkeypatch.setattr(target_module, slow, lambda *given: pytest.fail("it is not the engine"))
    teacher = random_teacher(33)
    targets = TeacherTargets(teacher, ImageSource(good_images(3, (37, 46)), None), [0, 1, 2])
    found = [targets.crop(index, Crop(1, 2, 4, 4, 4)) for index in range(3)]
    assert all(crop.shape == (1, 8, 4, 4) for crop in found) and set(targets._maps) == {0}


def test_memory_does_not_grow_with_the_images() -> None:
    images = good_images(1, (256, 256)).expand(250, 3, 256, 256)
    targets = TeacherTargets(PatchNetwork(33), ImageSource(images, None), range(250))
    assert 256 << 20 < 2 * targets._size <= 512 << 20


@pytest.mark.parametrize("padding", ["reflect", "zeros", "replicate"])
@pytest.mark.parametrize("p", [17, 33, 65])
def test_a_receptive_field_is_cut_from_the_padded_image(p: int, padding: Padding) -> None:
    rng, teacher = np.random.default_rng(p), random_teacher(p)
    teacher.padding = padding
    sizes = [(1, 1), (3, 2), (p // 2, p), (91, 67), *(tuple(rng.integers(2, 150, 2).tolist()) for _ in range(12))]
    for size in sizes:
        image = good_images(1, size, seed=int(rng.integers(1000)))
        if rng.random() < 0.3:
            image = image.double() / 255
        padded = pad_images(normalize_images(image).float(), p // 2, padding)
        for stride in {1, teacher.stride}:
            for side in (1, 20, 64, None):
                crop = random_crops([size], side, stride, rng)[0]
                bottom = crop.row + stride * (crop.height - 1) + p
                right = crop.column + stride * (crop.width - 1) + p
                want = padded[:, :, crop.row : bottom, crop.column : right]
                assert torch.equal(crop.receptive_field(image[0], teacher), want)


def test_patches_to_initialise_on_are_cut_from_the_padded_images() -> None:
    source = ImageSource(good_images(3, (9, 41)), None)
    padded = pad_images(normalize_images(good_images(3, (9, 41))), 16)
    windows = padded.unfold(2, 33, 1).unfold(3, 33, 1)[[0, 2]].permute(0, 2, 3, 1, 4, 5).reshape(-1, 3 * 33 * 33)
    patches = random_patches(source, [0, 2], 33, DetectorSettings(border="reflect"))
    assert patches.shape == (256, 3, 33, 33) and patches.is_contiguous()
    places = torch.cdist(patches[:64].flatten(1), windows).argmin(1)
    assert torch.equal(patches[:64].flatten(1), windows[places])
    assert len(set(places.tolist())) > 40


def test_an_image_that_is_not_kept_is_read_once_for_a_crop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, image in enumerate(good_images(2)):
        write_image(tmp_path / f"{i}.png", image.permute(1, 2, 0).numpy())
    source = ImageSource(tmp_path, None, cache_bytes=0)
    targets = TeacherTargets(random_teacher(), source, [0, 1], cache_bytes=0)
    batches = Batches(targets, DetectorSettings(batch=2, crop=12), torch.zeros(8), torch.ones(8))
    read: list[int] = []
    get = ImageSource.__getitem__
    monkeypatch.setattr(ImageSource, "__getitem__", lambda self, index: (read.append(index), get(self, index))[1])
    batch = batches.of_step(0)
    assert sorted(read) == sorted(batch.images) == [0, 1]
    for i, (image, crop) in enumerate(zip(batch.images, batch.crops, strict=True)):
        assert torch.equal(targets.crop(image, crop)[0], batch.target[i])
