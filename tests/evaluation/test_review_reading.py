"""Decisions that the review page saved: reading them, and the data set made of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from reviews import MODEL, ODD, made_review, mask_address, saved, saved_file, write_photos

from stadx.core.errors import DataError, OutputError
from stadx.data import strips
from stadx.data.images import image_size, read_image
from stadx.data.layouts import open_category
from stadx.data.masks import mask_pixels
from stadx.data.pages import Page
from stadx.evaluation.review.data_set import write_data_set
from stadx.evaluation.review.format import Model
from stadx.evaluation.review.looking import SIDE
from stadx.evaluation.review.reading import read_review

NAMES = {"a.png": 100, "sub/a.png": 40, ODD: 70, "d.png": 30}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return made_review(write_photos(tmp_path / "photos", NAMES), tmp_path / "out")[0]


def test_decisions_are_read(page: Path, tmp_path: Path) -> None:
    file = saved_file(tmp_path / "r.json", page, {"a.png": "good", ODD: "defect", "sub/a.png": "unsure"})
    review = read_review(file)
    assert review.model == MODEL and review.counts() == "1 good, 1 defect, 1 unsure"
    assert [image.path for image in review.of("good")] == [tmp_path / "photos" / "a.png"]
    review.check_images(review.judged)
    review.check_model(MODEL)
    with pytest.raises(DataError, match=r"r\.json: is a review with m.safetensors \(0+\), not with other \(1+\); give"):
        review.check_model(Model("other", "1" * 64))
    (tmp_path / "photos").rename(tmp_path / "moved")
    with pytest.raises(DataError, match="is gone since the review, 3 of 3 are; put it back, or name the folder"):
        review.check_images(review.judged)
    moved = read_review(file, tmp_path / "moved")
    moved.check_images(moved.judged)
    write_photos(tmp_path / "moved", {"a.png": 101})
    with pytest.raises(DataError, match=r"a\.png: is another image than was judged, 1 of 3 are; put"):
        moved.check_images(moved.judged)


def test_an_image_of_another_size_is_refused(page: Path, tmp_path: Path) -> None:
    file = saved_file(
        tmp_path / "r.json", page, {"a.png": "defect", "d.png": "good"}, {"a.png": np.ones((40, 60), bool)}
    )
    content = json.loads(file.read_text())
    write_photos(tmp_path / "photos", {"a.png": 100}, (41, 50))
    sizes = (
        r"a\.png: has 50x41 pixels, the review has it with 60x40 pixels, 1 of 2 are of another size; put the reviewed"
    )
    with pytest.raises(DataError, match=sizes):
        write_data_set(read_review(file), tmp_path / "set")
    # the same image, but a review that says another size: its mask would lie elsewhere
    write_photos(tmp_path / "photos", {"a.png": 100})
    content["images"][[image["path"] for image in content["images"]].index("a.png")]["size"] = [80, 120]
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"a\.png: has 60x40 pixels, the review has it with 120x80 pixels"):
        write_data_set(read_review(file), tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_file_that_has_got_further_pages_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    stack = np.full((2, 20, 20), 50, np.uint8)
    tifffile.imwrite(tmp_path / "photos/a.tif", stack[:1], photometric="minisblack")
    page, _ = made_review(tmp_path / "photos", tmp_path / "out")
    review = read_review(saved_file(tmp_path / "r.json", page, {"a.tif": "good"}))
    review.check_images(review.judged)
    tifffile.imwrite(tmp_path / "photos/a.tif", stack, photometric="minisblack")
    with pytest.raises(DataError, match=r"a\.tif: is another image than was judged"):
        review.check_images(review.judged)


def test_what_is_no_review_is_refused(page: Path, tmp_path: Path) -> None:
    good = saved(page, {"a.png": "good"})
    image = good["images"][0]
    cases = {
        "is no JSON, or was cut short": json.dumps(good)[:-9],
        "is no review; give the JSON that the button Save": "[1]",
        "has version 2 of the format, this stadx reads 1; update": json.dumps({**good, "version": 2}),
        "has no decision; judge some": json.dumps({**good, "images": []}),
        "is damaged .KeyError: 'name'.; open the review page": json.dumps({**good, "model": {}}),
        "decision 'fine'": json.dumps({**good, "images": [{**image, "decision": "fine"}]}),
        "outside the folder": json.dumps({**good, "images": [{**image, "path": "../../etc/x.png"}]}),
        "/x.png is outside": json.dumps({**good, "images": [{**image, "path": "/x.png"}]}),
        "no PNG": json.dumps({**good, "images": [{**image, "mask": "data:text/html,x"}]}),
        "size": json.dumps({**good, "images": [{**image, "size": [0, 4]}]}),
        "page -1": json.dumps({**good, "images": [{**image, "page": -1}]}),
        "is damaged .OverflowError": json.dumps({**good, "images": [{**image, "size": [float("inf"), 4]}]}),
        r"judges .*a\.png more than once": json.dumps({**good, "images": [image, {**image, "decision": "unsure"}]}),
        "is damaged .TypeError": json.dumps({**good, "images": [3]}),
    }
    for message, text in cases.items():
        (tmp_path / "r.json").write_text(text)
        with pytest.raises(DataError, match=rf"r\.json: .*{message}"):
            read_review(tmp_path / "r.json")
    with pytest.raises(DataError, match=r"cannot be read .*check the name"):
        read_review(tmp_path / "none.json")


def test_a_data_set_of_a_review(page: Path, tmp_path: Path) -> None:
    mask = np.zeros((40, 60), bool)
    mask[12:18, 30:35] = True
    decisions = {"a.png": "good", "sub/a.png": "defect", ODD: "defect", "d.png": "good"}
    file = saved_file(tmp_path / "r.json", page, decisions, {"sub/a.png": mask, ODD: ~mask & mask})
    counts = write_data_set(read_review(file), tmp_path / "set")
    assert counts == (2, 1, 1)
    test = open_category(tmp_path / "set").test
    assert [image.is_good for image in test] == [True, True, False]
    assert test[-1].mask is not None and (mask_pixels(test[-1].mask) == mask).all()
    assert test[-1].path.read_bytes() == (tmp_path / "photos/sub/a.png").read_bytes()
    assert [p.name for p in (tmp_path / "set/unmarked").iterdir()] == [ODD]
    with pytest.raises(OutputError, match="is there already; name a new folder"):
        write_data_set(read_review(file), tmp_path / "set")


def test_defects_without_masks_make_a_data_set_too(page: Path, tmp_path: Path) -> None:
    file = saved_file(tmp_path / "r.json", page, {"a.png": "defect", "sub/a.png": "defect", "d.png": "good"})
    assert write_data_set(read_review(file), tmp_path / "set") == (1, 0, 2)
    assert len(open_category(tmp_path / "set").test) == 3
    file = saved_file(tmp_path / "r.json", page, {"a.png": "unsure"})
    with pytest.raises(DataError, match="no image is judged good or defect"):
        write_data_set(read_review(file), tmp_path / "other")


def test_masks_of_reduced_images_have_the_images_size(tmp_path: Path) -> None:
    size = 31, 2 * SIDE + 5
    photos = write_photos(tmp_path / "photos", {"a.png": 60}, size)
    page, content = made_review(photos, tmp_path / "out")
    height, width = content["images"][0]["shown"]
    assert (height, width) == (11, 685)
    mask = np.zeros((height, width), bool)
    mask[2, 10] = True
    file = saved_file(tmp_path / "r.json", page, {"a.png": "defect"}, {"a.png": mask})
    write_data_set(read_review(file), tmp_path / "set")
    written = mask_pixels(tmp_path / "set/ground_truth/defect/a_mask.png")
    assert written.shape == image_size(photos / "a.png") == size
    assert written.sum() == 9 and written[6:9, 30:33].all()
    saved_file(tmp_path / "r.json", page, {"a.png": "defect"}, {"a.png": mask[:5]})
    with pytest.raises(DataError, match=r"a\.png: its mask in the review cannot be used \(it has 685x5 pixels\)"):
        write_data_set(read_review(tmp_path / "r.json"), tmp_path / "set2")
    assert not (tmp_path / "set2").exists()


def test_pages_of_a_file_are_images_of_a_data_set(tmp_path: Path) -> None:
    """Each with its own decision and mask; a file that is called like a page keeps apart."""
    photos = tmp_path / "photos"
    photos.mkdir()
    stack = np.full((4, 20, 30), 40, np.uint8) + np.arange(4, dtype=np.uint8)[:, None, None]
    tifffile.imwrite(photos / "a.tif", stack, photometric="minisblack")
    frames = [Image.fromarray(image) for image in stack[:2]]
    frames[0].save(photos / "b.gif", save_all=True, append_images=frames[1:])
    write_photos(photos, {"a_p2.png": 90}, (20, 30))
    page, _ = made_review(photos, tmp_path / "out")
    content = saved(page, {"a.tif": "defect", "b.gif": "good", "a_p2.png": "good"})
    masks = {number: np.zeros((20, 30), bool) for number in (2, 3)}
    for number, mask in masks.items():
        mask[number : 2 * number, 5:9] = True
    for image in content["images"]:
        if image["path"] == "a.tif":
            image["decision"] = {1: "good", 4: "unsure"}.get(image["page"], "defect")
            image["mask"] = mask_address(masks[image["page"]]) if image["page"] in masks else None
    (tmp_path / "r.json").write_text(json.dumps(content))
    assert write_data_set(read_review(tmp_path / "r.json"), tmp_path / "set") == (4, 2, 0)
    test = open_category(tmp_path / "set").test
    found = {image.path.relative_to(tmp_path / "set/test").as_posix(): image for image in test}
    assert sorted(found) == [
        *("defect/a_p2.png", "defect/a_p3.png"),
        *("good/a_p1.png", "good/a_p2.png", "good/b_p1.png", "good/b_p2.png"),
    ]
    for number, mask in masks.items():
        image = found[f"defect/a_p{number}.png"]
        assert (read_image(image.path) == read_image(Page(photos / "a.tif", number))).all()
        assert image.mask is not None and (mask_pixels(image.mask) == mask).all()
    assert (read_image(found["good/b_p2.png"].path) == read_image(Page(photos / "b.gif", 2))).all()


def test_a_page_that_is_read_by_strips_alone_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    tifffile.imwrite(tmp_path / "photos/a.tif", np.full((2, 20, 30), 50, np.uint8), photometric="minisblack")
    page, _ = made_review(tmp_path / "photos", tmp_path / "out")
    review = read_review(saved_file(tmp_path / "r.json", page, {"a.tif": "good"}))
    monkeypatch.setattr(strips, "LARGE_IMAGE_PIXELS", 100)
    monkeypatch.setenv("STADX_MAX_PIXELS", "500")
    with pytest.raises(DataError, match=r"a\.tif, page \d: 30x20 pixels, more than the limit of 500.*STADX_MAX_PIXELS"):
        write_data_set(review, tmp_path / "set")
    assert not (tmp_path / "set").exists()
