"""The range of training images is found or given; images are seen within it, and what differs is said."""

from __future__ import annotations

import base64
import io
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from image_files import png, png_chunk
from PIL import Image

from stadx.core.errors import DataError, DataWarning
from stadx.data import value_range
from stadx.data.checking import check_set
from stadx.data.depths import range_of_files
from stadx.data.images import read_image
from stadx.data.source import ImageSource, read_batch
from stadx.data.strips import LARGE_IMAGE_PIXELS, open_rows
from stadx.data.value_range import BYTES, ValueRange, read_in_range, read_shown, to_range
from stadx.evaluation.report.check_page import write_check

TWELVE = ValueRange(0, 4095, 4095, "uint16", "values")
RNG = np.random.default_rng(11)


def words(highest: int, shape: tuple[int, ...] = (16, 20)) -> np.ndarray:
    values = RNG.integers(0, highest + 1, shape).astype(np.uint16)
    values.flat[0] = highest
    return values


def save(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, values)
    elif path.suffix == ".pgm":
        path.write_bytes(b"P5 %d %d 4095\n" % values.shape[::-1] + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize(
    ("highest", "white"), [(3, 255), (255, 255), (256, 511), (2300, 4095), (4095, 4095), (4096, 8191), (65520, 65535)]
)
def test_the_highest_value_tells_the_bits(tmp_path: Path, highest: int, white: int) -> None:
    files = [save(tmp_path / "a.png", words(highest // 3)), save(tmp_path / "b.tif", words(highest))]
    assert range_of_files(files) == ValueRange(0, white, white, "uint16", "values")


def test_files_that_say_it(tmp_path: Path) -> None:
    assert range_of_files([save(tmp_path / "a.pgm", words(900))]) == ValueRange(0, 4095, 4095, "uint16", "files")
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in words(900))
    (tmp_path / "a.png").write_bytes(png(20, 16, 16, 0, rows, png_chunk(b"sBIT", bytes([12]))))
    assert range_of_files([tmp_path / "a.png"]) == ValueRange(0, 4095, 4095, "uint16", "files")
    tifffile.imwrite(tmp_path / "a.tif", words(900), extratags=[(281, 3, 1, 16383, False)])
    assert range_of_files([tmp_path / "a.tif"]) == ValueRange(0, 16383, 16383, "uint16", "files")
    # a program that shifts the values to the left tells the camera's bits all the same
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in words(65520))
    (tmp_path / "a.png").write_bytes(png(20, 16, 16, 0, rows, png_chunk(b"sBIT", bytes([12]))))
    assert range_of_files([tmp_path / "a.png"]) == ValueRange(0, 65535, 65535, "uint16", "values")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.2, 0.8]], np.float32), ValueRange(0, 1, 1, "float32", "values")),
        (np.array([[-2, 5.5]], np.float64), ValueRange(-2, 5.5, None, "float32", "values")),
        (np.array([[7, 3000]], np.float16), ValueRange(0, 4095, None, "float32", "values")),
        (np.array([[-7, 3000]], np.int16), ValueRange(-7, 3000, None, "float32", "values")),
        (np.array([[7, 100000]], np.uint32), ValueRange(0, 131071, None, "float32", "values")),
        (np.array([[7, 3000]], np.uint32), ValueRange(0, 4095, 4095, "uint16", "values")),
    ],
)
def test_floats_and_wide_numbers(tmp_path: Path, values: np.ndarray, expected: ValueRange) -> None:
    path = save(tmp_path / "a.tif", values)
    assert range_of_files([path]) == expected
    share = (values.astype(np.float64) - expected.low) / (expected.high - expected.low)
    assert np.allclose(read_in_range(path, expected)[..., 0], share, atol=1e-6)


def test_8_bits_keep_their_bytes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", words(255).astype(np.uint8))
    assert range_of_files([path]) == BYTES
    found = read_in_range(path, BYTES)
    assert found.dtype == np.uint8 and np.array_equal(found, read_image(path))
    image = ImageSource([path], None)[0]
    assert image.dtype.is_floating_point is False


