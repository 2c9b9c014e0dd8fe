"""The paper's other systems on descriptors: each against its definition, and each finds a defect."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small import good_images, random_teacher, teacher_file
from torch import Tensor
from typer.testing import CliRunner

from stadx import DataError, ModelFileError
from stadx.cli.app import app
from stadx.core.files import write_model
from stadx.data.demo.demo_set import write_demo_set
from stadx.data.images import write_image
from stadx.data.layouts import open_category, training_images
from stadx.detectors.baselines import METHODS, DescriptorBaseline, OneClassSvmDetector
from stadx.detectors.baselines.shallow import nearest, projected
from stadx.detectors.registry import load_model
from stadx.evaluation.of_detector import evaluate
from stadx.networks.dense import dense_features
from stadx.networks.patch_network import normalize_images
from stadx.networks.training import Checkpoint
from stadx.teachers.teacher_files import TEACHER_VERSION

pytestmark = pytest.mark.arithmetic


OneClassSVM = pytest.importorskip("sklearn.svm").OneClassSVM
SMALL = {"knn": 300, "kmeans": 400, "ocsvm": 400, "l2-ae": 400, "vae": 400}


def _made(method: str, folder: Path) -> DescriptorBaseline:
    more = {"epochs": 60, "batch": 32, "learning_rate": 3e-3} if method in ("l2-ae", "vae") else {}
    given = {"patch_size": 17, "image_size": (20, 24), "samples": SMALL[method], "teacher": teacher_file(folder)}
    detector = METHODS[method](**given, border="reflect", seed=1, **more)
    assert isinstance(detector, DescriptorBaseline)
    return detector


@pytest.fixture(scope="module", params=list(SMALL))
def fitted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DescriptorBaseline:
    return _made(request.param, tmp_path_factory.mktemp(request.param)).fit(good_images(6))


def _with_defect() -> Tensor:
    images = good_images(4, seed=3)
    images[2:, :, 8:14, 9:16] = 255
    return images


@pytest.fixture(scope="module")
def weave(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    return write_demo_set(folder, size=96, train=6, test_good=2, test_defect=3)[0]


@pytest.mark.parametrize("method", list(SMALL))
def test_a_cut_in_the_cloth_stands_out(method: str, weave: Path) -> None:
    more = {"epochs": 60, "learning_rate": 1e-3} if method in ("l2-ae", "vae") else {}
    detector = METHODS[method](patch_size=33, image_size=None, samples=1500, **more).fit(training_images(weave))
    evaluation = evaluate(detector, open_category(weave), stride=4)
    found = evaluation.per_defect["cut"].pixel_auroc
    assert found is not None and found > 0.75
    assert detector.heldout_scores_[0] >= detector.threshold_ > detector.heldout_scores_[-1]


def test_a_saved_one_scores_the_same(fitted: DescriptorBaseline, tmp_path: Path) -> None:
    images = _with_defect()
    fitted.save(tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    assert type(again) is type(fitted) and again.settings["seed"] == 1
    prediction = fitted.predict(images)
    assert prediction.maps.shape == (4, 20, 24) and prediction.maps.dtype == torch.float32
    assert torch.equal(again.score(images), prediction.maps)
    assert again.threshold_ == fitted.threshold_
    larger = torch.nn.functional.interpolate(images.float() / 255, (41, 30))
    assert again.score(larger).shape == (4, 41, 30)
    coarse, fine = again.score(images, stride=2), again.score(images)
    torch.testing.assert_close(coarse[:, ::2, ::2], fine[:, ::2, ::2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 4])
def test_pixels_whose_patch_reaches_out_take_the_nearest_value(stride: int, tmp_path: Path) -> None:
    images, given = good_images(3, (40, 48)), {"patch_size": 17, "samples": 300, "teacher": teacher_file(tmp_path)}
    detector = METHODS["knn"](**given, image_size=None).fit(images)
    detector.save(tmp_path / "m.safetensors")
    assert load_model(tmp_path / "m.safetensors").settings["border"] == "inside"
    maps = detector.score(images, stride=stride)[:, ::stride, ::stride]
    assert isinstance(detector, DescriptorBaseline)
    every = dense_features(detector.teacher_, normalize_images(images), stride=stride)
    first, last = 8 // stride, [(n - 9) // stride for n in (40, 48)]
    rows, columns = (torch.arange(n // stride).clamp(first, end) for n, end in zip((40, 48), last, strict=True))
    nearest = every[:, :, rows][:, :, :, columns].permute(0, 2, 3, 1)
    want = detector.score_descriptors(nearest.flatten(0, 2)).view(maps.shape)
    torch.testing.assert_close(maps, want, rtol=1e-4, atol=1e-3)


def test_the_same_seed_gives_the_same_model(fitted: DescriptorBaseline, tmp_path: Path) -> None:
    again = _made(fitted.method, tmp_path).fit(good_images(6))
    for name, value in fitted.learned_.items():
        torch.testing.assert_close(again.learned_[name], value, rtol=1e-4, atol=1e-5)


def _vectors(detector: DescriptorBaseline, images: Tensor) -> Tensor:
    features = dense_features(detector.teacher_, normalize_images(images), method="direct")
    return features.permute(0, 2, 3, 1).flatten(0, 2)


def _by_definition(detector: DescriptorBaseline, x: Tensor) -> Tensor:
    learned = detector.learned_
    if detector.method in ("knn", "kmeans"):
        y = (x - learned["mean"]) @ learned["components"].T
        others = learned["dictionary" if detector.method == "knn" else "centers"]
        return (y[:, None] - others).square().sum(2).sqrt().amin(1)
    x = (x - learned["mean"]) / learned["std"]

    def layers(part: str, y: Tensor) -> Tensor:
        for i in (0, 2, 4):
            y = y @ learned[f"{part}.{i}.weight"].T + learned[f"{part}.{i}.bias"]
            y = torch.where(y > 0, y, 5e-3 * y) if i < 4 else y
        return y

    if detector.method == "l2-ae":
        return (layers("decoder", layers("encoder", x)) - x).square().sum(1)
    code, log_variance = layers("encoder", x).chunk(2, 1)
    total = torch.zeros(len(x))
    for noise in torch.randn(5, 1, 10, generator=torch.Generator().manual_seed(detector.seed)):
        mean, log = layers("decoder", code + noise * (log_variance / 2).exp()).chunk(2, 1)
        normal = torch.distributions.Normal(mean, (4 * torch.tanh(log / 8)).exp())
        total -= (normal.log_prob(x) + 0.5 * np.log(2 * np.pi)).sum(1)
    return total / 5


def test_random_numbers_of_others_stay_as_they_were(fitted: DescriptorBaseline, tmp_path: Path) -> None:
    fitted.save(tmp_path / "m.safetensors")
    before = torch.random.get_rng_state()
    load_model(tmp_path / "m.safetensors").score(good_images(1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_checkpoint_of_another_teacher_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, images, file = _made("kmeans", tmp_path), good_images(3), tmp_path / "m.part"
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    detector.fit(images, checkpoint=file)
    again = replace(detector)
    again.fit(images, checkpoint=file)
    assert again.threshold_ == detector.threshold_
    other = random_teacher(seed=1)
    write_model(again.teacher, "teacher", TEACHER_VERSION, {"network": other.settings}, other.state_dict())
    with pytest.raises(ModelFileError, match=r"m\.part: is the checkpoint of a run with other settings \(teacher\)"):
        again.fit(images, checkpoint=file)
    Path(again.teacher).unlink()
    with pytest.raises(ModelFileError, match=r"teacher17.safetensors: cannot be read"):
        again.fit(images)


def test_scores_are_those_of_the_definition(fitted: DescriptorBaseline) -> None:
    images = good_images(1, seed=8)
    x = _vectors(fitted, images)
    if fitted.method == "ocsvm":
        others = _vectors(fitted, good_images(1, seed=9))
        for nu, gamma in ((0.5, "auto"), (0.1, "scale"), (0.5, 0.03)):
            svm = OneClassSVM(nu=nu, gamma=gamma).fit(projected(x, fitted.learned_).double().numpy())
            detector = OneClassSvmDetector(patch_size=17, nu=nu, gamma=gamma)
            detector.learned_ = {**fitted.learned_, **detector._model(projected(x, fitted.learned_))}
            want = -svm.decision_function(projected(others, fitted.learned_).double().numpy())
            torch.testing.assert_close(detector._distance(others), torch.from_numpy(want).float(), rtol=1e-3, atol=1e-3)
        return
    torch.testing.assert_close(fitted.score(images)[0].flatten(), _by_definition(fitted, x), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("method", ["l2-ae", "vae"])
@pytest.mark.parametrize(("alike", "noise"), [(1, 1e-6), (8, 0.0)])
def test_dimensions_that_hardly_vary_do_not_drown_the_others(method: str, alike: int, noise: float) -> None:
    good = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    good[:, :alike] = 3.0 + noise * good[:, :alike]
    fitted = METHODS[method](samples=200, epochs=2)  # type: ignore[call-arg]
    fitted.fit_descriptors(good)
    near = good.clone()
    near[:, :alike] += 1e-4
    difference = fitted.score_descriptors(near) - fitted.score_descriptors(good)
    assert difference.abs().max() < 0.1


@pytest.mark.parametrize(("method", "name"), [("kmeans", "K-Means"), ("ocsvm", "One-class SVM")])
def test_a_fit_of_scikit_learn_is_told_when_it_begins(method: str, name: str) -> None:
    seen: list[tuple[str, int, int]] = []
    descriptors = torch.randn(1500, 8, generator=torch.Generator().manual_seed(0))
    METHODS[method]().fit_descriptors(descriptors, progress=lambda *told: seen.append(told[:3]))
    assert seen == [(f"{name}, 1,500 descriptors", 0, 0), (f"{name}, 1,500 descriptors", 1, 1)]


def test_nearest_of_any_number() -> None:
    others = torch.randn(37, 9)
    for count in (0, 1, 63, 64, 65, 700):
        vectors = torch.randn(9, count).T  # not contiguous
        want = torch.cdist(vectors.double(), others.double()).amin(1)
        torch.testing.assert_close(nearest(vectors, others).double(), want, rtol=1e-5, atol=1e-5)
    assert nearest(others, others).amax() < 5e-3  # of lengths of 3: by products, to rounding
    assert nearest(torch.tensor([[1e18, 0]]), torch.tensor([[0.0, 0]])) == 1e18
    assert nearest(torch.full((2, 9), torch.nan), others).isnan().all()


def test_command_line(tmp_path: Path) -> None:
    for i, image in enumerate(good_images(6)):
        write_image(tmp_path / "good" / f"{i}.png", image.permute(1, 2, 0).numpy())
    model, run = tmp_path / "m.safetensors", CliRunner().invoke
    base = ["train", str(tmp_path / "good"), "--out", str(model), "--method", "kmeans"]
    teacher = ["--scales", "17", "--teacher", str(teacher_file(tmp_path)), "--image-size", "24"]
    result = run(app, [*base, *teacher])
    assert result.exit_code == 0, result.output
    assert isinstance(load_model(model), METHODS["kmeans"])
    result = run(app, ["predict", str(model), str(tmp_path / "good"), "--out", str(tmp_path / "found")])
    assert result.exit_code == 0 and "of 6 images are anomalous" in result.output
    for wrong, message in (
        (["--students", "2"], "means nothing to --method kmeans; leave it out"),
        (["--scales", "17,33"], "takes one scale"),
        (["--epochs", "2"], "means nothing to --method kmeans"),
        (["--texture"], "means nothing to --method kmeans"),
    ):
        result = run(app, [*base, *wrong])
        assert result.exit_code == 2
        assert message in " ".join(result.output.replace("│", " ").split())


def test_pixels_outside_a_region_of_interest_cannot_alarm(fitted: DescriptorBaseline) -> None:
    images, inside = _with_defect(), torch.ones(20, 24, dtype=torch.bool)
    inside[8:14, 9:16] = False
    whole, found = fitted.predict(images), fitted.predict(images, roi=inside)
    assert torch.equal(found.maps[:, inside], whole.maps[:, inside])
    assert (found.maps[:, ~inside] == float(fitted.heldout_scores_.min())).all() and not found.masks[:, ~inside].any()
    assert torch.equal(found.image_scores, whole.maps[:, inside].amax(1))


def test_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="patch_size is 16"):
        METHODS["knn"](patch_size=16)
    with pytest.raises(ValueError, match="samples is 1; it must be a whole number, at least 2"):
        METHODS["knn"](samples=1)
    with pytest.raises(ValueError, match="variance is 1"):
        METHODS["kmeans"](variance=1)
    for settings in ({"nu": 0}, {"nu": 1.1}, {"gamma": "wide"}, {"gamma": 0}, {"gamma": float("nan")}):
        with pytest.raises(ValueError, match=f"{next(iter(settings))} is .*; it must be "):
            OneClassSvmDetector(**settings)
    with pytest.raises(ValueError, match="epochs is 0"):
        METHODS["vae"](epochs=0)
    with pytest.raises(DataError, match="call fit, or load one"):
        METHODS["knn"]().score(good_images(1))
    with pytest.raises(ValueError, match=r"works on the CPU|finds no such GPU"):
        METHODS["knn"]().to("cuda")
    with pytest.raises(DataError, match="cannot score images by strips"):
        METHODS["knn"]().score_bands(None)
    with pytest.raises(ModelFileError, match="is a teacher file"):
        load_model(teacher_file(tmp_path))
    with pytest.raises(DataError, match="there is one training image"):
        _made("knn", tmp_path).fit(good_images(1))
