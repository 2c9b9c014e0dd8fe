"""Huge TIFF files read by strips give the pixels that they give when read whole."""

from __future__ import annotations

import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from image_files import check_error
from PIL import Image

from stadx.core.errors import DataError
from stadx.data import strips
from stadx.data.images import read_image
from stadx.data.strips import RowReader, open_rows

HEIGHT, WIDTH = 75, 53
NOISE = np.random.default_rng(5).integers(0, 2**16, (HEIGHT, WIDTH, 3), dtype=np.uint16)
RGB = (NOISE >> 8).astype(np.uint8)
PICTURES = {"grey": RGB[..., 0], "RGB": RGB, "grey16": NOISE[..., 0], "RGB16": NOISE}
LZW_NEEDS_MORE = tifffile.COMPRESSION.LZW not in tifffile.TIFF.DECOMPRESSORS


@pytest.fixture(autouse=True)
def every_image_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "LARGE_IMAGE_PIXELS", 100)


def opened(path: Path) -> RowReader:
    reader = open_rows(path)
    assert reader is not None
    return reader


def check_like_whole(path: Path) -> None:
    whole = torch.from_numpy(read_image(path)).permute(2, 0, 1)
    with opened(path) as image:
        assert (image.height, image.width) == tuple(whole.shape[1:])
        for start, stop in [(0, image.height), (3, 4), (20, 50), (30, 60), (image.height - 1, image.height), (7, 7)]:
            rows = image.rows(start, stop)
            assert rows.dtype == torch.uint8 and rows.is_contiguous()
            assert torch.equal(rows, whole[:, start:stop])


