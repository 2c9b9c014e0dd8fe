"""What a program has set in PyTorch for itself, and what its other threads do, changes no result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from small import good_images
from small_detectors import small_settings, tiny_network
from torch import Tensor

from stadx.core.torch_state import drawn_apart
from stadx.data.tensors import resize
from stadx.detectors.base import Calibrated
from stadx.detectors.baselines import feature_dictionary
from stadx.detectors.registry import STUDENT_TEACHER, detector_class, detector_names
from stadx.networks.windows import TensorRows

pytestmark = pytest.mark.usefixtures("narrow_networks")

IMAGES = good_images(6, (24, 28))


@contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


STATES: list[Callable[[], AbstractContextManager[object]]] = [
    default_dtype,
    lambda: torch.autocast("cpu", torch.bfloat16),
    torch.no_grad,
    torch.inference_mode,
    lambda: torch.device("meta"),  # as a GPU would be, on which nothing of ours must be
    deterministic,
]


@pytest.fixture(autouse=True)
def pretrained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_dictionary, "load_pretrained", tiny_network)


def results(detector: Calibrated, file: Path) -> list[Tensor]:
    """All that training and scoring give, and the same of a file."""
    images = resize(IMAGES, detector.image_size)
    detector.fit(images).save(file)
    found = []
    for fitted in (detector, type(detector).load(file)):
        maps, scores, masks = fitted.predict(images[:2], stride=2)
        found += [fitted.score(images[:1]), maps, scores, masks, torch.from_numpy(fitted.heldout_scores_)]
    return found


@pytest.mark.parametrize("name", detector_names())
def test_what_is_set_in_pytorch_changes_nothing(name: str, tmp_path: Path) -> None:
    cls, settings = detector_class(name), small_settings(name, tmp_path)
    expected = results(cls(**settings), tmp_path / "usual")
    random = torch.random.get_rng_state()
    with ExitStack() as states:  # all at once: training each time takes seconds
        for enter in STATES:
            states.enter_context(enter())
        found = results(cls(**settings), tmp_path / "set")
    assert all(map(torch.equal, found, expected))
    assert [x.dtype for x in found] == [x.dtype for x in expected]
    assert torch.equal(torch.random.get_rng_state(), random)


def test_strips_are_scored_as_usual_too(tmp_path: Path) -> None:
    detector = detector_class(STUDENT_TEACHER)(**small_settings(STUDENT_TEACHER, tmp_path)).fit(IMAGES)
    expected = torch.cat(list(detector.score_bands(TensorRows(IMAGES[0]))))
    with default_dtype(), torch.device("meta"):
        bands = []
        for band in detector.score_bands(TensorRows(IMAGES[0])):
            assert torch.empty(0).is_meta and torch.is_grad_enabled()  # the program's own state stays between them
            bands.append(band)
    assert torch.equal(torch.cat(bands), expected)


def test_gradients_of_images_are_left_alone(tmp_path: Path) -> None:
    detector = detector_class(STUDENT_TEACHER)(**small_settings(STUDENT_TEACHER, tmp_path))
    images = (IMAGES.float() / 255).requires_grad_()
    maps = detector.fit(images).score(images)
    assert not maps.requires_grad and images.grad is None


@pytest.mark.parametrize("name", [STUDENT_TEACHER, "ssim-ae"])
def test_two_threads_give_what_one_gives_after_the_other(name: str, tmp_path: Path) -> None:
    cls, settings = detector_class(name), small_settings(name, tmp_path)
    made = [cls(**{**settings, "seed": seed}) for seed in (0, 1)]
    images = resize(IMAGES, made[0].image_size)
    expected = [detector.fit(images).score(images) for detector in made]
    with ThreadPoolExecutor(2) as pool:
        fitted = list(pool.map(lambda seed: cls(**{**settings, "seed": seed}).fit(images), (0, 1)))
        assert all(map(torch.equal, [d.score(images) for d in fitted], expected))
        maps = pool.map(lambda i: made[0].score(images[i % 3 :]), range(8))
        assert all(torch.equal(found, expected[0][i % 3 :]) for i, found in enumerate(maps))


def test_random_numbers_are_drawn_by_one_thread_after_the_other() -> None:
    def draw(seed: int) -> list[Tensor]:
        with drawn_apart(seed):
            return [torch.rand(1) for _ in range(200)]

    expected, state = [draw(seed) for seed in range(4)], torch.random.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        for drawn, alone in zip(pool.map(draw, range(4)), expected, strict=True):
            assert torch.equal(torch.cat(drawn), torch.cat(alone))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_changes_no_score(threads: int, tmp_path: Path, two_threads: None) -> None:
    detector = detector_class(STUDENT_TEACHER)(**small_settings(STUDENT_TEACHER, tmp_path)).fit(IMAGES)
    large = good_images(2, (90, 70))
    torch.set_num_threads(1)
    expected = detector.score(large)
    torch.set_num_threads(threads)
    assert torch.equal(detector.score(large), expected)
