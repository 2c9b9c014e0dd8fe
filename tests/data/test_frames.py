"""Images in memory: what arrays, PIL images and tensors become, and what is said of what is no image."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small import good_images

from stadx import DataError, DataWarning
from stadx.data.frames import one_frame
from stadx.data.images import read_image, write_image
from stadx.data.source import ImageSource, read_batch
from stadx.data.value_range import ValueRange

TENSOR = good_images(4, (10, 14))
ARRAY = np.ascontiguousarray(TENSOR.permute(0, 2, 3, 1).numpy())
GREY = ARRAY[..., 0]
GREY_TENSOR = TENSOR[:, :1].expand(-1, 3, -1, -1)


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "given",
    [
        ARRAY,
        list(ARRAY),
        tuple(ARRAY),
        [ARRAY[:1], ARRAY[1:]],
        [*TENSOR],
        [TENSOR[:2], *ARRAY[2:]],
        [Image.fromarray(image) for image in ARRAY],
        read_only(ARRAY),
        np.asfortranarray(ARRAY),
        ARRAY[::-1].copy()[::-1],
        np.ascontiguousarray(ARRAY[:, ::-1, ::-1])[:, ::-1, ::-1],
        np.repeat(ARRAY, 2, 2)[:, :, ::2],
        np.concatenate([ARRAY, np.full_like(ARRAY[..., :1], 255)], 3),
    ],
    ids=lambda given: type(given).__name__,
)
def test_forms_of_the_same_images(given: Any) -> None:
    assert torch.equal(read_batch(given), TENSOR)
    assert torch.equal(read_batch(x for x in given), TENSOR)
    source = ImageSource(given, 8)
    assert len(source) == 4 and source[3].shape == (3, 8, 8)
    from_tensor = ImageSource(TENSOR, 8)
    assert all((source[i].int() - from_tensor[i].int()).abs().max() <= 1 for i in range(4))


@pytest.mark.parametrize("given", [GREY, list(GREY), GREY[..., None], [Image.fromarray(image) for image in GREY]])
def test_grey(given: Any) -> None:
    assert torch.equal(read_batch(given), GREY_TENSOR)
    assert torch.equal(read_batch(given, "bgr"), GREY_TENSOR)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", ">f8", "longdouble"])
def test_floats(dtype: str) -> None:
    values = (ARRAY / 255).astype(dtype)
    found = read_batch(values)
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.from_numpy(values.astype(np.float32)).permute(0, 3, 1, 2))
    mixed = read_batch([ARRAY[0], values[1]])  # 255 and 1.0 are the same white
    assert torch.equal(mixed[0], TENSOR[0].float() / 255) and torch.equal(mixed[1], found[1])


def test_opencv_has_blue_first() -> None:
    blue_first = ARRAY[..., ::-1]
    for given in (blue_first, list(blue_first), TENSOR.flip(1), [*TENSOR.flip(1)], blue_first / 255):
        found = read_batch(given, "bgr")
        assert torch.equal(found, TENSOR if found.dtype == torch.uint8 else (TENSOR.double() / 255).float())
    assert torch.equal(ImageSource(blue_first, None, channels="bgr")[2], TENSOR[2])
    with_opacity = np.concatenate([blue_first, np.full_like(GREY[..., None], 255)], 3)
    assert torch.equal(read_batch(with_opacity, "bgr"), TENSOR)
    with pytest.raises(ValueError, match="channels is 'gbr'; it must be one of rgb, bgr"):
        read_batch(ARRAY, "gbr")  # type: ignore[arg-type]


def test_opacity_is_laid_on_white_as_of_files(tmp_path: Path) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (6, 7, 4), np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    of_file = read_image(tmp_path / "a.png")
    for given in (rgba, Image.fromarray(rgba)):
        assert np.array_equal(read_batch(given)[0].permute(1, 2, 0), of_file)
    floats = read_batch(rgba.astype(np.float32) / 255)[0].permute(1, 2, 0)
    assert np.abs(floats.numpy() * 255 - of_file).max() < 1.01


def test_pil_images_are_read_as_their_files(tmp_path: Path) -> None:
    image = Image.fromarray(ARRAY[0])
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(GREY[0]).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(GREY[0] > 99).save(tmp_path / "bits.png")
    for name in ("turned", "palette", "bits"):
        with Image.open(tmp_path / f"{name}.png") as opened:
            assert torch.equal(read_batch(opened), read_batch(tmp_path / f"{name}.png"))
    content = (tmp_path / "turned.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    with Image.open(tmp_path / "cut.png") as opened, pytest.raises(DataError, match="image 1: its file cannot be read"):
        read_batch([ARRAY[0], opened])


def test_files_and_folders_among_them(tmp_path: Path) -> None:
    for number in (1, 2):
        write_image(tmp_path / f"{number}.png", ARRAY[number])
    for given in ([ARRAY[0], tmp_path, ARRAY[3]], (x for x in (TENSOR[0], f"{tmp_path}/*.png", ARRAY[3:]))):
        items = list(given)
        assert torch.equal(read_batch(items), TENSOR)
        source = ImageSource(items, None)
        assert [torch.equal(source[i], TENSOR[i]) for i in range(4)] == [True] * 4
        assert [source.name_of(i) for i in range(2)] == ["image 0", str(tmp_path / "1.png")]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (TENSOR.numpy(), "images: an array [4, 3, 10, 14] of uint8; give arrays [N, H, W, 3], with transpose(0, 2"),
        (TENSOR[0].numpy(), "images: an array [3, 10, 14] of uint8; give arrays [H, W, 3], with transpose(1, 2, 0)"),
        ([ARRAY[0], TENSOR[0].numpy()], "image 1: an array [3, 10, 14]"),
        (TENSOR.permute(0, 2, 3, 1), "tensors have the colours first: images.permute(0, 3, 1, 2)"),
        ([TENSOR[0].permute(1, 2, 0)], "image 0: a tensor [10, 14, 3]; give tensors [3, H, W], with permute(2, 0, 1)"),
        (ARRAY > 99, "array of bool, a mask; give images of uint8"),
        (ARRAY.astype(np.int64), "array of int64; give uint8, with array.astype(np.uint8)"),
        (ARRAY.astype(">i2"), "array of >i2; give uint8"),
        (ARRAY * 1j, "array of complex128; give uint8"),
        (ARRAY.astype(np.float32), "with values from 43 to 199; scale them to 0..1"),
        (np.full((4, 4, 3), np.nan), "values from nan to nan"),
        (np.ma.masked_equal(ARRAY, 0), "a masked array; give array.filled(value)"),
        (ARRAY.astype(object), "of object; give list(array)"),
        (np.array(["a.png"]), "give list(array) if it holds images or names"),
        (np.float32(3), "images: an array [] of float32; give [H, W, 3]"),
        (ARRAY[:0], "without a pixel"),
        (ARRAY[:, :0], "without a pixel"),
        (np.zeros((0, 5)), "without a pixel"),
        (np.zeros(5), "an array [5] of float64; give [H, W, 3] or [H, W]"),
        (np.zeros((4, 5, 2, 2)), "with the colours last"),
        (Image.new("RGB", (0, 3)), "images: has 0x3 pixels"),
        (None, "images are None, which cameras give where there is no image; give files, NumPy arrays"),
        ({"a": ARRAY}, "images are an object of type dict; give files"),
        (5, "images are an object of type int; give files"),
        (b"\x89PNG", "images are bytes; decode them"),
        ([ARRAY[0], None], "image 1: None, which cameras give"),
        ([(True, ARRAY[0])], "image 0: a tuple, as VideoCapture.read gives; take the image out"),
        ([[ARRAY[0]]], "image 0: an object of type list"),
        ([], "there are no"),
        ((x for x in []), "there are no"),
        ([TENSOR[0].float()], "image 0: images hold values outside [0, 1]"),
        (TENSOR.float().to_sparse() / 255, "layout torch.sparse_coo on cpu; give a dense one"),
        (torch.empty(1, 3, 4, 4, device="meta"), "on meta; give a dense one"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else type(value).__name__,
)
@pytest.mark.parametrize("read", [read_batch, lambda given: ImageSource(given, None)], ids=["predict", "fit"])
def test_what_is_no_image(read: Callable[[Any], object], given: Any, message: str) -> None:
    if not isinstance(given, list | tuple | np.ndarray | torch.Tensor) and hasattr(given, "__next__"):
        given = iter([])  # each test its own
    with pytest.raises(DataError, match=re.escape(message)) as error:
        read(given)
    assert "\n" not in str(error.value)


def test_sizes_may_differ_in_training_alone() -> None:
    sizes = [ARRAY[0], ARRAY[1, :8], TENSOR[2, :, :, :9], Image.fromarray(ARRAY[3, 2:])]
    for given in (sizes, iter(sizes)):
        source = ImageSource(given, 6)
        assert [source[i].shape for i in range(4)] == [(3, 6, 6)] * 4
    with pytest.raises(DataError, match=r"image 1: has 14x8 pixels, image 0 has 14x10; .*`predict_stream`"):
        read_batch(sizes)


def test_a_camera_may_fill_the_same_buffer_again(tmp_path: Path) -> None:
    def camera() -> Any:
        buffer = np.empty_like(ARRAY[0])
        for image in ARRAY:
            buffer[:] = image
            yield buffer

    assert torch.equal(read_batch(camera()), TENSOR)
    source = ImageSource(camera(), None)
    assert all(torch.equal(source[i], TENSOR[i]) for i in range(4))


def test_fingerprints_of_images_in_memory(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png", ARRAY[0])
    same = ImageSource(list(ARRAY), None).fingerprint()
    assert ImageSource(iter(ARRAY), None).fingerprint() == same
    others = [list(ARRAY[::-1]), [*ARRAY[:3], ARRAY[3] // 2], [tmp_path / "0.png", *ARRAY[1:]]]
    prints = {ImageSource(other, None).fingerprint() for other in others}
    assert len({same, ImageSource(list(ARRAY), 8).fingerprint(), *prints}) == 5


@pytest.mark.parametrize("frame", [ARRAY[1], ARRAY[1:2], TENSOR[1], TENSOR[1:2], Image.fromarray(ARRAY[1])])
def test_one_frame(frame: Any) -> None:
    assert torch.equal(one_frame(frame), TENSOR[1:2])
    with pytest.raises(DataError, match="a batch of 4; give the images one by one"):
        one_frame(ARRAY)


DEEP = (ARRAY.astype(np.uint16) << 4) + 15  # of 12 bits; the lowest value is 15, the highest 4095
DEEP[0, 0, 0] = 4095


@pytest.mark.parametrize("given", [DEEP, list(DEEP), DEEP.astype(">u2"), [DEEP[0], *DEEP[1:]], (x for x in DEEP)])
def test_sixteen_bits_are_shares_of_the_range_that_they_have(given: Any) -> None:
    source = ImageSource(given, None)
    assert source.value_range == ValueRange(0, 4095, 4095, "uint16", "values")
    expected = torch.from_numpy(DEEP.astype(np.float32) / 4095).permute(0, 3, 1, 2)
    found = torch.stack([source[i] for i in range(4)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)
    assert len(found.unique()) == len(np.unique(DEEP))  # none is lost
    torch.testing.assert_close(read_batch(DEEP, value_range=source.value_range), expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(one_frame(DEEP[1], value_range=source.value_range)[0], expected[1], rtol=0, atol=1e-7)


def test_sixteen_bits_of_other_kinds() -> None:
    grey = DEEP[..., 0]
    of_array = ImageSource(list(grey), None, value_range=(0, 4095))
    for image in (Image.fromarray(grey[1]), Image.fromarray(grey[1].astype(np.int32))):
        of_pil = ImageSource([image, image], None, value_range=(0, 4095))
        assert torch.equal(of_pil[0], of_array[1])
    blue_first = ImageSource(DEEP[..., ::-1], None, channels="bgr")
    assert torch.equal(blue_first[2], ImageSource(DEEP, None)[2])
    clear = np.concatenate([DEEP, np.full_like(DEEP[..., :1], 65535)], 3)
    clear[:, 1:, :, 3] = 0
    white = ImageSource(clear, None)
    assert white[1][:, 1:].min() == 1 and white[1][:, :1].max() < 0.1
    with pytest.warns(DataWarning, match="image 0: .* outside the range"):
        assert read_batch(DEEP[:1], value_range=ValueRange(0, 1023, 1023, "uint16", "values")).max() == 1
    assert read_batch(DEEP[:1]).max() == np.float32(4095 / 65535)  # a model of 8 bits: white of 16 bits is white
