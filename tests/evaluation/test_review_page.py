"""The page of `stadx review`: what it holds of images and maps."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from brightness import Brightness
from PIL import Image
from reviews import MODEL, ODD, content_of, made_review, write_photos

from stadx.core.errors import DataError, OutputError
from stadx.data import strips
from stadx.data.image_hash import hash_of_file
from stadx.data.source import ImageSource
from stadx.data.value_range import BYTES
from stadx.evaluation.review import writing
from stadx.evaluation.review.looking import SIDE, STEPS, Levels, look


def levels_of(address: str) -> np.ndarray:
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))).astype(int)
    return picture[..., 0] * 256 + picture[..., 1]


def shown_in(page: Path, number: int) -> dict:
    return json.loads(page.read_text().split(f'id="data-{number}">')[1].split("</script>")[0])


@pytest.mark.parametrize("threshold", [3.7, 0.1, -2.0])
def test_every_position_of_the_slider_cuts_the_map_as_the_scores(threshold: float) -> None:
    levels = Levels.of(threshold)
    scores = np.random.default_rng(0).normal(threshold, 2 * levels.step * STEPS, (50, 50)).astype(np.float32)
    scores[0, :2] = threshold, np.nextafter(np.float32(threshold), np.float32(9))
    found = levels.of_scores(scores)
    for n in (1, 37, STEPS, 250):
        cut = threshold if n == STEPS else levels.base + n * levels.step
        assert ((found > n) == (scores > cut)).all()
    assert levels.of_scores(np.float32([[-1e30, 1e30]])).tolist() == [[0, 65535]]


def test_the_page_holds_all_and_asks_for_nothing(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", {"a.png": 100, "sub/b.png": 40, ODD: 70})
    page, content = made_review(photos, tmp_path / "out")
    assert [p.name for p in page.parent.iterdir()] == ["review.html"]
    assert [image["path"] for image in content["images"]] == ["a.png", ODD, "sub/b.png"]  # highest score first
    assert [image["flagged"] for image in content["images"]] == [True, False, False]
    assert content["images"][0]["size"] == content["images"][0]["shown"] == [40, 60]
    text = page.read_text()
    assert not re.search(r"https?:|<link|@import|src=\"(?!data:)", text) and "<script>alert" not in text
    assert content["head"]["model"] == {"name": "m.safetensors", "sha256": "0" * 64}
    assert content["head"]["folder"] == str(photos)
    shown = shown_in(page, content["images"][0]["data"])
    found = levels_of(shown["levels"])
    assert (found[10:20, 30:40] > STEPS).all() and (found > STEPS).sum() == 100 and shown["block"] == 1
    with pytest.raises(OutputError, match=r"review\.html: is there already.*another folder"):
        made_review(photos, tmp_path / "out")


def test_a_hash_is_that_of_the_lineage_however_the_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (300, 50, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    expected = ImageSource([tmp_path / "a.tif"], None, value_range=BYTES).hash_of(0)
    assert hash_of_file(tmp_path / "a.tif", BYTES) == expected
    whole = look(Brightness(), tmp_path / "a.tif", Levels.of(0.5), 1, None)
    monkeypatch.setattr(strips, "LARGE_IMAGE_PIXELS", 100)
    assert hash_of_file(tmp_path / "a.tif", BYTES) == expected
    by_strips = look(Brightness(None), tmp_path / "a.tif", Levels.of(0.5), 1, None)
    assert by_strips == whole and whole.sha256 == expected


@pytest.mark.filterwarnings("ignore::stadx.core.errors.DataWarning")
def test_large_and_deep_images(tmp_path: Path) -> None:
    pixels = np.full((30, 3 * SIDE - 1), 20_000, np.uint16)
    pixels[3, 500] = 65535  # one pixel stays above the threshold
    tifffile.imwrite(tmp_path / "deep.tif", pixels)
    found = look(Brightness(), tmp_path / "deep.tif", Levels.of(0.5), 1, None)
    assert found.size == (30, 3 * SIDE - 1) and found.shown == (10, SIDE) and found.block == 2
    levels = levels_of(found.levels)
    assert levels.shape == (5, SIDE // 2) and (levels > STEPS).sum() == 1 and levels[0, 500 // 6] > STEPS
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(found.picture.partition(",")[2]))))
    assert picture.shape == (10, SIDE, 3) and abs(int(picture[9, 9, 0]) - 20_000 // 257) <= 2


def test_many_images_lie_beside_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = write_photos(tmp_path / "photos", {f"{n}.png": 40 + n for n in range(5)})
    monkeypatch.setattr(writing, "EMBEDDED_BYTES", 3000)
    page, content = made_review(photos, tmp_path / "out")
    assert content["beside"] and "data-0" not in page.read_text()
    assert sorted(p.name for p in (page.parent / "images").iterdir()) == [f"{n}.js" for n in range(5)]
    text = (page.parent / "images" / "3.js").read_text()
    assert text.startswith("stadxShown(3, {") and text.endswith("});\n")


def test_the_order_of_a_table(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", {f"{n}.png": 40 + n for n in range(4)})
    paths = sorted(photos.iterdir())
    table = tmp_path / "t.csv"
    table.write_text(f"rank,path\n1,2.png\n2,{photos}/0.png\n3,photos/3.png\n4,2.png\n5,other.png\n")
    chosen = writing.read_order(table, photos, paths)
    assert [path.name for path in chosen] == ["2.png", "0.png", "3.png"]
    page, _ = writing.write_review(Brightness(), photos, chosen, tmp_path / "out", model=MODEL, ordered=True)
    assert [image["path"] for image in content_of(page)["images"]] == ["2.png", "0.png", "3.png"]
    for text, message in (("a,b\n1,2\n", "no column path"), ("path\nx.png\n", "names no image of")):
        table.write_text(text)
        with pytest.raises(DataError, match=message):
            writing.read_order(table, photos, paths)
    with pytest.raises(DataError, match="cannot be read"):
        writing.read_order(tmp_path / "none.csv", photos, paths)


def test_images_that_cannot_be_shown_are_told(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", {"a.png": 50})
    (photos / "<b>.png").write_bytes(b"no image")
    page, failures = writing.write_review(Brightness(), photos, sorted(photos.iterdir()), tmp_path / "out", model=MODEL)
    assert len(failures) == 1 and "&lt;b&gt;.png" in page.read_text() and len(content_of(page)["images"]) == 1
    with pytest.raises(DataError, match="none of the 1 images could be scored; the first: "):
        writing.write_review(Brightness(), photos, [photos / "<b>.png"], tmp_path / "none", model=MODEL)
    assert not (tmp_path / "none" / "review.html").exists()


def test_pages_of_a_file_are_images(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    tifffile.imwrite(tmp_path / "photos" / "a.tif", np.zeros((3, 20, 20), np.uint8) + 50, photometric="minisblack")
    _, content = made_review(tmp_path / "photos", tmp_path / "out")
    assert [(image["path"], image["page"]) for image in content["images"]] == [("a.tif", n) for n in (1, 2, 3)]


def test_a_region_of_interest_counts_alone(tmp_path: Path) -> None:
    from stadx.data.roi import Roi

    class Looking(Brightness):
        def score(self, images: torch.Tensor, *, stride: int = 1, roi: object = None) -> torch.Tensor:
            found = super().score(images)
            return found if roi is None else found.masked_fill(~torch.as_tensor(roi), 0)

    photos = write_photos(tmp_path / "photos", {"a.png": 100})
    inside = np.ones((40, 60), bool)
    inside[10:20, 30:40] = False
    found = look(Looking(), photos / "a.png", Levels.of(0.5), 1, Roi(inside))
    assert found.score == pytest.approx(100 / 255)
