"""The paper's tables: as printed, and run anew on small data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from labeled_images import write_digits
from typer.testing import CliRunner

from stadx import DataError, Detector
from stadx.cli.app import app
from stadx.core.files import read_model, write_model
from stadx.core.progress import silent
from stadx.data.demo.demo_set import write_demo_set
from stadx.data.labeled import read_labeled
from stadx.detectors.baselines import METHODS, Baseline
from stadx.experiments.one_class import zoomed
from stadx.experiments.reproduce import ITEMS, reproduce
from stadx.experiments.request import BUDGETS, Budget, Request
from stadx.experiments.tables import categories, classes
from stadx.experiments.tables.published_tables import TABLES, PublishedTable
from stadx.metrics import auroc
from stadx.networks.patch_network import normalize_images
from stadx.teachers.teacher_files import TEACHER_VERSION, load_teacher, shipped_teacher

pytest.importorskip("sklearn")
TINY = Budget(
    "quick",
    "next to nothing",
    {"steps": 2, "students": 1, "image_size": 32, "crop": 16},
    {method: {"samples": 60, "epochs": 1, "image_size": 32} for method in METHODS},
    {"students": 1, "steps": 2, "batch": 4},
    4,
)

SLIPPED_MEANS = {("table1", "AnoGAN"), ("table3", "p = 33")}  # as the paper prints them; their notes say so


@pytest.mark.parametrize("name", TABLES)
def test_printed_tables_are_whole(name: str) -> None:
    table = PublishedTable.of(name)
    rows = {"table1": 15, "table2": 2, "table3": 15, "table6": 10, "table7": 10}
    assert len(table.rows) == rows[name] and all(0 < f < 1 for row in table.rows.values() for f in row)
    assert len(table.mean) == (0 if name == "table2" else len(table.columns))
    for i, column in enumerate(table.columns[: len(table.mean)]):
        values = [row[i] for row in table.rows.values()]
        agrees = np.mean(values) == pytest.approx(table.mean[i], abs=1.01e-3)
        assert agrees == ((name, column) not in SLIPPED_MEANS), column
        assert agrees or any(f"printed mean of {column}" in note for note in table.notes)


def test_figures_that_can_be_looked_up() -> None:
    assert PublishedTable.of("table1").figure("Screw", "CNN-Feature Dictionary") == 0.277
    assert PublishedTable.of("table3").figure("Bottle", "Multiscale") == 0.931
    assert PublishedTable.of("table6").figure("2", "1-NN") == 0.962
    assert PublishedTable.of("table7").figure("truck", "Ours (1, 0, 1)") == 0.848
    assert PublishedTable.of("table1").figure("Magnetic tile", "1-NN") is None
    for name, row in (("table6", "MNIST"), ("table7", "CIFAR-10")):
        assert PublishedTable.of("table2").rows[row] == PublishedTable.of(name).mean


def test_receptive_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(categories.SCALES, "Multiscale", (17, 33))  # p = 65 costs more than all else
    weave = write_demo_set(tmp_path / "data", size=64, train=4, test_good=1, test_defect=1)[0]
    request = Request((tmp_path / "data",), tmp_path / "out", TINY, ("Weave",), ("p = 33", "Multiscale"))
    outcome = reproduce("table3", request)
    result = outcome.table
    assert result is not None and all(file.is_file() for file in outcome.files)
    assert list(result.cells) == ["Weave"] and result.columns == ["p = 33", "Multiscale"]
    assert all(0 <= cell.measured[0] <= 1 for cell in result.cells["Weave"].values())
    assert len(list((tmp_path / "out" / "models").iterdir())) == 2  # each scale once, no checkpoints left
    parts = [Detector.load(file) for file in sorted((tmp_path / "out" / "models").iterdir())]
    images = sorted((weave / "train" / "good").iterdir())
    together = categories.train_detector((17, 33), images, request, 0, "Weave", silent)
    anew = Detector(together.scales, **TINY.detector_settings(len(images))).fit(images)
    image = torch.rand(1, 3, 40, 48)
    assert torch.equal(together.score(image, stride=2), anew.score(image, stride=2))  # as if trained together
    assert together.threshold_ == anew.threshold_ and [list(part.scales) for part in parts] == [[17], [33]]
    page = (tmp_path / "out" / "table3.html").read_text()
    figure = result.cells["Weave"]["p = 33"].measured[0]
    digest = categories.content_hash(weave, lambda *_: None)
    for part in (f"<b>{figure:.3f}</b>", digest[:12], "next to nothing", "<dt>crop</dt><dd>16</dd>", "torch"):
        assert part in page, part
    assert page.count("data:image/png;base64,") == 2  # of each system those found worst and best
    assert "| Weave |" in (tmp_path / "out" / "table3.md").read_text()

    def stop(*args: object, **more: object) -> float:
        raise AssertionError("nothing is left to run")

    monkeypatch.setattr(categories, "_train", stop)
    again = reproduce("table3", request)
    assert again.table is not None and again.table.cells == result.cells and not again.failures
    with pytest.raises(DataError, match="there is a category Weave already"):
        reproduce("table3", replace(request, data=(weave, tmp_path / "data")))
    with pytest.raises(DataError, match="has no columns for other teachers"):
        reproduce("table3", replace(request, teachers={"Ours (0, 1, 1)": tmp_path}))
    (tmp_path / "out" / "table3.json").write_text("[]")
    with pytest.raises(DataError, match=r"table3.json: is no file of figures"):
        reproduce("table3", request)
    (tmp_path / "out" / "table3.json").write_text('{"settings": {}, "inputs": {}, "figures": {"Weave": 0.5}}')
    with pytest.raises(DataError, match=r"table3.json: holds figures without their settings, .*move it away"):
        reproduce("table3", request)


def test_baselines_of_table_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUDGETS, "quick", TINY)
    weave = write_demo_set(tmp_path / "data", size=64, train=3, test_good=1, test_defect=1)[0]
    arguments = ["reproduce", "table1", "--data", str(weave), "--out", str(tmp_path / "out"), "--budget", "quick"]
    chosen = ["--system", "1-NN", "--system", "VAE", "--seeds", "2", "--jobs", "2"]
    result = CliRunner().invoke(app, [*arguments, *chosen])
    assert result.exit_code == 0, result.output
    assert "Weave" in result.output and "a slip, no target" in result.output
    figures = json.loads((tmp_path / "out" / "table1.json").read_text())["figures"]
    keys = {key.rpartition(" | ")[0] for key in figures}
    assert keys == {f"Weave | {s} | seed {n}" for s in ("1-NN", "VAE") for n in (0, 1)}
    for wrong, message in (
        (["--system", "p = 33"], "no such system here"),
        (["--row", "Tile"], "no such row here"),
        (["--texture", "Tiles"], "Tiles: there is no such row here; there are Weave"),
        (["--teacher", "1,2,1=x"], "is not like"),
    ):
        assert message in CliRunner().invoke(app, [*arguments, *wrong]).output
    wrong = CliRunner().invoke(app, ["reproduce", "table3", *arguments[2:], "--texture", "Weave"])
    assert wrong.exit_code == 2 and "means nothing to table3" in wrong.output
    with pytest.raises(DataError, match="is no category, nor a folder of such"):
        reproduce("table1", Request((tmp_path / "out",), tmp_path / "o2"))


def test_every_baseline_is_a_column_of_the_paper() -> None:
    assert set(categories.BASELINES.values()) == set(METHODS)
    printed = {column for name in TABLES for column in PublishedTable.of(name).columns}
    assert set(categories.BASELINES) <= printed


def test_progress_tells_cells_apart() -> None:
    assert Request((), Path()).label("Bottle", "p = 17", 0) == "Bottle, p = 17"
    assert Request((), Path(), seeds=2).label("Bottle", "p = 17", 1) == "Bottle, p = 17, seed 1"


def test_settings_for_textures() -> None:
    quick = Request((), Path(), BUDGETS["quick"])
    for row, size in (("Carpet", 512), ("Bottle", 256)):
        assert categories.settings_of("SSIM-AE", quick, row)["image_size"] == size
    settings = categories.settings_of("SSIM-AE", quick)
    assert settings["for textures"]["image_size"] == 512
    assert settings["textures"] == "Carpet, Grid, Leather, Tile, Wood"
    budget = BUDGETS["quick"].with_textures(["Magnetic tile", "Tile"])
    more = Request((), Path(), budget)
    assert budget.name == "quick, textures Magnetic tile"
    assert budget.says == f"{BUDGETS['quick'].says}; settings for textures also for Magnetic tile"
    for column, side in (("SSIM-AE", 512), ("AnoGAN", 512), ("CNN-Feature Dictionary", 512)):
        # its figures do not mix with those of the other settings
        assert categories.settings_of(column, more, "Magnetic tile")["image_size"] == side
        assert categories.settings_of(column, more, "Bottle")["image_size"] != side
        assert categories.settings_of(column, more)["textures"].endswith("Wood, Magnetic tile")
    assert BUDGETS["quick"].with_textures(["wood"]) is BUDGETS["quick"]
    assert BUDGETS["quick"].with_textures(["magnetic_tile"]).is_texture("Magnetic tile")  # as rows are chosen
    assert categories.settings_of("1-NN", quick)["samples"] == 5000


def test_settings_of_digits_are_those_that_are_used() -> None:
    for column, rate, batch in (("ℓ2-AE", 1e-2, 64), ("OCGAN", 2e-4, 512)):
        settings = classes.settings_of(column, BUDGETS["default"])
        assert (settings["learning_rate"], settings["batch"]) == (rate, batch)


def test_another_number_of_steps() -> None:
    for name, budget in BUDGETS.items():
        other = budget.of_steps(7)
        assert other.detector_settings(100)["steps"] == other.one_class["steps"] == 7
        assert {**other.detector, "steps": 0} == {**budget.detector, "steps": 0} or name == "paper"
        assert other.name == f"{name}, 7 steps" and "7 steps of all students" in other.says
        assert other.baselines == budget.baselines


def test_a_quick_budget_is_less_than_the_papers() -> None:
    for method, samples in (("ssim-ae", 500), ("anogan", 500), ("ocgan", 500), ("ocsvm", 10_000)):
        assert BUDGETS["quick"].baseline_settings(METHODS[method])["samples"] == samples
    assert BUDGETS["quick"].baseline_settings(METHODS["anogan"])["epochs"] == 20
    assert BUDGETS["quick"].baseline_settings(METHODS["l2-ae"]) == {"samples": 50_000}
    assert BUDGETS["quick"].baseline_settings(METHODS["knn"]) == {}
    assert BUDGETS["paper"].baseline_settings(METHODS["anogan"]) == {}


def test_the_papers_autoencoders_learn_from_all_descriptors() -> None:
    for column in ("ℓ2-AE", "VAE"):
        assert categories.make_baseline(column, BUDGETS["paper"], 0).samples is None
        assert categories.settings_of(column, Request((), Path(), BUDGETS["paper"]))["samples"] == "all"
        for name, samples in (("quick", 50_000), ("default", 500_000)):
            assert categories.make_baseline(column, BUDGETS[name], 0).samples == samples
            assert f"ℓ2-AE and VAE on {samples:,}" in BUDGETS[name].says and "(paper: all)" in BUDGETS[name].says
    assert "ℓ2-AE and VAE on all descriptors" in BUDGETS["paper"].says


def test_the_paper_gives_no_steps_for_digits_and_the_budget_says_so() -> None:
    settings = classes.settings_of("Ours (1, 0, 1)", BUDGETS["paper"])
    named = {name: settings[name] for name in ("steps", "batch", "students", "optimizer", "learning_rate")}
    assert named == {"steps": 10_000, "batch": 64, "students": 5, "optimizer": "adam", "learning_rate": 1e-4}
    assert (settings["schedule"], settings["weight_decay"]) == ("constant", 1e-5)
    assert "MNIST and CIFAR-10, of which the paper does not say how long: 10,000 steps" in BUDGETS["paper"].says


def test_digits_and_their_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_digits(tmp_path / "data")
    columns = ("1-NN", "ℓ2-AE", "Ours (1, 0, 1)", "Ours (0, 1, 1)", "OCGAN")
    header, tensors = read_model(shipped_teacher(33), "teacher", TEACHER_VERSION)
    header["card"] |= {"distillation_weight": 0.0, "triplet_weight": 1.0}
    triplets = tmp_path / "triplets.safetensors"
    write_model(triplets, "teacher", TEACHER_VERSION, header, tensors)
    teachers = {"Ours (0, 1, 1)": triplets}
    small = {"samples": 60, "epochs": 1, "image_size": 29, "width": 2, "discriminator_width": 2}
    budget = replace(TINY, baselines={method: small for method in METHODS})
    request = Request((tmp_path / "data",), tmp_path / "out", budget, ("3", "7"), columns, teachers=teachers)
    means = reproduce("table2", request).table
    assert means is not None and list(means.cells) == ["MNIST"]
    result = reproduce("table6", request).table
    assert result is not None and list(result.cells) == ["3", "7"] and set(result.columns) == set(columns)
    for column in columns:
        each = [result.cells[row][column].ours for row in ("3", "7")]
        assert means.cells["MNIST"][column].ours == pytest.approx(np.mean(each))
    same, other = (result.cells["7"][column].measured for column in columns[2:4])
    assert same == other  # the same network under another name
    printed = [PublishedTable.of("table6").figure(row, "1-NN") for row in ("3", "7")]
    assert means.cells["MNIST"]["1-NN"].published == pytest.approx(sum(p or 0 for p in printed) / 2)
    assert any("only the classes 3, 7" in note for note in means.notes())
    data = read_labeled(tmp_path / "data")
    teacher = load_teacher(shipped_teacher(33))
    train, test = (teacher(normalize_images(zoomed(part.images, 33))) for part in (data.train, data.test))
    nearest = METHODS["knn"](samples=60).fit_descriptors(train[data.train.labels == 7]).score_descriptors(test)
    want = auroc(nearest.numpy(), (data.test.labels != 7).numpy())
    assert result.cells["7"]["1-NN"].ours == pytest.approx(want, abs=0.02)
    (model,) = (tmp_path / "out" / "models").glob("7-ocgan-*")
    scores = Baseline.load(model).score(data.test.images).mean((1, 2))
    want = auroc(scores.numpy(), (data.test.labels != 7).numpy())
    assert result.cells["7"]["OCGAN"].ours == pytest.approx(want, abs=1e-6)
    assert "mean of these rows" in result.rows() and "mean of these rows" not in means.rows()
    with pytest.raises(DataError, match="is not the data of Table 7: CIFAR-10"):
        reproduce("table7", request)
    assert not any("JPEG" in line for line in (*result.header, *means.header))
    noted = replace(data, note="The images were stored as JPEG.")
    monkeypatch.setattr(classes, "read_labeled", lambda place, progress: noted)
    for name in ("table6", "table2"):
        outcome = reproduce(name, request)  # nothing is left to train
        assert outcome.table is not None and "Table 6: MNIST. The images were stored as JPEG." in outcome.table.header


def test_teachers_have_the_weights_of_their_column(tmp_path: Path) -> None:
    assert list(classes.teacher_files({})) == ["Ours (1, 0, 1)"]
    shipped = shipped_teacher(33)
    with pytest.raises(DataError, match=r"p33.safetensors: was trained for Ours \(1, 0, 1\)"):
        classes.teacher_files({"Ours (1, 1, 1)": shipped})
    with pytest.raises(DataError, match="is a teacher for p = 17"):
        classes.teacher_files({"Ours (1, 0, 1)": shipped_teacher(17)})
    assert list(classes.teacher_files({"Ours (1, 0, 1)": shipped})) == ["Ours (1, 0, 1)"]


def test_the_command_knows_all_tables() -> None:
    assert [item for item in ITEMS if item.startswith("table")] == list(TABLES)
