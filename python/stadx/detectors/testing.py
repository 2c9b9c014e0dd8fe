"""What a detector must do to work with stadx's commands: `check_detector`, for detectors of other packages too."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from stadx.core.errors import DataError
from stadx.data.images import write_image
from stadx.data.tensors import resize
from stadx.metrics.image_score import image_scores
from stadx.networks.training import Checkpoint

from .base import Calibrated
from .roi import takes_roi

_RATES = 0.0, 0.01, 0.1, 0.5, 1.0


def check_detector(make_detector: Callable[[], Calibrated], images: Tensor | None = None) -> None:
    """Check that a detector keeps to what all have in common, as scikit-learn's `check_estimator` does for estimators.

    It trains three times; give settings with which that takes seconds.

    Args:
        make_detector: makes a new detector, not fitted, the same each time.
        images: good images uint8 [N, 3, H, W], six or more; None draws some.

    Raises:
        AssertionError: saying what is wrong.
    """
    detector = make_detector()
    _require(isinstance(detector, Calibrated), f"what is made is no `Calibrated`, but {type(detector).__name__}")
    images = resize(_stripes(7, (24, 28)) if images is None else images, detector.image_size)
    _check_settings(detector)
    _check_refusals(detector, images)
    with tempfile.TemporaryDirectory() as folder:
        _check_not_fitted(detector, images, Path(folder))
        _check_fit(detector, images)
        _check_scores(detector, images)
        _check_predict(detector, images, Path(folder) / "images")
        _check_thresholds(detector, images)
        _check_region(detector, images)
        _check_file(detector, images, Path(folder) / "model.safetensors")
        _check_clone(detector, images, Path(folder) / "part", Path(folder) / "resumed.safetensors")


def _check_settings(detector: Calibrated) -> None:
    cls = type(detector)
    parameters = inspect.signature(cls).parameters
    _require(isinstance(getattr(cls, "method", None), str), "the class has no attribute `method`, its name")
    settings = detector.settings
    _require(set(settings) == set(parameters), "`settings` are not the constructor's arguments")
    for name in ("image_size", "target_fpr", "image_fpr"):
        _require(name in settings, f"the constructor has no argument {name}")
    _require(cls(**settings).settings == settings, "a detector made with another's `settings` has other ones")
    if all(p.default is not p.empty for p in parameters.values()):
        for name, value in cls().settings.items():
            _require(value == parameters[name].default, f"the constructor changes its argument {name}")
    made = eval(repr(detector), {cls.__name__: cls})
    _require(made.settings == settings, f"`repr` does not show the settings: {detector!r}")


def _check_refusals(detector: Calibrated, images: Tensor) -> None:
    for name, value in (("target_fpr", 1.5), ("image_fpr", -0.1), ("held_out", 0.0), ("seed", -1)):
        if name in detector.settings:
            settings = {**detector.settings, name: value}
            _refused(ValueError, f"the constructor with {name} = {value}", type(detector), **settings)
    _refused(DataError, "`fit` with a single image", detector.fit, images[:1])
    _refused(DataError, "`fit` with an image [3, H, W]", detector.fit, images[0])


def _check_not_fitted(detector: Calibrated, images: Tensor, folder: Path) -> None:
    _refused(DataError, "`score` before `fit`", detector.score, images)
    _refused(DataError, "`predict` before `fit`", detector.predict, images)
    _refused(DataError, "`save` before `fit`", detector.save, folder / "unfitted.safetensors")
    _refused(DataError, "`set_target_fpr` before `fit`", detector.set_target_fpr, detector.target_fpr)
    _refused(DataError, "`image_threshold` before `fit`", detector.image_threshold)


def _check_fit(detector: Calibrated, images: Tensor) -> None:
    settings, random = detector.settings, torch.random.get_rng_state()
    before = vars(type(detector)(**settings))
    _require(detector.fit(images) is detector, "`fit` does not return the detector")
    _require(detector.settings == settings, "`fit` changes settings")
    learned = {name for name in set(vars(detector)) - set(before) if not name.startswith("_")}
    odd = sorted(name for name in learned if not name.endswith("_"))
    _require(not odd, f"`fit` sets {', '.join(odd)}: what is learned has a name that ends in _")
    detector.score(images[:1])
    _require(torch.equal(torch.random.get_rng_state(), random), "`fit` or `score` moves PyTorch's random numbers on")


def _check_scores(detector: Calibrated, images: Tensor) -> None:
    some = images[:2]
    maps = detector.score(some)
    larger = some[:1] if detector.image_size is None else some[:1].repeat_interleave(2, 2)[..., :-1]
    for given in (some[:1], larger):
        for stride in (2, 4):
            strided = detector.score(given, stride=stride)
            what = f"`score` of {list(given.shape)} with stride {stride}"
            _require(strided.shape == (len(given), *given.shape[2:]), f"{what} is {list(strided.shape)}")
            _require(strided.dtype == torch.float32, f"{what} is {strided.dtype}, not float32")
            _require(bool(strided.isfinite().all()), f"{what} is not finite")
    _close(detector.score(some[1:2])[0], maps[1], "an image's map depends on the images beside it")
    _close(detector.score(some.float() / 255), maps, "images in [0, 1] score otherwise than in uint8")
    for stride in (0, 3):
        _refused(ValueError, f"`score` with stride {stride}", detector.score, some, stride=stride)
    for wrong, what in ((some[0], "[3, H, W]"), (some.long(), "of int64"), (some.float(), "of floats up to 255")):
        _refused(DataError, f"`score` with images {what}", detector.score, wrong)


def _check_predict(detector: Calibrated, images: Tensor, folder: Path) -> None:
    some = images[:2]
    expected = detector.score(some)
    for number, image in enumerate(some):
        write_image(folder / f"{number}.png", image.permute(1, 2, 0).numpy())
    for given in (some, folder, sorted(folder.iterdir())):
        maps, scores, masks = detector.predict(given)
        _close(maps, expected, "the maps of `predict` are not those of `score`")
        by_share = image_scores(maps, detector.top_share)
        _require(torch.equal(scores, by_share), "an image score is not the mean of its map's highest, see `top_share`")
        _require(torch.equal(masks, maps > detector.threshold_), "a mask is not where the map is above the threshold")
    _refused(DataError, "`predict` with a file that is not there", detector.predict, folder / "none.png")


def _check_thresholds(detector: Calibrated, images: Tensor) -> None:
    target_fpr, image_fpr = detector.target_fpr, detector.image_fpr
    maps = detector.score(images)
    # which images were held out shows in their highest scores
    highest = torch.from_numpy(np.asarray(detector.heldout_image_scores_))[0]
    distance = (image_scores(maps, detector.top_share)[:, None] - highest).abs()
    spread = float(maps.max() - maps.min())
    all_judged = len(highest) == len(images)  # each by a model that left it out, which scores otherwise
    _require(
        all_judged or bool((distance.amin(0) <= 1e-3 * spread + 1e-6).all()),
        "the highest scores of held-out images are of none of the training images",
    )
    held_out = maps[sorted(set(distance.argmin(0).tolist()))]
    thresholds, image_thresholds = [], []
    for rate in _RATES:
        _require(detector.set_target_fpr(rate) is detector, "`set_target_fpr` does not return the detector")
        _require(detector.set_image_fpr(rate) is detector, "`set_image_fpr` does not return the detector")
        thresholds.append(detector.threshold_)
        slack = 1e-3 * spread
        flagged = float((held_out > detector.threshold_ + slack).float().mean())
        _require(
            all_judged or flagged <= rate + 1e-6, f"target_fpr = {rate} flags {flagged:.2%} of the held-out pixels"
        )
        image_thresholds.append(detector.image_threshold())
        above = float((highest > detector.image_threshold() + slack).float().mean())
        _require(above <= rate + 1 / len(highest), f"image_fpr = {rate} flags {above:.0%} of the held-out images")
    for name, found in (("threshold_", thresholds), ("image_threshold", image_thresholds)):
        _require(
            found == sorted(found, reverse=True), f"{name} does not fall as the false-positive rate rises: {found}"
        )
    for setter in (detector.set_target_fpr, detector.set_image_fpr):
        _refused(ValueError, f"`{setter.__name__}` with 1.5", setter, 1.5)
    detector.set_target_fpr(target_fpr).set_image_fpr(image_fpr)


def _check_region(detector: Calibrated, images: Tensor) -> None:
    if not takes_roi(detector.score):
        return
    some, target_fpr = images[:2], detector.target_fpr
    inside = torch.zeros(some.shape[2:], dtype=torch.bool)
    inside[:, : inside.shape[1] // 2] = True
    maps, scores, masks = detector.set_target_fpr(1.0).predict(some, roi=inside)
    _require(not masks[:, ~inside].any(), "pixels outside a region of interest exceed the lowest threshold")
    highest = image_scores(maps, detector.top_share, inside.expand_as(maps))
    _require(torch.equal(scores, highest), "an image score is not of its region of interest alone")
    detector.set_target_fpr(target_fpr)


def _check_file(detector: Calibrated, images: Tensor, file: Path) -> None:
    detector.save(file)
    again = type(detector).load(file)
    _require(type(again) is type(detector), f"`load` gives a {type(again).__name__}")
    for name, value in detector.settings.items():
        _require(
            _same(again.settings[name], value), f"`load` changes {name} from {value!r} to {again.settings[name]!r}"
        )
    _require(torch.equal(again.score(images[:2]), detector.score(images[:2])), "a loaded detector scores otherwise")
    above = float(detector.threshold_) + 1
    detector.set_image_threshold(above, 4).save(file)
    kept = type(detector).load(file).image_threshold(4)
    _require(kept == above, "`load` forgets the threshold of `set_image_threshold`")
    for rate in (detector.target_fpr, *_RATES):
        thresholds = [d.set_target_fpr(rate).threshold_ for d in (detector, again)]
        _require(thresholds[0] == thresholds[1], f"a loaded detector has another threshold at {rate}")
        thresholds = [d.set_image_fpr(rate).image_threshold(4) for d in (detector, again)]
        _require(thresholds[0] == thresholds[1], f"a loaded detector has another image threshold at {rate}")


class _Progress:
    """Counts what a detector tells, and stops it at the given place."""

    def __init__(self, stop_at: int | tuple[str, int] | None = None) -> None:
        self.told: list[tuple[str, int]] = []
        self.stop_at = stop_at

    def __call__(self, stage: str, done: int, total: int, figures: Any) -> None:
        self.told.append((stage, done))
        if self.stop_at in (len(self.told), (stage, done)):
            raise KeyboardInterrupt


def _check_clone(detector: Calibrated, images: Tensor, part: Path, file: Path) -> None:
    """One made with the same settings learns the same, in one go and stopped in between."""
    settings, maps = detector.settings, detector.score(images[:2])
    whole = _Progress()
    clone = type(detector)(**settings).fit(images, progress=whole)
    _close(clone.score(images[:2]), maps, "another detector with the same settings learns something else")
    _require(len(whole.told) > 1, "`fit` does not tell its progress")
    with _saving_always():
        for stop_at in (len(whole.told) // 2, whole.told[-1]):
            with suppress(KeyboardInterrupt):
                type(detector)(**settings).fit(images, progress=_Progress(stop_at), checkpoint=part)
        kept = list(part.parent.glob(f"{part.name}*"))
        resumed, rest = type(detector)(**settings), _Progress()
        resumed.fit(images, progress=rest, checkpoint=part)
    _close(resumed.score(images[:2]), maps, "a training that was stopped and resumed learns something else")
    _require(
        not kept or len(rest.told) < len(whole.told), "a stopped training starts anew, though there is a checkpoint"
    )
    resumed.save(file)
    _require(not list(part.parent.glob(f"{part.name}*")), "`save` leaves a checkpoint behind")


@contextmanager
def _saving_always() -> Iterator[None]:
    """A checkpoint at every step, not every half a minute."""
    with patch.object(Checkpoint, "due", lambda self: self.path is not None):
        yield


def _stripes(count: int, size: tuple[int, int]) -> Tensor:
    """Images uint8 [count, 3, H, W] of slanted stripes with noise."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(*(torch.arange(n) for n in size), indexing="ij")
    phase = torch.randint(0, 6, (count, 1, 1), generator=generator)
    stripes = ((rows + columns + phase) % 6 < 3).float() * 120 + 60
    noise = 8 * torch.randn(count, 3, *size, generator=generator)
    return (stripes[:, None] + noise).clamp(0, 255).to(torch.uint8)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _refused(error: type[Exception], what: str, use: Callable[..., Any], *args: Any, **settings: Any) -> None:
    try:
        use(*args, **settings)
    except error:
        return
    except Exception as other:
        raise AssertionError(f"{what} raises {type(other).__name__} ({other}), not {error.__name__}") from other
    raise AssertionError(f"{what} raises no {error.__name__}")


def _close(found: Tensor, expected: Tensor, message: str) -> None:
    """Maps that differ by a hundredth of their spread at the most: sums in another order, not another model."""
    _require(found.shape == expected.shape, message)
    spread, distance = float(expected.max() - expected.min()), float((found - expected).abs().max())
    _require(
        distance <= 0.01 * spread + 1e-6, f"{message}: maps differ by {distance:.3g}, their spread is {spread:.3g}"
    )


def _same(found: Any, expected: Any) -> bool:
    """Whether two settings are equal; of a file, a saved detector keeps the name alone."""
    if isinstance(expected, tuple) and isinstance(found, tuple | list) and len(found) == len(expected):
        return all(map(_same, found, expected))
    return bool(found == expected) or (isinstance(expected, str) and found == Path(expected).name)
