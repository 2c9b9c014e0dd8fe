"""Every sample format is read at its own depth, or refused by the name of its kind; never garbled."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from image_files import png, png_chunk
from PIL import Image
from tiff_files import lzw, packed, tiff

from stadx.core.errors import DataError
from stadx.data.images import read_image, read_map, write_map
from stadx.data.masks import mask_pixels
from stadx.data.pixels import is_bytes, read_pixels

HEIGHT, WIDTH = 21, 34
BYTES = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
WORDS = BYTES.astype(np.uint16) * 257
GREY = WORDS[..., :1].repeat(3, 2)


def read(path: Path) -> np.ndarray:
    pixels = read_pixels(path)
    assert pixels.values.shape[2] == 3 and pixels.values.flags.c_contiguous
    assert is_bytes(path) == (pixels.values.dtype == np.uint8)
    return pixels.values


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "i4", "f2", "f4", "f8"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", ["rgb", "minisblack"])
def test_colour_tiff_of_every_dtype(tmp_path: Path, dtype: str, planar: str, kind: str) -> None:
    scale = 1 / 256 if dtype[0] == "f" else {"u1": 1, "i2": 128}.get(dtype, 257)  # a power of two is exact in half
    expected = (BYTES * float(scale)).astype(dtype)
    stored = np.ascontiguousarray(np.moveaxis(expected, 2, 0)) if planar == "separate" else expected
    for number, (order, options) in enumerate(
        [
            ("<", {}),
            (">", {}),
            ("<", {"tile": (16, 32)}),
            (">", {"rowsperstrip": 5, "compression": "zlib"}),
            ("<", {"bigtiff": True}),
            (">", {"compression": "zlib", "predictor": dtype[0] != "f"}),
            ("<", {"compression": "lzma"}),
        ]
    ):
        path = tmp_path / f"{number}.tif"
        tifffile.imwrite(path, stored, photometric=kind, planarconfig=planar, byteorder=order, **options)
        values = read(path)
        assert np.array_equal(values, expected), options
        assert values.dtype == {"u1": np.uint8}.get(dtype, np.float32 if dtype[0] == "f" else np.uint16)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("samples", [1, 3])
def test_lzw_of_16_bits(tmp_path: Path, order: str, predictor: int, samples: int) -> None:
    values = WORDS[..., :samples]
    stored = values if predictor == 1 else np.diff(values, axis=1, prepend=np.uint16(0))
    tags = {256: WIDTH, 257: HEIGHT, 258: (16,) * samples, 259: 5, 262: 2 if samples == 3 else 1, 277: samples}
    data = lzw(np.ascontiguousarray(stored.astype(f"{order}u2")).tobytes(), HEIGHT)
    path = tiff(tmp_path / "a.tif", tags | {317: predictor}, data, order)
    assert np.array_equal(read(path), np.broadcast_to(values, WORDS.shape))


def test_predictor_of_floats(tmp_path: Path) -> None:
    values = (BYTES / 255).astype(np.float32)
    ranks = values.astype(">f4").reshape(HEIGHT, -1).view(np.uint8).reshape(HEIGHT, -1, 4).transpose(0, 2, 1)
    rows = ranks.reshape(HEIGHT, -1, 3)  # bytes of one rank together, three of them to a pixel
    stored = np.diff(rows, axis=1, prepend=np.uint8(0)).tobytes()
    tags = {256: WIDTH, 257: HEIGHT, 258: (32, 32, 32), 259: 1, 262: 2, 277: 3, 317: 3, 339: (3, 3, 3)}
    assert np.array_equal(read(tiff(tmp_path / "a.tif", tags, stored)), values)


@pytest.mark.parametrize("bits", [9, 10, 12, 14])
@pytest.mark.parametrize("samples", [1, 3])
def test_packed_bits(tmp_path: Path, bits: int, samples: int) -> None:
    values = WORDS[..., :samples] >> (16 - bits)
    tags = {256: WIDTH, 257: HEIGHT, 258: (bits,) * samples, 259: 1, 262: 2 if samples == 3 else 1, 277: samples}
    path = tiff(tmp_path / "a.tif", tags, packed(values.reshape(HEIGHT, -1), bits))
    pixels = read_pixels(path)
    assert np.array_equal(pixels.values, np.broadcast_to(values, WORDS.shape)) and pixels.full == 2**bits - 1


def test_bits_in_the_other_order(tmp_path: Path) -> None:
    data = np.packbits(np.unpackbits(WORDS.view(np.uint8).ravel()), bitorder="little").tobytes()
    tags = {256: WIDTH, 257: HEIGHT, 258: (16, 16, 16), 259: 1, 262: 2, 266: 2, 277: 3}
    assert np.array_equal(read(tiff(tmp_path / "a.tif", tags, data)), WORDS)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_white_is_zero(tmp_path: Path, dtype: str) -> None:
    values = (BYTES if dtype == "u1" else WORDS)[..., 0]
    tifffile.imwrite(tmp_path / "a.tif", ~values, photometric="miniswhite", compression="zlib")
    assert np.array_equal(read(tmp_path / "a.tif")[..., 1], values)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bits_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    tag = [(274, 3, 1, orientation, False)]
    tifffile.imwrite(tmp_path / "8.tif", BYTES, photometric="rgb", extratags=tag)
    tifffile.imwrite(tmp_path / "16.tif", WORDS, photometric="rgb", extratags=tag)
    exif = Image.Exif()
    exif[0x0112] = orientation
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in WORDS)
    chunk = png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    (tmp_path / "16.png").write_bytes(png(WIDTH, HEIGHT, 16, 2, rows, chunk))
    expected = read_image(tmp_path / "8.tif").astype(np.uint16) * 257
    assert np.array_equal(read(tmp_path / "16.tif"), expected)
    assert np.array_equal(read(tmp_path / "16.png"), expected)


@pytest.mark.parametrize(("colour", "samples"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_png_of_16_bits_keeps_them(tmp_path: Path, colour: int, samples: int) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (HEIGHT, WIDTH, samples)).astype(np.uint16)
    if samples in (2, 4):
        values[..., -1] = 65535
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    (tmp_path / "a.png").write_bytes(png(WIDTH, HEIGHT, 16, colour, rows))
    shown = values[..., : 1 if samples < 3 else 3]
    assert np.array_equal(read(tmp_path / "a.png"), np.broadcast_to(shown, WORDS.shape))


def test_png_of_16_bits_says_what_is_clear(tmp_path: Path) -> None:
    for colour, values in ((0, [[7], [9]]), (2, [[7, 8, 300], [7, 8, 301]])):
        row = struct.pack(f">{2 * len(values[0])}H", *values[0], *values[1])
        clear = png_chunk(b"tRNS", struct.pack(f">{len(values[0])}H", *values[0]))
        (tmp_path / "a.png").write_bytes(png(2, 1, 16, colour, b"\0" + row, clear))
        white, kept = read(tmp_path / "a.png")[0]
        assert (white == 65535).all() and kept.tolist() == (values[1] * 3)[:3]


def test_alpha_of_16_bits_is_laid_on_white(tmp_path: Path) -> None:
    values = np.full((4, 4, 4), 20000, np.uint16)
    values[:2, :, 3], values[2:, :, 3] = 65535, 0
    values[0, 0, 3] = 32768
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    (tmp_path / "a.png").write_bytes(png(4, 4, 16, 6, rows))
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["unassalpha"])
    for name in ("a.png", "a.tif"):
        found = read(tmp_path / name)[..., 0]
        assert abs(int(found[0, 0]) - 42767) <= 1 and (found[2:] == 65535).all() and (found[1] == 20000).all()


@pytest.mark.parametrize("highest", [4095, 1000, 65535])
@pytest.mark.parametrize("kind", [2, 3, 5, 6])
def test_netpbm_of_more_than_8_bits(tmp_path: Path, highest: int, kind: int) -> None:
    samples = 3 if kind in (3, 6) else 1
    values = (WORDS[..., :samples].astype(int) * highest // 65535).astype(np.uint16)
    body = values.astype(">u2").tobytes() if kind > 3 else " ".join(map(str, values.ravel())).encode()
    (tmp_path / "a.ppm").write_bytes(b"P%d # made\n%d %d\n#by hand\n%d\n" % (kind, WIDTH, HEIGHT, highest) + body)
    pixels = read_pixels(tmp_path / "a.ppm")
    assert np.array_equal(pixels.values, np.broadcast_to(values, WORDS.shape)) and pixels.full == highest


def test_netpbm_that_is_cut_short(tmp_path: Path) -> None:
    for start in (b"P5 4 4 4095\n", b"P2 4 4 4095\n 1 2", b"P2 4 4 4095\n x"):
        (tmp_path / "a.pgm").write_bytes(start + bytes(3))
        with pytest.raises(DataError, match=r"a\.pgm: damaged"):
            read_pixels(tmp_path / "a.pgm")


def test_what_files_say_of_the_camera(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + (row[:, 0] >> 4).astype(">u2").tobytes() for row in WORDS)
    (tmp_path / "a.png").write_bytes(png(WIDTH, HEIGHT, 16, 0, rows, png_chunk(b"sBIT", bytes([12]))))
    assert read_pixels(tmp_path / "a.png").bits == 12 and read_pixels(tmp_path / "a.png").full is None
    for claimed, bits in ((4095, 12), (3777, 0), (255, 0)):
        tifffile.imwrite(tmp_path / "a.tif", WORDS[..., 0] >> 4, extratags=[(281, 3, 1, claimed, False)])
        assert read_pixels(tmp_path / "a.tif").bits == bits


def test_8_bits_are_what_read_image_makes_of_them(tmp_path: Path) -> None:
    Image.fromarray(BYTES).save(tmp_path / "a.png")
    Image.fromarray(BYTES).save(tmp_path / "a.jpg")
    Image.fromarray(BYTES).convert("P").save(tmp_path / "a.bmp")
    Image.fromarray(BYTES).convert("CMYK").save(tmp_path / "a.tif", compression="tiff_lzw")
    Image.fromarray(BYTES).save(tmp_path / "a.webp")
    tifffile.imwrite(tmp_path / "b.tif", BYTES, photometric="rgb", planarconfig="contig", tile=(16, 16))
    for path in tmp_path.iterdir():
        assert np.array_equal(read(path), read_image(path)) and read_pixels(path).full == 255


def test_garbled_before(tmp_path: Path) -> None:
    """What Pillow reads wrongly without a word is right in `read_image`, in masks and in maps too."""
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(WORDS, 2, 0), photometric="rgb", planarconfig="separate")
    assert np.array_equal(read_image(tmp_path / "a.tif"), BYTES)
    tifffile.imwrite(tmp_path / "b.tif", ~WORDS[..., 0], photometric="miniswhite")
    assert np.array_equal(read_image(tmp_path / "b.tif")[..., 0], BYTES[..., 0])
    tifffile.imwrite(tmp_path / "c.tif", (BYTES / 255).astype(np.float32), photometric="rgb")
    assert np.array_equal(read_image(tmp_path / "c.tif"), BYTES)
    mask = np.zeros((HEIGHT, WIDTH, 3), np.uint16)
    mask[3:5, 7:9, 1] = 65535
    tifffile.imwrite(tmp_path / "d.tif", np.moveaxis(mask, 2, 0), photometric="rgb", planarconfig="separate")
    assert np.array_equal(mask_pixels(tmp_path / "d.tif"), mask.any(2))
    write_map(tmp_path / "e.tif", (BYTES[..., 0] / 7).astype(np.float32))
    scores = read_map(tmp_path / "e.tif")
    tifffile.imwrite(tmp_path / "f.tif", scores, byteorder=">", compression="zlib")
    assert np.array_equal(read_map(tmp_path / "f.tif"), scores)


@pytest.mark.parametrize(
    ("samples", "options", "words"),
    [
        (5, {"photometric": "minisblack"}, "5 samples a pixel"),
        (4, {"photometric": "separated"}, "SEPARATED"),
        (1, {"photometric": "cfa"}, "CFA"),
        (3, {"photometric": "cielab"}, "CIELAB"),
    ],
)
def test_kinds_that_cannot_be_read_are_named(tmp_path: Path, samples: int, options: dict[str, str], words: str) -> None:
    values = np.full((HEIGHT, WIDTH, samples), 9, np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values[..., 0] if samples == 1 else values, planarconfig="contig", **options)
    for function in (read_pixels, read_image):
        with pytest.raises(DataError, match=rf"a\.tif: is a TIFF that cannot be read: .*{words}.*; save it as grey or"):
            function(tmp_path / "a.tif")


@pytest.mark.parametrize(("codec", "name"), [(34712, "JPEG2000"), (50001, "WEBP"), (50000, "ZSTD")])
@pytest.mark.parametrize("samples", [1, 3])
def test_other_compressions_name_the_package(tmp_path: Path, codec: int, name: str, samples: int) -> None:
    if codec in tifffile.TIFF.DECOMPRESSORS:
        try:
            tifffile.TIFF.DECOMPRESSORS[codec](b"")
        except ImportError:
            pass
        except Exception:
            pytest.skip("imagecodecs is installed")
    tags = {256: WIDTH, 257: HEIGHT, 258: (16,) * samples, 259: codec, 262: 2 if samples == 3 else 1, 277: samples}
    with pytest.raises(DataError, match=rf"compression is {name}, which needs imagecodecs \(pip install"):
        read_pixels(tiff(tmp_path / "a.tif", tags, bytes(99)))


def test_few_bits(tmp_path: Path) -> None:
    bits = BYTES.reshape(HEIGHT, -1) >> 6
    tags = {256: WIDTH, 257: HEIGHT, 258: (2, 2, 2), 259: 1, 262: 2, 277: 3}
    assert np.array_equal(read(tiff(tmp_path / "a.tif", tags, packed(bits, 2))), (BYTES >> 6) * 85)


def test_alpha_has_the_scale_of_the_camera(tmp_path: Path) -> None:
    """Where a camera of 12 bits writes 4095 as opaque, its pixels are not taken for nearly clear."""
    image = np.dstack([WORDS >> 4, np.full_like(WORDS[..., 0], 4095)])
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", extrasamples=["unassalpha"])
    assert np.array_equal(read(tmp_path / "a.tif"), WORDS >> 4)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({258: (5, 6, 5), 262: 2, 277: 3}, "5 and 6 bits"),
        ({258: 24, 262: 1, 277: 1}, "24 bits"),
        ({258: 64, 262: 1, 277: 1, 339: 6}, "64 bits"),
        ({258: (8, 8, 8), 262: 6, 277: 3, 284: 2}, "YCBCR"),
        ({258: (8, 8, 8), 262: 6, 277: 3, 530: (2, 2)}, "YCBCR"),
        ({258: (8, 8, 8), 262: 8, 277: 3, 284: 2}, "CIELAB"),
        ({258: 32, 262: 0, 277: 1}, "black and white are exchanged"),
    ],
)
def test_rare_kinds_are_named(tmp_path: Path, tags: dict[int, int | tuple[int, ...]], words: str) -> None:
    path = tiff(tmp_path / "a.tif", {256: WIDTH, 257: HEIGHT, 259: 1, **tags}, bytes(HEIGHT * WIDTH * 8))
    with pytest.raises(DataError, match=rf"is a TIFF that cannot be read: .*{words}"):
        read_pixels(path)


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\xff\xd8\xff\xc3", "a JPEG of a rare kind"),
        (b"\xff\x0a", "JPEG XL"),
        (b"....ftypheic", "HEIC"),
        (b"P7\n", "PAM"),
    ],
)
def test_other_kinds_of_files_are_named(tmp_path: Path, start: bytes, kind: str) -> None:
    (tmp_path / "a.png").write_bytes(start + bytes(300))
    with pytest.raises(DataError, match=rf"a\.png: is {kind}.*, which cannot be read; save it again as PNG"):
        read_pixels(tmp_path / "a.png")


def test_numbers_that_are_none(tmp_path: Path) -> None:
    values = np.ones((HEIGHT, WIDTH), np.float32)
    values[2, 3:5] = np.nan, np.inf
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(DataError, match=r"a\.tif: 2 of its pixels hold NaN"):
        read_pixels(tmp_path / "a.tif")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    """Whatever byte is wrong, there is an image or a `DataError`, in little time and memory."""
    path, rng = tmp_path / "a.tif", np.random.default_rng(5)
    files = []
    for options in ({}, {"compression": "zlib", "predictor": True}, {"planarconfig": "separate", "tile": (16, 16)}):
        stored = np.moveaxis(WORDS, 2, 0) if "tile" in options else WORDS
        tifffile.imwrite(path, stored, photometric="rgb", **options)
        files.append(path.read_bytes())
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in WORDS)
    files.append(png(WIDTH, HEIGHT, 16, 2, rows))
    refused = 0
    for content in files:
        for _ in range(60):
            damaged = bytearray(content)
            for place in rng.integers(0, min(len(content), 400), 3):
                damaged[place] = rng.integers(256)
            path.write_bytes(damaged if rng.random() < 0.7 else damaged[: rng.integers(8, len(damaged))])
            try:
                read_pixels(path, max_pixels=10**6)
            except DataError as error:
                refused += 1
                assert str(path) in str(error)
    assert refused > 20