def test_a_range_that_is_given(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", words(2300))
    assert range_of_files([path], (100, 2100)) == ValueRange(100, 2100, 4095, "uint16", "given")
    narrow = ValueRange(100, 2100, 4095, "uint16", "given")
    with pytest.warns(DataWarning, match=r"a\.png: \S+ % of its pixels have values outside .*100 to 2100"):
        found = read_in_range(path, narrow)
    expected = ((np.asarray(Image.open(path), np.float64) - 100) / 2000).clip(0, 1)
    assert found.dtype == np.float32 and np.allclose(found[..., 1], expected, atol=1e-6)
    bytes_in_range = to_range(np.array([0, 100, 150, 200], np.uint8), ValueRange(100, 200, 255, "uint8", "given"))
    assert bytes_in_range.tolist() == [0, 0, 0.5, 1]


def test_all_levels_of_a_range_are_used() -> None:
    found = to_range(np.arange(4096, dtype=np.uint16), TWELVE)
    assert found.dtype == np.float32 and len(np.unique(found)) == 4096 and found[0] == 0 and found[-1] == 1


class TestAnotherDepth:
    """Images of another depth than the training images' are scaled by what is white in each, and it is said."""

    def check(self, path: Path, value_range: ValueRange, factor: float, *words: str) -> None:
        with pytest.warns(DataWarning) as told:
            found = read_in_range(path, value_range)
        message = str(told[0].message)
        assert str(path) in message and "the training images" in message
        for word in words:
            assert word in message
        values = np.asarray(tifffile.imread(path) if path.suffix == ".tif" else Image.open(path), np.float64)
        expected = (values * factor).clip(0, 1)
        scale = 255 if found.dtype == np.uint8 else 1
        assert np.allclose(found[..., 0] / scale, expected, atol=1e-6)

    def test_8_bits_where_12_were_learned(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.png", words(200).astype(np.uint8))
        self.check(path, TWELVE, 1 / 255, "has 8 bits", "16 bits with white at 4095")

    def test_16_bits_where_8_were_learned(self, tmp_path: Path) -> None:
        self.check(save(tmp_path / "a.png", words(60000)), BYTES, 1 / 65535, "has 16 bits", "8 bits with white at 255")

    def test_floats_where_12_bits_were_learned(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.tif", (words(1000) / 1000).astype(np.float32))
        self.check(path, TWELVE, 1, "has floating point")
        with pytest.raises(DataError, match=r"b\.tif: values from .* save it as these, or scale it to 0\.\.1"):
            read_in_range(save(tmp_path / "b.tif", words(1000).astype(np.float32)), TWELVE)

    def test_bytes_where_odd_floats_were_learned(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.png", words(200).astype(np.uint8))
        self.check(path, ValueRange(0, 400, None, "float32", "values"), 1 / 400, "taken as they are")

    def test_another_white_by_the_file(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.pgm", words(4095))
        sixteen = ValueRange(0, 65535, 65535, "uint16", "values")
        with pytest.warns(DataWarning, match="white at 4095, .* white at 65535"):
            assert read_in_range(path, sixteen).max() == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read_in_range(path, TWELVE).max() == 1

    def test_values_beyond(self, tmp_path: Path) -> None:
        values = np.zeros((10, 20), np.uint16)
        values[:5, :2] = 5000
        path = save(tmp_path / "a.png", values)
        with pytest.warns(DataWarning, match=r"a\.png: 5 % of its pixels have values outside .*0 to 4095.*--range"):
            assert read_in_range(path, TWELVE).max() == 1


def test_bytes_in_their_own_range_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To find that none is beyond took 4 % of the time of an image."""
    path = save(tmp_path / "a.png", np.full((5, 6, 3), 200, np.uint8))
    monkeypatch.setattr(value_range, "beyond", None)
    assert np.array_equal(read_in_range(path, BYTES), read_image(path))
    monkeypatch.undo()
    with pytest.warns(DataWarning, match="100 % of its pixels have values outside"):
        assert read_in_range(path, ValueRange(0, 100, 255, "uint8", "given")).max() == 1


def test_models_of_previous_versions_see_bytes(tmp_path: Path) -> None:
    for path in (save(tmp_path / "a.png", words(65535)), save(tmp_path / "b.pgm", words(4095))):
        assert np.array_equal(read_in_range(path, None), read_image(path))
    assert str(read_batch(tmp_path / "a.png").dtype) == "torch.uint8"
    assert str(read_batch(tmp_path / "b.pgm", value_range=TWELVE).dtype) == "torch.float32"


def test_images_are_shown_within_the_range(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", words(4095))
    found = read_shown(path, TWELVE)
    expected = np.rint(np.asarray(Image.open(path)) / 4095 * 255)
    assert found.dtype == np.uint8 and np.array_equal(found[..., 2], expected)


def test_several_depths_are_scaled_to_one(tmp_path: Path) -> None:
    files = [save(tmp_path / "a.png", words(255).astype(np.uint8)), save(tmp_path / "b.png", words(4000))]
    with pytest.warns(DataWarning, match=r"several depths \(1 of 8 bits, 1 of 16 bits\)"):
        source = ImageSource(files, None)
    assert source.value_range == ValueRange(0, 4095, 4095, "uint16", "values")


def test_the_fingerprint_tells_ranges_apart(tmp_path: Path) -> None:
    files = [save(tmp_path / f"{i}.png", words(4000)) for i in range(2)]
    prints = {ImageSource(files, None, value_range=given).fingerprint() for given in (None, (0, 4000), (0, 5000))}
    assert len(prints) == 3


@pytest.mark.parametrize("samples", [(), (3,)])
@pytest.mark.parametrize("tile", [None, (1024, 1024)])
def test_strips_are_in_the_range_too(
    tmp_path: Path, samples: tuple[int, ...], tile: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stadx.data.strips.LARGE_IMAGE_PIXELS", 1000)
    assert LARGE_IMAGE_PIXELS > 1000
    path, values = tmp_path / "a.tif", words(4095, (60, 40, *samples))
    values[0, :20] = 9000
    tifffile.imwrite(path, values, tile=tile and (16, 16), photometric="rgb" if samples else "minisblack")
    with pytest.warns(DataWarning, match=r"a\.tif: 0\.833 % of its pixels"):
        whole = read_in_range(path, TWELVE)
    reader = open_rows(path, TWELVE)
    assert reader is not None
    with pytest.warns(DataWarning, match=r"a\.tif: 0\.833 % of its pixels"), reader:
        rows = np.concatenate([reader.rows(first, min(first + 7, 60)).numpy() for first in range(0, 60, 7)], axis=1)
        assert np.array_equal(rows.transpose(1, 2, 0), whole)
        assert np.array_equal(reader.shown(0, 9).transpose(1, 2, 0), np.rint(whole[:9] * 255).astype(np.uint8))


class TestCheck:
    def draw(self, root: Path, highest: int = 4000) -> Path:
        for i in range(10):
            save(root / f"train/good/{i}.png", words(highest))
        for i in range(2):
            save(root / f"test/good/{i}.png", words(highest))
        return root

    def findings(self, root: Path) -> list[str]:
        (checked,) = check_set(root)
        return [f.message for f in checked.findings]

    def test_depth_and_range(self, tmp_path: Path) -> None:
        (checked,) = check_set(self.draw(tmp_path / "a"))
        assert checked.depth == "16 bits, values from 0 to 4095" and not checked.findings

    def test_mixed_depths(self, tmp_path: Path) -> None:
        root = self.draw(tmp_path / "a")
        save(root / "train/good/x.png", words(255).astype(np.uint8))
        (message,) = self.findings(root)
        assert "several depths (12 of 16 bits, 1 of 8 bits)" in message

    def test_values_beyond_the_range(self, tmp_path: Path) -> None:
        root = self.draw(tmp_path / "a")
        bright = save(root / "test/good/x.png", words(9000))
        (message,) = self.findings(root)
        assert message.startswith(f"{bright}: has values outside") and "1 of 3 test images" in message

    def test_its_page_shows_all_levels(self, tmp_path: Path) -> None:
        root = self.draw(tmp_path / "a")
        save(root / "train/good/x.png", words(1000)).with_name("y.png").write_bytes(
            (root / "train/good/x.png").read_bytes()
        )
        write_check(tmp_path / "c.html", check_set(root))
        pictures = re.findall(r"base64,([^\"]*)", (tmp_path / "c.html").read_text())
        shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in pictures]
        assert len(shown) == 2 and all(picture.max() > 200 for picture in shown)  # as 16 bits: 4

    def test_unfilled_alpha(self, tmp_path: Path) -> None:
        root = self.draw(tmp_path / "a", 200)
        for path in root.rglob("*.png"):
            save(path, np.dstack([RNG.integers(0, 256, (8, 8, 3)), np.zeros((8, 8))]).astype(np.uint8))
        (message,) = self.findings(root)
        assert "and 9 more: its alpha channel is 0 everywhere" in message
