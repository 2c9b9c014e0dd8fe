"""The paper's figures and the ablations, drawn on small data."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from data_sets import draw_mvtec
from labeled_images import write_digits
from PIL import Image
from typer.testing import CliRunner

from stadx import DataError, Detector
from stadx.cli.app import app
from stadx.data.demo.demo_set import write_demo_set
from stadx.data.images import read_image
from stadx.data.labeled import read_labeled
from stadx.experiments.ablations import study_pages
from stadx.experiments.ablations.study import run_study, table
from stadx.experiments.figures import embedding
from stadx.experiments.reproduce import reproduce
from stadx.experiments.request import BUDGETS, Budget, Request
from stadx.experiments.tables import categories, classes
from stadx.metrics import auroc

pytest.importorskip("sklearn")
TINY = Budget(
    "quick",
    "next to nothing",
    {"steps": 2, "students": 1, "image_size": 32, "crop": 8},
    {},
    {"students": 2, "steps": 2, "batch": 4},
    4,
)


@pytest.fixture(scope="module")
def weave(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_set(tmp_path_factory.mktemp("set"), size=64, train=4, test_good=1, test_defect=3)[0]


@pytest.fixture
def small_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    """Detectors with one scale only, whatever a figure asks for."""
    for column in ("p = 33", "p = 65", "Multiscale"):
        monkeypatch.setitem(categories.SCALES, column, (17,))


def _mask(weave: Path, file: str) -> np.ndarray:
    mask = weave / "ground_truth" / Path(file).parent.name / f"{Path(file).stem}_mask.png"
    return np.asarray(Image.open(mask).convert("L")) > 0


def test_maps_of_defects_that_the_masks_choose(weave: Path, small_scales: None, tmp_path: Path) -> None:
    request = Request((weave,), tmp_path, TINY)
    files = [p.relative_to(weave).as_posix() for p in sorted(weave.glob("test/*/*.png")) if p.parent.name != "good"]
    sizes = {file: int(_mask(weave, file).sum()) for file in files}
    outcome = reproduce("figure5", request)
    assert all(file.is_file() for file in outcome.files)
    images = json.loads((tmp_path / "figure5.json").read_text())["images"]
    assert [i["pixels"] for i in images] == [min(sizes.values()), max(sizes.values())]
    assert all(sizes[i["file"]] == i["pixels"] for i in images)
    (model,) = (tmp_path / "models").iterdir()
    pixels = torch.from_numpy(read_image(weave / images[0]["file"])).permute(2, 0, 1)[None]
    scores = Detector.load(model).score(pixels, stride=4)[0]
    mask = np.asarray(
        Image.open(weave / images[0]["file"].replace("test", "ground_truth").replace(".png", "_mask.png"))
    )
    want = auroc(scores.numpy(), mask.reshape(64, 64, -1).any(2))
    assert images[0]["maps"]["p = 17"]["pixel_auroc"] == pytest.approx(want, abs=1e-6)
    assert list(images[1]["maps"]) == ["p = 17", "p = 33", "p = 65", "Multiscale"]
    page = (tmp_path / "figure5.html").read_text()
    assert "data:image/png;base64," in page and images[0]["file"] in page and f"{want:.3f}" in page
    wide, high = Image.open(tmp_path / "figure5.png").size
    assert wide > 2 * high  # six panels across, two down

    defects = {Path(file).parent.name for file in files}
    reproduce("figure6", request)
    images = json.loads((tmp_path / "figure6.json").read_text())["images"]
    assert [i["defect"] for i in images] == sorted(defects)
    for image in images:
        alike = sorted(sizes[file] for file in files if Path(file).parent.name == image["defect"])
        assert image["pixels"] == alike[len(alike) // 2]
    reproduce("figure1", request)
    (image,) = json.loads((tmp_path / "figure1.json").read_text())["images"]
    assert image["pixels"] == sorted(sizes.values())[len(sizes) // 2]
    for wrong, message in (
        ({"seeds": 2}, "is made with one seed"),
        ({"columns": ("p = 17",)}, "has no systems to choose from"),
        ({"rows": ("Tile",)}, "there is no such row here"),
    ):
        with pytest.raises(DataError, match=message):
            reproduce("figure1", replace(request, **wrong))


def test_a_category_that_cannot_be_used_is_left_out_of_a_figure(
    weave: Path, small_scales: None, tmp_path: Path
) -> None:
    broken = draw_mvtec(tmp_path / "broken")
    (broken / "ground_truth" / "bent" / "000_mask.png").unlink()
    outcome = reproduce("figure1", Request((weave, broken), tmp_path / "out", TINY, at="model"))
    assert len(outcome.failures) == 1 and outcome.failures[0].startswith("Broken: failed: ")
    content = json.loads((tmp_path / "out" / "figure1.json").read_text())
    assert [i["category"] for i in content["images"]] == ["Weave"] and list(content["failed"]) == ["Broken"]
    assert any("compared at 32 pixels a side" in line for line in content["header"])
    assert "Broken: failed: " in (tmp_path / "out" / "figure1.html").read_text()
    with pytest.raises(DataError, match=r"there is nothing to show\. Broken: failed: "):
        reproduce("figure1", Request((broken,), tmp_path / "out", TINY))


def test_embedding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUDGETS, "quick", TINY)
    write_digits(tmp_path / "data", train=8, test=6)
    arguments = ["figure4", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--budget", "quick"]
    result = CliRunner().invoke(app, ["reproduce", *arguments, "--row", "3"])
    assert result.exit_code == 0, result.output
    (entry,) = json.loads((tmp_path / "out" / "figure4.json").read_text())["figures"].values()
    found = entry["figure"]
    samples = found["samples"]
    labels = read_labeled(tmp_path / "data").test.labels
    assert [s["class"] for s in samples] == [str(int(labels[s["test_image"]])) for s in samples]
    assert [s["class"] == "3" for s in samples] == [True] * 5 + [False] * 5
    assert (sum(found["good"]), sum(found["others"])) == (6, 54)
    # where the plane is faithful, a descriptor lies as far from its prediction as the root of e says
    near = np.array([np.subtract(s["descriptor"], s["prediction"]) for s in samples])
    errors = np.sqrt([s["error"] for s in samples])
    apart = [np.subtract(a["descriptor"], b["descriptor"]) for a, b in combinations(samples, 2)]
    assert 0 < found["stress"] < 0.5 and np.linalg.norm(apart, axis=1).max() > 0
    assert np.median(np.linalg.norm(near, axis=1) / errors) == pytest.approx(1, abs=0.5)
    assert Image.open(tmp_path / "out" / "figure4.png").width > 500
    assert "data:image/png;base64," in (tmp_path / "out" / "figure4.html").read_text()

    def stop(*args: object) -> None:
        raise AssertionError("nothing is left to train")

    monkeypatch.setattr(embedding, "OneClassEnsemble", stop)
    request = Request((tmp_path / "data",), tmp_path / "out", TINY, ("3",))
    noted = replace(read_labeled(tmp_path / "data"), note="The images were stored as JPEG.")
    monkeypatch.setattr(classes, "read_labeled", lambda place, progress: noted)
    reproduce("figure4", request)
    assert '<p class="soft">The images were stored as JPEG.</p>' in (tmp_path / "out" / "figure4.html").read_text()
    with pytest.raises(DataError, match="shows one good class"):
        reproduce("figure4", replace(request, rows=("3", "4")))


def test_ablations(weave: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = replace(TINY, detector={**TINY.detector, "scales": (17,)})
    request = Request((weave,), tmp_path, budget, columns=("stride",))
    outcome = reproduce("ablations", request)
    setup = study_pages.setup_of(budget, 4)
    assert (setup.stride, setup.settings["scales"], setup.settings["steps"], setup.settings["crop"]) == (4, (17,), 2, 8)
    same = run_study("stride", weave, tmp_path / "ablations", setup)
    assert f"**Weave: stride**\n\n{table(same)}" in outcome.text and "next to nothing" in outcome.text
    page = (tmp_path / "ablations.html").read_text()
    assert page.count("data:image/png;base64,") == 2 and f"{same[0].au_pro:.3f}" in page

    def stop(*args: object, **more: object) -> None:
        raise AssertionError("nothing is left to run")

    monkeypatch.setattr(study_pages, "run_study", stop)
    assert reproduce("ablations", request).text == outcome.text
    failed = reproduce("ablations", replace(request, columns=("scales",)))
    assert failed.failures == [
        "Weave, scales: failed: AssertionError: nothing is left to run (its traceback is in the JSON file)"
    ]
    assert (
        "**Weave: scales**\n\nfailed" in failed.text and table(same) in failed.text
    )  # the previous one is shown still
    with pytest.raises(DataError, match="noise: there is no such study here"):
        reproduce("ablations", replace(request, columns=("noise",)))


def test_epochs_become_steps() -> None:
    paper = BUDGETS["paper"]
    assert paper.detector_settings(7)["steps"] == 700 and "epochs" not in paper.detector_settings(7)
    assert study_pages.setup_of(paper, 7).settings["steps"] == 700
    assert categories.settings_of("Multiscale", Request((), Path(), paper))["steps"] == "100 epochs"
