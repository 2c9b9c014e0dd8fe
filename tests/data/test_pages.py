"""Files that hold several images: each page is one of its own, and nothing else is."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from data_sets import draw_image, draw_mask
from PIL import Image

from stadx import DataError
from stadx.data import kept_decoder
from stadx.data.checking import check_set
from stadx.data.folders import list_images, pages_of
from stadx.data.frames import one_frame
from stadx.data.images import image_size, read_image
from stadx.data.layouts import list_category
from stadx.data.layouts.patterns import list_patterns, matching_images, named_images
from stadx.data.maps import open_map_set
from stadx.data.pages import Page, entry_of, file_of, page_of
from stadx.data.roi import Roi
from stadx.data.source import ImageSource
from stadx.evaluation.prediction import collect_images, output_names

FRAMES = [np.random.default_rng(1000 + i).integers(0, 256, (10, 14, 3), np.uint8) for i in range(3)]


def save_all(path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = map(Image.fromarray, FRAMES)
    first.save(path, save_all=True, append_images=others, **options)
    return path


def save_masks(path: Path, marked: int = 3) -> None:
    """Three pages of which one is marked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    masks = np.zeros((3, 10, 14), np.uint8)
    masks[marked - 1, 2:5, 3:6] = 255
    tifffile.imwrite(path, masks, photometric="minisblack")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x.tif", {}),
        ("x.tiff", {"compression": "tiff_lzw"}),
        ("x.webp", {"lossless": True}),
        ("x.png", {}),
        ("x.apng", {"format": "PNG"}),
        ("x.gif", {}),
    ],
)
def test_every_page_is_an_image(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    path = save_all(tmp_path / name, **options)
    pages = list_images(tmp_path)
    assert pages == [Page(path, number) for number in (1, 2, 3)]
    for page, frame in zip(pages, FRAMES, strict=True):
        found = read_image(page).astype(int)
        assert np.abs(found - frame).mean() < (60 if name == "x.gif" else 0.01)  # 256 colours
        assert np.abs(found - frame).mean() == min(np.abs(found - other).mean() for other in FRAMES)
    assert np.array_equal(read_image(path), read_image(pages[0]))


@pytest.mark.parametrize(
    ("name", "options", "decoder"),
    [
        ("x.gif", {"disposal": 2}, "GifImagePlugin.GifImageFile._seek"),
        ("x.gif", {"disposal": [1, 3, 2] * 4, "transparency": 0}, "GifImagePlugin.GifImageFile._seek"),
        ("x.webp", {"lossless": False}, "WebPImagePlugin.WebPImageFile._get_next"),
    ],
    ids=["gif", "gif with holes", "webp"],
)
def test_frames_in_order_are_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, object], decoder: str
) -> None:
    rng, moving = np.random.default_rng(0), []
    for i in range(12):
        frame = Image.fromarray(rng.integers(0, 256, (10, 14, 4), np.uint8) * (rng.random((10, 14, 1)) < 0.5))
        moving.append(frame if name != "x.gif" else frame.convert("P", palette=Image.Palette.ADAPTIVE, colors=8 + i))
    moving[0].save(tmp_path / name, save_all=True, append_images=moving[1:], **options)
    pages = pages_of(tmp_path / name)
    assert len(pages) == 12
    anew = [read_image(page) for page in reversed(pages)][::-1]  # none can go on where the last one ended
    counted: list[int] = []
    whole = f"PIL.{decoder}"
    module, kind, method = whole.rsplit(".", 2)
    own = getattr(getattr(importlib.import_module(module), kind), method)
    monkeypatch.setattr(whole, lambda *given: counted.append(1) or own(*given))
    for page, expected in zip(pages, anew, strict=True):
        for _ in range(2):
            assert np.array_equal(read_image(page), expected)
    assert len(counted) <= 13  # 66 and more where each is opened anew
    assert np.array_equal(read_image(pages[3]), anew[3])


