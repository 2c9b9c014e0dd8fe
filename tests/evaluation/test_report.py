"""Heat maps, plots and the HTML report."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stadx.core.errors import DataError, OutputError
from stadx.data.images import write_image
from stadx.evaluation.of_detector import DefectResult, Evaluation, TestScore
from stadx.evaluation.report import plots
from stadx.evaluation.report.html import write_report
from stadx.evaluation.report.overlay import (
    BEHIND_BOX,
    BOX,
    OUTSIDE,
    PREDICTED,
    STRONGEST_BLEND,
    TRUTH,
    Scale,
    frame,
    heat_map,
    outline,
    overlay,
    resize_map,
    resize_mask,
    resize_to,
    scale_for,
)
from stadx.evaluation.report.worst import write_worst
from stadx.metrics import ProCurve, evaluate_maps, pro_curve


def photo(shape: tuple[int, int] = (20, 30)) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_the_threshold_lies_in_the_middle_of_the_scale() -> None:
    assert scale_for(4.0) == Scale(0.0, 8.0)
    assert scale_for(4.0, typical=1.0) == Scale(1.0, 7.0)


@pytest.mark.parametrize("threshold", [0.0, -3.0])
def test_the_scale_has_a_range_whatever_the_threshold(threshold: float) -> None:
    scale = scale_for(threshold)
    assert scale.high > scale.low


def test_hotter_is_brighter_and_the_ends_are_clipped() -> None:
    colours = heat_map(np.array([[-5.0, 0.0, 0.3, 0.6, 1.0, 9.0]]), Scale(0.0, 1.0)).astype(int)
    luminance = colours[0] @ [299, 587, 114]
    assert (np.diff(luminance[1:5]) > 0).all()
    assert (colours[0, 0] == colours[0, 1]).all() and (colours[0, 4] == colours[0, 5]).all()
    assert colours.shape == (1, 6, 3)


def test_a_score_that_is_no_number_is_drawn_cold() -> None:
    colours = heat_map(np.array([[np.nan, 0.0]]), Scale(0.0, 1.0))
    assert (colours[0, 0] == colours[0, 1]).all()


def test_typical_scores_leave_the_grey_image_as_it_is() -> None:
    image = photo()
    calm = overlay(image, np.zeros((20, 30), np.float32), Scale(0.0, 1.0))
    grey = np.asarray(Image.fromarray(image).convert("L"))
    assert (calm == grey[..., None]).all()
    hot = overlay(image, np.ones((20, 30), np.float32), Scale(0.0, 1.0))
    assert hot[..., 0].mean() > hot[..., 2].mean() + 50  # yellow, not grey


@pytest.mark.parametrize("looked_at", [False, True])
def test_an_overlay_mixes_grey_and_colour_by_the_score(looked_at: bool) -> None:
    """Written out per pixel; scores are drawn in 255 steps, of which each moves a value by less than 3."""
    rng = np.random.default_rng(0)
    image, scores = rng.integers(0, 256, (20, 31, 3), np.uint8), rng.normal(size=(20, 31)).astype(np.float32)
    inside = rng.random((20, 31)) < 0.7 if looked_at else None
    scores[0, :4] = [np.inf, -np.inf, 3e38, -3e38]
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float64)[..., None]
    scale = Scale(-1.0, 2.0)
    share = ((scores.astype(np.float64) + 1) / 3).clip(0, 1)[..., None]
    blend = STRONGEST_BLEND * share**0.75
    expected = grey * (1 - blend) + heat_map(scores, scale) * blend
    if inside is not None:
        expected = np.where(inside[..., None], expected, OUTSIDE * grey)
    drawn = overlay(image, scores, scale, inside=inside)
    assert drawn.dtype == np.uint8 and np.abs(drawn - expected).max() < 3


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize(("size", "width"), [((1, 1), 1), ((3, 40), 5), ((33, 20), 2)])
def test_an_outline_is_what_a_square_reaches_beyond_the_mask(size: tuple[int, int], width: int, share: float) -> None:
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 200, (*size, 3), np.uint8), rng.random(size) < share
    grown = np.zeros(size, bool)
    for row, column in np.argwhere(mask):
        grown[max(0, row - width) : row + width + 1, max(0, column - width) : column + width + 1] = True
    drawn = outline(image, mask, (255, 0, 0), width=width)
    expected = np.where((grown & ~mask)[..., None], np.uint8([255, 0, 0]), image)
    np.testing.assert_array_equal(drawn, expected)


def test_an_overlay_outlines_the_predicted_mask() -> None:
    mask = np.zeros((20, 30), bool)
    mask[5:10, 5:10] = True
    drawn = overlay(photo(), np.zeros((20, 30), np.float32), Scale(0.0, 1.0), predicted=mask)
    assert (drawn[4, 5:10] == PREDICTED).all()


def test_an_outline_runs_just_outside_the_mask() -> None:
    mask = np.zeros((20, 30), bool)
    mask[5:10, 8:20] = True
    image = photo()
    drawn = outline(image, mask, TRUTH, width=2)
    ring = np.zeros((20, 30), bool)
    ring[3:12, 6:22] = True
    ring &= ~mask
    assert (drawn[ring] == TRUTH).all()
    assert (drawn[~ring] == image[~ring]).all()


@pytest.mark.parametrize("grey", [0, 255])
def test_boxes_are_seen_on_any_picture_and_outside_the_outline(grey: int) -> None:
    mask = np.zeros((20, 30), bool)
    mask[6:9, 10:14] = True
    image = np.full((20, 30, 3), grey, np.uint8)
    drawn = overlay(image, np.zeros((20, 30), np.float32), Scale(0.0, 1.0), predicted=mask, boxes=[(10, 6, 4, 3)])
    for far, colour in ((1, PREDICTED), (3, BOX), (4, BEHIND_BOX)):
        ring = np.zeros((20, 30), bool)
        ring[6 - far : 9 + far, 10 - far : 14 + far] = True
        ring[7 - far : 8 + far, 11 - far : 13 + far] = False
        assert (drawn[ring] == colour).all()
    assert (drawn[6:9, 10:14] == grey).all()
    assert (image == grey).all()


def test_boxes_at_the_border_stay_in_the_picture() -> None:
    drawn = frame(photo(), [(0, 0, 30, 20)])
    assert (drawn[0] == BOX).all() and (drawn[-1] == BOX).all() and (drawn[:, 0] == BOX).all()
    assert (drawn[1:-1, 1:-1] == photo()[1:-1, 1:-1]).all()


@pytest.mark.parametrize("value", [False, True])
def test_there_is_no_outline_around_nothing_or_everything(value: bool) -> None:
    image = photo()
    assert (outline(image, np.full((20, 30), value), TRUTH) == image).all()


def test_resizing_keeps_the_aspect_ratio_and_places() -> None:
    assert resize_to(photo((20, 30)), 300).shape == (200, 300, 3)
    assert resize_to(photo((600, 10)), 60).shape == (60, 1, 3)
    mask = np.zeros((20, 30), bool)
    mask[5:10, 8:20] = True
    large = resize_mask(mask, (200, 300))
    assert large[50:100, 80:200].mean() > 0.99 and large.sum() < 1.05 * mask.sum() * 100
    scores = resize_map(mask.astype(np.float32), (200, 300))
    assert scores.shape == (200, 300) and scores[75, 140] == 1.0 and scores[5, 5] == 0.0


def test_plots_are_svg_in_the_colour_of_the_page() -> None:
    rng = np.random.default_rng(0)
    svg = plots.image_histogram(rng.normal(size=20), np.arange(20) > 10, 1.5)
    ET.fromstring(svg)
    assert svg.startswith("<svg") and "currentColor" in svg and "good (11)" in svg and "defect (9)" in svg
    assert "#010203" not in svg


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e9])
@pytest.mark.parametrize("threshold", [-2.0, 0.0, 3.0])
def test_histograms_take_scores_of_any_size(scale: float, threshold: float) -> None:
    rng = np.random.default_rng(0)
    maps = [(rng.exponential(size=(9, 9)) * scale).astype(np.float32) for _ in range(4)]
    masks = [np.zeros((9, 9), bool) for _ in range(4)]
    ET.fromstring(plots.pixel_histogram(maps, masks, threshold))
    scores = np.array([m.max() for m in maps], dtype=np.float64)
    ET.fromstring(plots.image_histogram(scores, np.zeros(4, bool), threshold))


def test_ids_of_two_plots_in_a_page_do_not_meet() -> None:
    curve = ProCurve(np.array([0.0, 0.1, 1.0]), np.array([0.0, 0.8, 1.0]), np.zeros(3))
    ids = [re.findall(r'id="([^"]+)"', plots.pro_plot(curve, 0.7, 0.3, name=name)) for name in ("Cup a", "cup b")]
    assert ids[0] and not set(ids[0]) & set(ids[1])
    svg = plots.pro_plot(curve, 0.7, 0.3, name="cup c")
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
    assert used and used <= set(re.findall(r'id="([^"]+)"', svg))


def test_thinning_keeps_the_ends_and_the_steep_part_of_a_curve() -> None:
    fpr = np.linspace(0, 1, 100_001)
    pro = np.minimum(1.0, fpr * 1000)
    x, y = plots.thin(fpr, pro)
    assert len(x) <= plots.MOST_POINTS and (x[0], x[-1]) == (0.0, 1.0)
    assert np.abs(np.interp(fpr, x, y) - pro).max() < 0.01


def example(folder: Path, name: str = "cup", defect: str = "spot", *, with_defects: bool = True) -> Evaluation:
    rng = np.random.default_rng(0)
    images = []
    for index in range(8):
        is_good = index < 4 or not with_defects
        path = folder / f"{index}.png"
        write_image(path, photo((30, 40)))
        mask = np.zeros((30, 40), bool)
        scores = rng.normal(size=(30, 40)).astype(np.float32)
        if not is_good:
            mask[3:9, 4:12] = True
            scores[mask] += index
        kind = "good" if is_good else defect
        images.append(TestScore(path, kind, float(scores.max()), None if is_good else index / 8, scores, mask))
    curve = pro_curve([i.map for i in images], [i.mask for i in images]) if with_defects else None
    return Evaluation(
        name,
        image_auroc=0.91 if with_defects else None,
        pixel_auroc=0.92 if with_defects else None,
        au_pro=0.93 if with_defects else None,
        per_defect={defect: DefectResult(4, 0.81, 0.82, 0.83)} if with_defects else {},
        images=images,
        curve=curve,
        threshold=3.0,
        image_threshold=3.5,
        settings={"scales": [17, 33]},
        versions={"stadx": "1.2.3"},
        notes=[] if with_defects else ["no defects, sadly"],
    )


class Page(HTMLParser):
    """Collects what the tests look at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_holds_everything_itself(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", [example(tmp_path / "a"), example(tmp_path / "b", "mug")], title="Both")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert {tag for tag, _ in page.tags}.isdisjoint({"link", "script", "iframe"})
    sources = [attrs["src"] or "" for tag, attrs in page.tags if tag == "img"]
    assert len(sources) == 2 * 3 * (4 + 4)  # per category: the 4 defects once each, 4 good images
    for source in sources:
        picture = Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))))
        assert picture.size == (320, 240)
    assert sum(tag == "svg" for tag, _ in page.tags) == 2 * 3
    assert "url(http" not in text and "@import" not in text
    for shown in ("0.910", "0.920", "0.930", "0.810", "0.820", "0.830", "17, 33", "1.2.3", "AU-PRO@0.3"):
        assert shown in text
    assert [p.name for p in tmp_path.glob("*.html*")] == ["r.html"]