def save(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    options.setdefault("photometric", "rgb" if pixels.ndim == 3 else "minisblack")
    tifffile.imwrite(path, pixels, metadata=None, **options)
    return path


LAYOUTS: list[dict[str, Any]] = [
    {"rowsperstrip": 1},
    {"rowsperstrip": 16},
    {"rowsperstrip": 75},
    {"tile": (16, 32)},
    {"tile": (80, 64)},
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("packing", [{}, {"compression": "zlib"}, {"compression": "zlib", "predictor": 2}], ids=str)
def test_rows_are_those_of_the_whole_image(
    tmp_path: Path, layout: dict[str, Any], picture: str, byteorder: Any, packing: dict[str, Any]
) -> None:
    check_like_whole(save(tmp_path / "a.tif", PICTURES[picture], byteorder=byteorder, **layout, **packing))


@pytest.mark.parametrize("compression", ["raw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "tiff_lzw"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("big", [False, True])
def test_files_of_another_writer(tmp_path: Path, compression: str, mode: str, big: bool) -> None:
    flat = Image.fromarray(np.where(RGB > 40, 200, RGB).astype(np.uint8)).convert(mode)  # runs for packbits
    flat.save(tmp_path / "a.tif", compression=compression, tiffinfo={278: 16}, big_tiff=big)
    if compression == "tiff_lzw" and LZW_NEEDS_MORE:
        assert open_rows(tmp_path / "a.tif") is None
    else:
        check_like_whole(tmp_path / "a.tif")


def test_first_of_several_pages(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.tif", save_all=True, append_images=[Image.fromarray(255 - RGB)])
    check_like_whole(tmp_path / "a.tif")


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_no_part_is_decoded_twice_from_top_to_bottom(tmp_path: Path, layout: dict[str, Any]) -> None:
    path = save(tmp_path / "a.tif", RGB, compression="zlib", **layout)
    with opened(path) as image:
        decoded: list[int] = []
        part = image._part
        image._part = lambda index: (decoded.append(index), part(index))[1]  # type: ignore[method-assign]
        for start, stop in pairwise(range(0, HEIGHT + 1, 25)):
            image.rows(max(0, start - 10), min(HEIGHT, stop + 10))
            image.rows(start, stop)
        assert sorted(decoded) == list(range(len(image._page.dataoffsets)))
        assert decoded == sorted(decoded)


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 2), (0, HEIGHT + 1)])
def test_rows_that_are_not_there(tmp_path: Path, start: int, stop: int) -> None:
    with opened(save(tmp_path / "a.tif", RGB)) as image, pytest.raises(IndexError, match=f"{start} to {stop}"):
        image.rows(start, stop)


REFUSED: dict[str, Any] = {
    "small": (RGB[:10, :10], {}),
    "white is 0": (RGB[..., 0], {"photometric": "miniswhite"}),
    "planes": (np.ascontiguousarray(RGB.transpose(2, 0, 1)), {"planarconfig": "separate", "photometric": "rgb"}),
    "32 bits": (RGB[..., 0].astype(np.uint32), {}),
    "float": ((RGB[..., 0] / 255).astype(np.float32), {}),
    "signed": (RGB[..., 0].astype(np.int8), {}),
    "alpha": (np.dstack([RGB, RGB[..., :1]]), {"extrasamples": ["unassalpha"]}),
    "palette": (RGB[..., 0], {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)}),
    "turned": (RGB, {"extratags": [(274, 3, 1, 6, True)]}),
    "turned by XMP": (RGB, {"extratags": [(700, 1, 22, b'tiff:Orientation="6"  ', True)]}),
    "LZMA": (RGB, {"compression": "lzma"}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_kinds_are_left_to_the_ordinary_reader(tmp_path: Path, case: str) -> None:
    pixels, options = REFUSED[case]
    assert open_rows(save(tmp_path / "a.tif", pixels, **options)) is None


@pytest.mark.parametrize("mode", ["1", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F"])
def test_other_modes_are_left_to_the_ordinary_reader(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (40, 40)) if mode == "LAB" else Image.fromarray(RGB).convert(mode)
    image.save(tmp_path / "a.tif")
    assert open_rows(tmp_path / "a.tif") is None


def test_jpeg_inside_is_left_to_the_ordinary_reader(tmp_path: Path) -> None:
    for number, image in enumerate((Image.fromarray(RGB), Image.fromarray(RGB[..., 0]))):
        image.save(tmp_path / f"{number}.tif", compression="jpeg")
        assert open_rows(tmp_path / f"{number}.tif") is None


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.webp"])
def test_no_tiff(tmp_path: Path, name: str) -> None:
    Image.fromarray(RGB).save(tmp_path / name)
    assert open_rows(tmp_path / name) is None


@pytest.mark.parametrize("tags", [{317: 2}, {266: 2}], ids=["predictor without compression", "bit order"])
def test_other_tags_are_left_to_the_ordinary_reader(tmp_path: Path, tags: dict[int, int]) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.tif", tiffinfo=tags)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert [file.pages.first.tags[tag].value for tag in tags] == [2]
    assert open_rows(tmp_path / "a.tif") is None


def test_upright_by_tag_whatever_xmp_says(tmp_path: Path) -> None:
    tags = [(274, 3, 1, 1, True), (700, 1, 22, b'tiff:Orientation="6"  ', True)]
    check_like_whole(save(tmp_path / "a.tif", RGB, extratags=tags))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.tif: no such file; check the name"):
        open_rows(tmp_path / "none.tif")


def test_large_compressed_parts_are_left_to_the_ordinary_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strips, "MAX_PART_BYTES", RGB.nbytes - 1)
    assert open_rows(save(tmp_path / "a.tif", RGB, compression="zlib", rowsperstrip=HEIGHT)) is None
    check_like_whole(save(tmp_path / "b.tif", RGB, rowsperstrip=HEIGHT))
    check_like_whole(save(tmp_path / "c.tif", RGB, compression="zlib", rowsperstrip=HEIGHT - 1))


def test_no_reader_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STADX_MAX_PIXELS", "200")
    path = save(tmp_path / "a.tif", RGB[..., 0], photometric="miniswhite")
    with pytest.raises(DataError) as caught:
        open_rows(path)
    check_error(caught, path, "53x75", "limit of 200", "neither grey nor RGB", "save it as", "STADX_MAX_PIXELS")
    with opened(save(tmp_path / "b.tif", RGB)) as image:  # no limit where memory has none
        assert image.rows(0, 1).shape == (3, 1, WIDTH)


def read_all(path: Path) -> torch.Tensor:
    with opened(path) as image:
        return image.rows(0, image.height)


@pytest.mark.parametrize(
    "layout", [*LAYOUTS, {"tile": (16, 16), "compression": "zlib"}, {"compression": "zlib"}], ids=str
)
@pytest.mark.parametrize("share", [0.5, 0.98])
def test_cut_short(tmp_path: Path, layout: dict[str, Any], share: float) -> None:
    path = save(tmp_path / "a.tif", RGB, **layout)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError) as caught:  # at once, not after hours of work
        open_rows(path)
    check_error(caught, path, "damaged or cut short", "copy or export it again")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("content", [b"", b"II*\0", b"II*\0\x08\0\0\0", b"II*\0\x08\0\0\0\xff\xff" + bytes(500)])
def test_damaged_headers_are_left_to_the_ordinary_reader(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    if content:
        assert open_rows(tmp_path / "a.tif") is None
    with pytest.raises(DataError, match=r"a\.tif"):
        read_image(tmp_path / "a.tif")


def test_a_part_that_was_never_written(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", RGB, rowsperstrip=16)
    with tifffile.TiffFile(path, mode="r+") as file:
        offsets = file.pages.first.tags["StripOffsets"]
        offsets.overwrite((*offsets.value[:-1], 0))
    assert open_rows(path) is None


def with_last_part(path: Path, content: bytes) -> Path:
    """Put other compressed bytes in the place of the last part of a TIFF file."""
    with tifffile.TiffFile(path, mode="r+") as file:
        tags = file.pages.first.tags
        kind = "Tile" if "TileOffsets" in tags else "Strip"
        counts, offsets = tags[f"{kind}ByteCounts"], tags[f"{kind}Offsets"]
        end = file.filehandle.size
        offsets.overwrite((*offsets.value[:-1], end))
        counts.overwrite((*counts.value[:-1], len(content)))
        file.filehandle.seek(end)
        file.filehandle.write(content)
    return path


@pytest.mark.parametrize(
    ("size", "words"),
    [(1, "less|reshape"), (16 * WIDTH * 3 + 1, "more than its pixels"), (10**6, "more than its pixels")],
)
def test_parts_that_hold_another_number_of_pixels(tmp_path: Path, size: int, words: str) -> None:
    path = save(tmp_path / "a.tif", RGB, rowsperstrip=16, compression="zlib", predictor=2)
    with_last_part(path, zlib.compress(bytes(size)))
    with opened(path) as image:
        assert image.rows(0, 64).shape == (3, 64, WIDTH)
        with pytest.raises(DataError, match=words):
            image.rows(60, 70)


def test_a_tile_without_its_margin(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", RGB, tile=(80, 64), compression="zlib")
    with_last_part(path, zlib.compress(RGB.tobytes()))
    with pytest.raises(DataError, match="less than its pixels"):
        read_all(path)
    with pytest.raises(DataError, match="damaged"):
        read_image(path)


def test_a_part_of_far_too_many_bytes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", RGB, rowsperstrip=16, compression="zlib")
    with_last_part(path, bytes(2 * 16 * WIDTH * 3 + 1025))
    with pytest.raises(DataError, match="far more bytes"):
        open_rows(path)


def test_nonsense_in_a_part(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", RGB, rowsperstrip=16, compression="zlib")
    with_last_part(path, b"nonsense")
    with pytest.raises(DataError, match=r"a\.tif: damaged or cut short .*; copy"):
        read_all(path)


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", np.tile(RGB, (60, 1, 1)))
    with opened(path) as image:
        with path.open("r+b") as file:
            file.truncate(HEIGHT * WIDTH * 3)
        with pytest.raises(DataError, match="bytes are missing"):
            image.rows(image.height - 10, image.height)