def test_frames_of_an_apng_do_not_depend_on_what_was_read_before(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first, *others = [Image.fromarray(rng.integers(0, 256, (10, 14, 4), np.uint8)) for _ in range(6)]
    first.save(tmp_path / "x.png", save_all=True, append_images=others, blend=1, disposal=2)
    pages = pages_of(tmp_path / "x.png")
    anew = [read_image(page) for page in reversed(pages)][::-1]
    assert len(pages) == 6 and all(map(np.array_equal, map(read_image, pages), anew))


def test_frames_of_a_file_that_was_replaced_are_the_new_ones(tmp_path: Path) -> None:
    first, second = pages_of(save_all(tmp_path / "x.webp", lossless=True))[:2]
    assert np.array_equal(read_image(first), FRAMES[0])
    (tmp_path / "x.webp").unlink()
    others = [Image.fromarray(255 - frame) for frame in FRAMES]
    others[0].save(tmp_path / "x.webp", save_all=True, append_images=others[1:], lossless=True)
    assert np.array_equal(read_image(second), 255 - FRAMES[1])


def test_of_two_files_that_threads_read_at_once_one_decoder_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (pages_of(save_all(tmp_path / name))[0] for name in ("a.gif", "b.gif"))
    own, load, opened = kept_decoder._opened, kept_decoder._loaded, []
    monkeypatch.setattr(kept_decoder, "_opened", lambda path: opened.append(own(path)) or opened[-1])

    def loaded(image: Image.Image, path: Path, limit: int) -> Image.Image:
        if path == first:  # as another thread does meanwhile
            read_image(second)
        return load(image, path, limit)

    monkeypatch.setattr(kept_decoder, "_loaded", loaded)
    read_image(first)
    assert [decoder.file.closed for decoder in opened] == [False, True]


def test_a_program_that_ends_closes_the_kept_file(tmp_path: Path) -> None:
    save_all(tmp_path / "x.gif")
    code = "from stadx.data import folders, images; images.read_image(folders.pages_of(Path('x.gif'))[0])"
    command = [sys.executable, "-W", "default::ResourceWarning", "-c", f"from pathlib import Path; {code}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "ResourceWarning" not in done.stderr


def times_opened(page: Path) -> int:
    with pytest.MonkeyPatch.context() as patched:
        own, opened = kept_decoder._opened, []
        patched.setattr(kept_decoder, "_opened", lambda path: opened.append(path) or own(path))
        read_image(page)
    return len(opened)


def test_a_forked_child_does_not_move_in_the_file_that_its_parent_reads(tmp_path: Path) -> None:
    pages = pages_of(save_all(tmp_path / "x.gif"))
    assert [times_opened(page) for page in pages[:2]] == [1, 0]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(times_opened, (pages[2],)) == 1
    assert times_opened(pages[2]) == 0


def test_frames_are_known_by_content_not_by_name(tmp_path: Path) -> None:
    assert len(pages_of(save_all(tmp_path / "gif.jpg", format="GIF"))) == 3


@pytest.mark.parametrize("first", [False, True])
def test_thumbnails_are_no_images(tmp_path: Path, first: bool) -> None:
    with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
        if first:
            writer.write(FRAMES[1][::2, ::2], photometric="rgb", subfiletype=1)
        writer.write(FRAMES[0], photometric="rgb")
        if not first:
            writer.write(FRAMES[1][::2, ::2], photometric="rgb", subfiletype=1)
    assert list_images(tmp_path) == [tmp_path / "x.tif"]
    assert np.array_equal(read_image(tmp_path / "x.tif"), FRAMES[0])


def test_pages_between_reduced_ones_keep_their_numbers(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "x.tif", bigtiff=True) as writer:
        for frame in FRAMES[:2]:
            writer.write(frame, photometric="rgb")
            writer.write(frame[::2, ::2], photometric="rgb", subfiletype=1)
    pages = list_images(tmp_path)
    assert [page_of(page) for page in pages] == [1, 3]
    assert np.array_equal(read_image(pages[1]), FRAMES[1])


def test_second_pictures_of_cameras_are_no_images(tmp_path: Path) -> None:
    path = save_all(tmp_path / "x.mpo", format="MPO")
    path.rename(tmp_path / "x.jpg")
    assert list_images(tmp_path) == [tmp_path / "x.jpg"]


@pytest.mark.parametrize("name", ["x.tif", "x.gif", "x.png"])
def test_a_file_that_is_cut_short_says_so(tmp_path: Path, name: str) -> None:
    path = save_all(tmp_path / name)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.6)])
    pages = pages_of(path)
    assert len(pages) >= 2
    with pytest.raises(DataError, match=rf"{name}, page [23]: damaged"):
        for page in pages:
            read_image(page)


def test_a_page_is_a_path(tmp_path: Path) -> None:
    path = save_all(tmp_path / "x.tif")
    page = pages_of(path)[2]
    assert page == Page(path, 3) and page not in (path, Page(path, 2)) and len({page, path, Page(path, 3)}) == 2
    assert page.stem == "x_p3" and page.name == "x.tif" and page.parent == tmp_path and page.exists()
    assert os.fspath(page) == str(path) and f"{page}" == f"{path}, page 3"
    assert file_of(page) == path and type(file_of(page)) is type(path)
    assert pickle.loads(pickle.dumps(page)) == page
    assert page.resolve() == path.resolve() and page_of(page.resolve()) is None
    assert entry_of(page) == {"path": str(path), "page": 3} and entry_of(path) == {"path": str(path)}
    assert pages_of(page) == [page]


