"""The review page in a real browser, with real mouse and keys, opened as a file and without a network."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from brightness import Brightness
from reviews import ODD, made_review, write_photos

from stadx.data.masks import mask_pixels
from stadx.evaluation.review import writing
from stadx.evaluation.review.data_set import write_data_set
from stadx.evaluation.review.reading import read_review

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra browser (pip install playwright)")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine (apt-get install chromium)")

NAMES = {"a.png": 100, ODD: 80, "c.png": 60, "d.png": 30}  # by falling score; the first two are flagged
Open = Callable[[Path], Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=BROWSER, args=options)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Open]:
    """Opens a page in a tab of one window; at the end nothing may have gone wrong or been asked of a network."""
    context = browser.new_context(offline=True, accept_downloads=True, viewport={"width": 1300, "height": 900})
    wrong: list[str] = []

    def open_page(page: Path) -> Any:
        tab = context.new_page()
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        tab.on("dialog", lambda dialog: wrong.append(dialog.message))
        tab.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else wrong.append(r.url))
        tab.goto(page.as_uri())
        ready(tab)
        return tab

    yield open_page
    context.close()
    assert not wrong


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return made_review(write_photos(tmp_path / "photos", NAMES), tmp_path / "out")[0]


def ready(tab: Any) -> None:
    tab.wait_for_function("view.ready")


def press(tab: Any, *keys: str) -> None:
    for key in keys:
        tab.keyboard.press(key)
        ready(tab)


def counts(tab: Any) -> str:
    return tab.locator("#counts").inner_text().replace("\n", " ")


def drag(tab: Any, *points: tuple[float, float]) -> None:
    """Press the mouse at the first of points in pixels of the image, and move it over the others."""
    box = tab.locator("#mask").bounding_box()
    scale = box["width"] / tab.evaluate("view.mask.width")
    for index, (x, y) in enumerate(points):
        tab.mouse.move(box["x"] + x * scale, box["y"] + y * scale, steps=4)
        if not index:
            tab.mouse.down()
    tab.mouse.up()


def heat_at(tab: Any, x: int, y: int) -> list[int]:
    return tab.evaluate(f"[...view.heat.getContext('2d').getImageData({x}, {y}, 1, 1).data]")


def saved_by(tab: Any, folder: Path, start: Callable[[], None]) -> Path:
    with tab.expect_download() as download:
        start()
    assert download.value.suggested_filename == "review.json"
    file = folder / "review.json"
    download.value.save_as(file)
    return file


def test_keys_decide_and_undo(page: Path, opened: Open) -> None:
    tab = opened(page)
    assert counts(tab) == "0 good 0 defect 0 unsure 4 undecided 2 flagged 4 images"
    assert tab.locator("#name").inner_text() == "a.png" and tab.locator("#list li").count() == 4
    press(tab, "g")
    assert tab.locator("#name").inner_text() == ODD and "1 good" in counts(tab)  # a name is text, whatever is in it
    press(tab, "u", "d", "g")
    assert counts(tab) == "2 good 1 defect 1 unsure 0 undecided 2 flagged 4 images"
    press(tab, "z", "Control+z")
    assert counts(tab) == "1 good 0 defect 1 unsure 2 undecided 2 flagged 4 images"
    assert tab.locator("#name").inner_text() == "c.png"
    press(tab, "ArrowLeft", "p")
    assert tab.locator("#name").inner_text() == "a.png" and "is" in tab.locator("#good").get_attribute("class")
    press(tab, "n", "ArrowRight")
    tab.locator("#list button").nth(3).click()
    ready(tab)
    tab.locator("#defect").click()
    press(tab, "p", "p", "p")
    tab.keyboard.down("G")
    tab.keyboard.down("G")  # held down
    tab.keyboard.up("G")
    ready(tab)
    assert counts(tab).startswith("1 good 1 defect 1 unsure 1 undecided")
    assert tab.locator("#list i").all_inner_texts() == ["good", "unsure", "", "defect"]


def test_the_slider_recolours_at_once(page: Path, opened: Open) -> None:
    tab = opened(page)
    own = tab.locator("#cut").inner_text()
    assert own == "0.5000 (the model's)"
    assert heat_at(tab, 29, 15) == [255, 255, 255, 255]  # just outside the square, which is above the threshold
    before = heat_at(tab, 5, 5)
    box = tab.locator("#threshold").bounding_box()
    middle = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + box["width"] * 0.25, middle)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] * 0.9, middle, steps=5)
    assert heat_at(tab, 29, 15) != [255, 255, 255, 255] and heat_at(tab, 5, 5) != before  # the button is still down
    tab.mouse.up()
    assert float(tab.locator("#cut").inner_text()) > 1
    press(tab, "ArrowRight")  # keys go to the page again, not to the slider
    assert tab.locator("#name").inner_text() == ODD
    press(tab, "p")
    tab.locator("#own").click()
    assert tab.locator("#cut").inner_text() == own and heat_at(tab, 5, 5) == before
    press(tab, "h")
    assert tab.evaluate("getComputedStyle(view.heat).opacity") == "0"
    press(tab, "h")
    tab.locator("#opacity").focus()
    tab.keyboard.press("Home")
    assert tab.evaluate("getComputedStyle(view.heat).opacity") == "0"


def test_scores_far_above_the_threshold_are_told_apart(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Brightness, "threshold_", 0.05)
    tab = opened(made_review(write_photos(tmp_path / "photos", {"a.png": 100}), tmp_path / "out")[0])
    square, around = tab.evaluate("[view.levels[15 * 60 + 35], view.levels[0]]")
    assert square == math.ceil(200 / 255 / 0.0005) and around == math.ceil(100 / 255 / 0.0005)


def test_masks_are_painted_and_saved(page: Path, opened: Open, tmp_path: Path) -> None:
    tab = opened(page)
    drag(tab, (5, 5), (50, 5))
    assert "0 defect" in counts(tab)  # no tool is chosen
    press(tab, "b")
    drag(tab, (5.5, 30.5), (50.5, 30.5))
    assert "1 defect" in counts(tab) and tab.locator("#list i").first.inner_text() == "defect + mask"
    press(tab, "]", "]", "]", "]", "]", "]", "e")
    drag(tab, (30.5, 25), (30.5, 36))
    press(tab, "d")
    tab.locator("#fill").click()
    assert "2 defect" in counts(tab) and tab.evaluate("judged[1].mask !== null")
    press(tab, "c")
    assert tab.evaluate("judged[1].mask === null")
    press(tab, "z")  # a mask that was cleared by mistake comes back
    assert tab.evaluate("view.maskAddress() === judged[1].mask && judged[1].mask !== null")
    press(tab, "g")  # what is good has none
    file = saved_by(tab, tmp_path, lambda: tab.locator("#save").click())
    assert tab.locator("#saved").inner_text() == ""
    review = read_review(file)
    assert review.counts() == "1 good, 1 defect, 0 unsure"
    review.check_images(review.judged)
    assert write_data_set(review, tmp_path / "set") == (1, 1, 0)
    mask = mask_pixels(tmp_path / "set" / "ground_truth" / "defect" / "a_mask.png")
    assert mask[30, 6:25].all() and mask[30, 37:50].all() and not mask[30, 30] and not mask[:25].any()
    assert review.of("defect")[0].threshold == 0.5


def test_what_is_above_the_threshold_becomes_the_mask(page: Path, opened: Open, tmp_path: Path) -> None:
    tab = opened(page)
    press(tab, "f")
    file = saved_by(tab, tmp_path, lambda: tab.keyboard.press("s"))
    mask = read_review(file).of("defect")[0].full_mask()
    assert mask is not None and mask[10:20, 30:40].all() and mask.sum() == 100


def test_a_closed_tab_loses_nothing(page: Path, opened: Open, tmp_path: Path) -> None:
    tab = opened(page)
    press(tab, "f", "d", "u")
    tab.close()
    tab = opened(page)
    assert counts(tab) == "0 good 1 defect 1 unsure 2 undecided 2 flagged 4 images"
    assert tab.locator("#name").inner_text() == "c.png"  # where the last time ended
    assert tab.locator("#saved").inner_text() == "3 changes since the last save"
    tab.locator("#save").click()
    tab.reload()
    ready(tab)
    assert tab.locator("#saved").inner_text() == ""
    press(tab, "p", "p")
    assert tab.evaluate("view.maskAddress() === judged[0].mask && judged[0].mask !== null")
    other, _ = made_review(tmp_path / "photos", tmp_path / "other")
    assert "4 undecided" in counts(opened(other))  # another review has decisions of its own


def test_names_that_are_no_unicode(opened: Open, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", {"a.png": 90})
    odd = photos / os.fsdecode(b"\xff\xe9.png")
    (photos / "a.png").rename(odd)
    page, _ = made_review(photos, tmp_path / "out")
    tab = opened(page)
    press(tab, "g")
    review = read_review(saved_by(tab, tmp_path, lambda: tab.keyboard.press("s")))
    assert review.judged[0].path == odd
    review.check_images(review.judged)


def test_filters(page: Path, opened: Open) -> None:
    tab = opened(page)
    tab.locator("#filter").select_option("flagged")
    assert tab.locator("#list li:visible").count() == 2
    press(tab, "g", "n", "n")
    assert tab.locator("#name").inner_text() == ODD
    tab.locator("#filter").select_option("undecided")
    assert tab.locator("#list li:visible").count() == 3
    press(tab, "g", "g", "g")
    assert tab.locator("#none").is_visible() and "4 good" in counts(tab)
    tab.locator("#filter").select_option("good")
    assert tab.locator("#list li:visible").count() == 4


def test_images_beside_the_page_are_loaded_when_seen(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "EMBEDDED_BYTES", 3000)
    photos = write_photos(tmp_path / "photos", {f"{n:02}.png": 100 - n for n in range(40)})
    page, _ = made_review(photos, tmp_path / "out")
    tab = opened(page)
    assert tab.evaluate("loaded.size") < 30  # thumbnails out of sight are not there
    press(tab, "n")
    assert heat_at(tab, 35, 15)[3] > 0
    tab.locator("#list button").last.scroll_into_view_if_needed()
    last = (
        "(() => { const c = rows.at(-1).thumbnail; return c.getContext('2d').getImageData(20, 20, 1, 1).data[3]; })()"
    )
    tab.wait_for_function(f"{last} === 255")
    assert tab.evaluate("loaded.size") <= 24


def test_a_missing_file_beside_the_page_is_told(browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "EMBEDDED_BYTES", 0)
    page, _ = made_review(write_photos(tmp_path / "photos", {"a.png": 90}), tmp_path / "out")
    (page.parent / "images" / "0.js").unlink()
    tab = browser.new_page()
    tab.goto(page.as_uri())
    tab.locator("#trouble").wait_for()
    assert "0.js is missing; keep the folder images beside this page" in tab.locator("#trouble").inner_text()
    tab.close()


def test_shape_and_colours_of_the_page(browser: Any, tmp_path: Path) -> None:
    page, _ = made_review(write_photos(tmp_path / "photos", {"a.png": 90}, (40, 160)), tmp_path / "out")
    grounds = []
    for scheme in ("light", "dark"):
        tab = browser.new_page(color_scheme=scheme, viewport={"width": 390, "height": 800})
        tab.goto(page.as_uri())
        ready(tab)
        box = tab.locator("#picture").bounding_box()
        assert box["width"] / box["height"] == pytest.approx(4, rel=0.01)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        grounds.append(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
        tab.close()
    assert grounds[0] != grounds[1]


def test_a_full_browser_is_told(page: Path, browser: Any) -> None:
    tab = browser.new_page()
    tab.add_init_script("Storage.prototype.setItem = () => { throw new Error('full'); }")
    tab.goto(page.as_uri())
    ready(tab)
    tab.keyboard.press("g")
    assert "save before you close" in tab.locator("#trouble").inner_text()
    assert "1 good" in counts(tab)
    tab.close()
