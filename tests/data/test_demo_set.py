"""The drawn demo set: MVTec layout, exact masks, one set a seed, varied, and safe to draw again."""

from __future__ import annotations

import copy
import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from stadx.core.errors import DataError, OutputError
from stadx.data.demo import demo_set as demo
from stadx.data.demo import washer as demo_washer
from stadx.data.demo import weave as demo_weave
from stadx.data.demo.drawing import Drawing, finish
from stadx.data.images import read_image
from stadx.data.layouts import open_category
from stadx.data.layouts.category import read_mask

MODULES = [demo_weave, demo_washer]
SMALL = {"size": 48, "train": 3, "test_good": 2, "test_defect": 4}
KINDS = [(m, d) for m in MODULES for d in m.DEFECTS]


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_layout_opens_as_a_category(tmp_path: Path) -> None:
    folders = demo.write_demo_set(tmp_path / "new" / "demo", **SMALL)
    assert folders == [tmp_path / "new" / "demo" / m.NAME for m in MODULES]
    for folder, module in zip(folders, MODULES, strict=True):
        category = open_category(folder)
        assert category.name == module.NAME
        assert len(category.train) == 3
        assert sorted(category.defects) == sorted(module.DEFECTS)
        assert [t.defect for t in category.test].count("good") == 2
        assert len(category.test) == 6
        for test in category.test:
            image = read_image(test.path)
            assert image.shape == (48, 48, 3)
            if test.mask is not None:
                read_mask(test.mask, (48, 48), test.path)
        assert {p.name for p in folder.iterdir()} == {"train", "test", "ground_truth", demo.MARKER}
    assert {p.name for p in folders[0].parent.iterdir()} == {"weave", "washer"}


@pytest.mark.parametrize(("module", "defect"), KINDS)
def test_mask_is_exactly_what_the_defect_changed(module: ModuleType, defect: str) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        drawing = module.draw(256, rng, defect)
        same = copy.deepcopy(rng)
        image, mask = finish(drawing, module.GRAIN, rng)
        good, nothing = finish(Drawing(drawing.good, None), module.GRAIN, same)
        assert not nothing.any()
        assert np.array_equal(mask, (image != good).any(axis=2))
        assert 0.001 < mask.mean() < 0.15
        # A person can see it: somewhere it changes by more than the grain and the jitter do.
        assert np.abs(image.astype(int) - good).max() > 40


def test_mask_is_exact_where_saturation_hides_the_change() -> None:
    good = np.full((16, 16, 3), 1.5, np.float32)
    damaged = good.copy()
    damaged[4:8, 6:10] = 1.3
    image, mask = finish(Drawing(good, damaged), 0.0, np.random.default_rng(0))
    assert mask.sum() == 4 and mask[2:4, 3:5].all()
    assert np.array_equal(mask, (image != 255).any(axis=2))
    assert image.min() == 254


@pytest.mark.parametrize(("module", "defect"), KINDS)
def test_written_masks_are_those_drawn(module: ModuleType, defect: str, tmp_path: Path) -> None:
    demo.write_demo_set(tmp_path, **SMALL)
    settings = demo.DemoSettings(module.NAME, **SMALL, seed=0)
    seen = 0
    for image_path, mask_path, image, mask in demo.draw_images(module, settings):
        if f"/{defect}/" in image_path:
            seen += 1
            folder = tmp_path / module.NAME
            assert mask_path is not None
            assert np.array_equal(read_image(folder / image_path), image)
            assert np.array_equal(read_mask(folder / mask_path, (48, 48), image_path), mask)
    assert seen


def test_same_seed_same_files(tmp_path: Path) -> None:
    demo.write_demo_set(tmp_path / "a", **SMALL, seed=3)
    demo.write_demo_set(tmp_path / "b", **SMALL, seed=3)
    demo.write_demo_set(tmp_path / "c", **SMALL, seed=4)
    first, second, third = (content(tmp_path / name) for name in "abc")
    assert first == second
    assert first.keys() == third.keys()
    assert all(first[name] != third[name] for name in first)


@pytest.mark.parametrize("module", MODULES)
def test_an_image_does_not_depend_on_the_counts(module: ModuleType) -> None:
    few = demo.DemoSettings(module.NAME, **SMALL, seed=0)
    many = replace(few, train=5, test_defect=7)
    images = [{i[0]: i[2] for i in demo.draw_images(module, s)} for s in (few, many)]
    assert len(images[0]) == 9 and len(images[1]) == 14
    assert all(np.array_equal(image, images[1][path]) for path, image in images[0].items())