def test_pages_wherever_images_are_named(tmp_path: Path) -> None:
    path = save_all(tmp_path / "x.tif")
    draw_image(tmp_path / "x_p2.png")
    pages = pages_of(path)
    assert matching_images(f"{tmp_path}/*.tif") == named_images([path]) == pages
    assert collect_images([path, tmp_path]) == [*pages, tmp_path / "x_p2.png"]
    folder = tmp_path.name
    assert output_names([*pages, tmp_path / "x_p2.png"]) == ["x_p1", f"{folder}_x_p2", "x_p3", f"{folder}_x_p2_2"]
    source = ImageSource(pages, None)
    assert [np.array_equal(source[i].permute(1, 2, 0), FRAMES[i]) for i in range(3)] == [True] * 3
    assert source.name_of(2) == f"{path}, page 3"
    assert source.fingerprint() != ImageSource([pages[0], pages[2], pages[1]], None).fingerprint()


def test_a_stream_takes_pages_one_by_one(tmp_path: Path) -> None:
    path = save_all(tmp_path / "x.tif")
    for name in (path, str(path)):
        with pytest.raises(DataError, match=r"x\.tif: has 3 pages, each an image of its own; give them one by one"):
            one_frame(name)
    frames = [one_frame(page)[0].permute(1, 2, 0).numpy() for page in pages_of(path)]
    assert all(map(np.array_equal, frames, FRAMES))


def category(root: Path) -> Path:
    for i in range(10):
        draw_image(root / f"train/good/{i}.png", (14, 10))
    draw_image(root / "test/good/0.png", (14, 10))
    save_all(root / "test/bent/x.tif")
    return root


def test_masks_page_by_page(tmp_path: Path) -> None:
    root = category(tmp_path / "bolt")
    save_masks(root / "ground_truth/bent/x_mask.tif")
    listing = list_category(root)
    assert not listing.errors
    good, one, two, marked = listing.for_testing().test
    assert [good.is_good, one.is_good, two.is_good, marked.is_good] == [True, True, True, False]
    assert marked.path == Page(root / "test/bent/x.tif", 3)
    assert marked.mask == Page(root / "ground_truth/bent/x_mask.tif", 3)
    assert [f.severity for f in check_set(root)[0].findings] == ["warning"], check_set(root)
    patterns = list_patterns(None, f"{root}/test/bent/*", f"{root}/ground_truth/bent/{{name}}_mask.tif")
    assert [(t.is_good, t.mask) for t in patterns.category.test][-1] == (False, marked.mask) and not patterns.errors


def test_masks_of_their_own_for_pages(tmp_path: Path) -> None:
    root = category(tmp_path / "bolt")
    for page in (1, 2, 3):
        draw_mask(root / f"ground_truth/bent/x_p{page}_mask.png", size=(14, 10))
    assert [t.mask and t.mask.name for t in list_category(root).for_testing().test[1:]] == [
        f"x_p{page}_mask.png" for page in (1, 2, 3)
    ]
    patterns = list_patterns(None, f"{root}/test/bent/*", f"{root}/ground_truth/bent/{{name}}_mask.png")
    assert not patterns.errors and not patterns.warnings and len(patterns.category.test) == 3
    (root / "ground_truth/bent/x_p2_mask.png").unlink()
    assert list_category(root).errors == [
        f"{root}/test/bent/x.tif, page 2: has no mask; expected {root}/ground_truth/bent/x_p2_mask.png "
        "(a good image belongs in test/good)"
    ]


def test_regions_of_interest_page_by_page(tmp_path: Path) -> None:
    path = save_all(tmp_path / "x.tif")
    (tmp_path / "roi").mkdir()
    tifffile.imwrite(tmp_path / "roi/x_mask.tif", np.full((3, 10, 14), 255, np.uint8), photometric="minisblack")
    draw_mask(tmp_path / "roi/y_p3.png", size=(14, 10))
    roi = Roi(tmp_path / "roi")
    assert roi.of(pages_of(path)[2], (10, 14)).all()
    assert roi.of(Page(tmp_path / "y.tif", 3), (10, 14)).sum() == 6


def test_the_size_of_a_page(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(np.zeros((10, 14), np.uint8))
        tiff.write(np.zeros((6, 8), np.uint8))
    assert [image_size(page) for page in pages_of(path)] == [(10, 14), (6, 8)]


def test_maps_of_pages(tmp_path: Path) -> None:
    (tmp_path / "maps/bent").mkdir(parents=True)
    for page in (1, 2, 3):
        tifffile.imwrite(tmp_path / f"maps/bent/x_p{page}_map.tiff", np.zeros((10, 14), np.float32))
    save_masks(tmp_path / "truth/bent/x_mask.tif")
    assert [int(mask.sum()) for _, mask, _ in open_map_set(tmp_path / "maps", tmp_path / "truth")] == [0, 0, 9]


def test_the_check_tells_of_pages(tmp_path: Path) -> None:
    root = category(tmp_path / "bolt")
    save_masks(root / "ground_truth/bent/x_mask.tif")
    (finding,) = check_set(root)[0].findings
    assert finding.message == f"{root}/test/bent/x.tif: each of the 3 pages in it is an image of its own"
    assert len(finding.files) == 3 and finding.to_json()["files"][2] == entry_of(Page(root / "test/bent/x.tif", 3))
