"""Maps and masks written by strips can be read, by stadx and by others; a failed writing leaves nothing behind."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from stadx.core.errors import DataError, OutputError
from stadx.data import strip_writer, strips
from stadx.data.images import read_image, read_map
from stadx.data.strip_writer import RowWriter
from stadx.data.strips import open_rows

HEIGHT, WIDTH = 75, 53


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("strip_bytes", [1, 1000, 2**18])
@pytest.mark.parametrize("heights", [[HEIGHT], [1] * HEIGHT, [0, 30, 44, 1]])
def test_what_is_written_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, big: bool, strip_bytes: int, heights: list[int]
) -> None:
    monkeypatch.setattr(strips, "LARGE_IMAGE_PIXELS", 100)
    monkeypatch.setattr(strip_writer, "_STRIP_BYTES", strip_bytes)
    monkeypatch.setattr(strip_writer, "_CLASSIC_TIFF_BYTES", 10 if big else 2**32)
    scores = np.random.default_rng(1).normal(size=(HEIGHT, WIDTH)).astype(np.float32)
    mask = (scores > 0).astype(np.uint8) * 255
    for name, values in (("map.tiff", scores), ("mask.tiff", mask)):
        with RowWriter(tmp_path / "new" / name, HEIGHT, WIDTH, values.dtype) as writer:
            for rows in np.split(values, np.cumsum(heights)[:-1]):
                writer.write(rows)
        content = (tmp_path / "new" / name).read_bytes()
        assert struct.unpack("<H", content[2:4])[0] == (43 if big else 42)
        other = tifffile.imread(tmp_path / "new" / name)
        assert other.dtype == values.dtype and np.array_equal(other, values)
    assert np.array_equal(read_map(tmp_path / "new/map.tiff"), scores)
    assert np.array_equal(read_image(tmp_path / "new/mask.tiff")[..., 1], mask)
    image = open_rows(tmp_path / "new/mask.tiff")
    assert image is not None
    with image:
        assert np.array_equal(image.rows(0, HEIGHT)[0], mask)
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_masks_are_compressed(tmp_path: Path) -> None:
    with RowWriter(tmp_path / "a", 1000, 1000, np.uint8) as writer:
        writer.write(np.zeros((1000, 1000), np.uint8))
    assert (tmp_path / "a").stat().st_size < 10_000


@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError, None])
def test_interrupted_writing_leaves_what_was_there(tmp_path: Path, error: type[BaseException] | None) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(error or ValueError), RowWriter(tmp_path / "a", 9, 4, np.float32) as writer:
        writer.write(np.zeros((8, 4), np.float32))
        if error:
            raise error
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


def test_a_full_disk(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"/a: cannot be written \(No space left on device\); choose another place"),
        RowWriter(tmp_path / "a", 100, 1000, np.float32) as writer,
        open("/dev/full", "wb") as full,
    ):
        writer._file = full
        writer.write(np.zeros((100, 1000), np.float32))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/a: cannot be written"), RowWriter(tmp_path / "file/a", 1, 1, np.uint8):
        pass


@pytest.mark.parametrize(
    "rows", [np.zeros((1, 5), np.float32), np.zeros((1, 4)), np.zeros(4, np.float32), np.zeros((10, 4), np.float32)]
)
def test_rows_of_another_form(tmp_path: Path, rows: np.ndarray) -> None:
    with pytest.raises(ValueError), RowWriter(tmp_path / "a", 9, 4, np.float32) as writer:
        writer.write(rows)
    with pytest.raises(ValueError, match="float32 or uint8"):
        RowWriter(tmp_path / "a", 9, 4, np.float64)
    assert list(tmp_path.iterdir()) == []