@pytest.mark.parametrize("module", MODULES)
def test_good_images_vary_but_not_as_much_as_a_defect(module: ModuleType) -> None:
    settings = demo.DemoSettings(module.NAME, 128, 6, 1, 0, seed=0)
    images = np.stack([image for *_, image, _ in demo.draw_images(module, settings)]).astype(float)
    differences = [np.abs(a - b).mean() for i, a in enumerate(images) for b in images[:i]]
    assert min(differences) > 2
    means = images.mean(axis=(1, 2, 3))
    assert 1 < means.max() - means.min() < 30
    # Not blank, not saturated.
    assert images.std(axis=(1, 2, 3)).min() > 20
    assert ((images == 0) | (images == 255)).mean() < 0.08


def test_no_defects_asked(tmp_path: Path) -> None:
    folders = demo.write_demo_set(tmp_path, size=48, train=1, test_good=1, test_defect=0)
    assert not open_category(folders[0]).has_defects


def test_an_equal_set_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = demo.write_demo_set(tmp_path, **SMALL)
    monkeypatch.setattr(demo, "_draw_category", lambda *_: pytest.fail("drawn again"))
    assert demo.write_demo_set(tmp_path, **SMALL) == folders


def test_another_or_incomplete_set_is_replaced(tmp_path: Path) -> None:
    folders = demo.write_demo_set(tmp_path, **SMALL)
    before = content(tmp_path)
    demo.write_demo_set(tmp_path, **(SMALL | {"train": 2}))
    assert len(open_category(folders[0]).train) == 2
    demo.write_demo_set(tmp_path, **SMALL)
    (folders[1] / "test" / "good" / "001.png").unlink()
    demo.write_demo_set(tmp_path, **SMALL)
    assert content(tmp_path) == before
    assert {p.name for p in tmp_path.iterdir()} == {"weave", "washer"}


def test_other_files_beside_the_categories_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    (tmp_path / "weave").mkdir()
    demo.write_demo_set(tmp_path, **SMALL)
    assert (tmp_path / "report.html").read_text() == "mine"


@pytest.mark.parametrize("marker", [None, "{}", "nonsense", '{"category": 3}', "[1]"])
def test_a_foreign_folder_is_refused(tmp_path: Path, marker: str | None) -> None:
    (tmp_path / "washer").mkdir()
    (tmp_path / "washer" / "precious.txt").write_text("mine")
    if marker is not None:
        (tmp_path / "washer" / demo.MARKER).write_text(marker)
    with pytest.raises(OutputError, match="not a demo set") as caught:
        demo.write_demo_set(tmp_path, **SMALL)
    assert str(tmp_path / "washer") in str(caught.value)
    assert (tmp_path / "washer" / "precious.txt").read_text() == "mine"


def test_files_added_to_a_demo_set_are_not_deleted(tmp_path: Path) -> None:
    folders = demo.write_demo_set(tmp_path, **SMALL)
    (folders[0] / "train" / "good" / "mine.png").write_text("mine")
    with pytest.raises(OutputError, match=r"mine\.png"):
        demo.write_demo_set(tmp_path, **(SMALL | {"seed": 5}))
    assert (folders[0] / "train" / "good" / "mine.png").read_text() == "mine"


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_unwritable_place(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError) as caught:
        demo.write_demo_set(tmp_path / place, **SMALL)
    assert str(tmp_path / place) in str(caught.value)
    assert content(tmp_path) == {"file": b"mine"}


def test_failure_midway_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fail_later(path: Path, image: np.ndarray, *, durable: bool) -> None:
        calls.append(path)
        if len(calls) == 4:
            raise OutputError(f"{path}: cannot be written (No space left on device); free some")

    monkeypatch.setattr(demo, "write_image", fail_later)
    with pytest.raises(OutputError, match="No space left") as caught:
        demo.write_demo_set(tmp_path, **SMALL)
    assert str(tmp_path / "weave") in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_failed_replacement_keeps_the_old_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo.write_demo_set(tmp_path, **SMALL)
    before = content(tmp_path)
    rename, calls = os.rename, []

    def fail_once(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_once)
    with pytest.raises(OutputError, match="Input/output error"):
        demo.write_demo_set(tmp_path, **(SMALL | {"seed": 5}))
    assert content(tmp_path) == before
    assert {p.name for p in tmp_path.iterdir()} == {"weave", "washer"}


@pytest.mark.parametrize("wrong", [{"size": 47}, {"train": 0}, {"test_good": 0}, {"test_defect": -1}, {"seed": -1}])
def test_nonsense_settings(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(DataError):
        demo.write_demo_set(tmp_path, **(SMALL | wrong))
    assert list(tmp_path.iterdir()) == []


def test_marker_tells_the_settings(tmp_path: Path) -> None:
    folders = demo.write_demo_set(tmp_path, **SMALL, seed=2)
    marker = json.loads((folders[1] / demo.MARKER).read_text())
    assert marker["category"] == "washer" and marker["seed"] == 2 and marker["size"] == 48