def test_the_gallery_goes_from_best_to_worst(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", [example(tmp_path)], shown=2)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    best, worst = text.index("Found best"), text.index("Found worst")
    good = text.index("Good images")
    place = {name: text.index(f"<b>spot/{name}.png") for name in "4567"}
    assert best < place["7"] < place["6"] < worst < place["4"] < place["5"] < good


def test_a_report_without_defects_says_so(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", [example(tmp_path, with_defects=False)])
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "no defects, sadly" in text and "Found best" not in text and ">nan" not in text.lower()
    assert Page(text).open == []


def test_names_cannot_put_tags_into_the_page(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", [example(tmp_path, "<script>x</script>", '"><b>&')], title="<i>", intro="a<b")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert Page(text).open == []
    assert "<script" not in text and "&lt;script&gt;" in text and "<i>" not in text


def test_a_name_that_is_no_utf8_does_not_stop_the_report(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", [example(tmp_path, "cup\udcff")])
    assert "cup?" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_report_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    evaluation = example(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"r\.html"):
        write_report(tmp_path / "file" / "r.html", [evaluation])


def test_an_image_that_has_gone_is_named(tmp_path: Path) -> None:
    evaluation = example(tmp_path)
    (tmp_path / "7.png").unlink()
    with pytest.raises(DataError, match=r"7\.png"):
        write_report(tmp_path / "r.html", [evaluation])
    assert not (tmp_path / "r.html").exists()


def test_the_worst_regions_come_first_and_in_their_surroundings(tmp_path: Path) -> None:
    evaluation = example(tmp_path)
    captions = write_worst(tmp_path / "worst.png", evaluation, count=2)
    regions = evaluate_maps([(image.map, image.mask) for image in evaluation.images]).regions()
    expected = sorted(region.au_pro for region in regions)[:2]
    assert [float(caption.split(": ")[1]) for caption in captions] == pytest.approx(expected, abs=0.006)
    assert all(caption.startswith("spot ") for caption in captions)
    picture = np.asarray(Image.open(tmp_path / "worst.png").convert("RGB"))
    assert (picture == TRUTH).all(2).any()  # the outline of a defect
    with pytest.raises(DataError, match="has no defect to show"):
        write_worst(tmp_path / "none.png", example(tmp_path / "good", with_defects=False))
