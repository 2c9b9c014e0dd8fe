"""A detector that models the teacher's descriptors of good images, and scores a pixel by how little its own fits."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..allocation import keep_freed_memory
from ..bands import upsample
from ..calibrated import Calibrated, Prediction
from ..calibration import split
from ..data.source import ImageSize, ImageSource, check_images, resize
from ..dense import check_stride, dense_features
from ..detector_checks import check_fpr
from ..errors import DataError, ModelFileError
from ..files import read_model, write_model
from ..networks import PATCH_SIZES, PatchNetwork, channels_last, normalize_images
from ..progress import Progress, silent
from ..system import usable_device
from ..teacher import load_teachers

BASELINE_VERSION = 1
_AT_ONCE = 4096  # descriptors scored together

Self = TypeVar("Self", bound="Baseline")


class Baseline(Calibrated):
    """Base of the detectors on descriptors (Bergmann et al. 2020, section 4 and appendix C).

    Defaults are the paper's.

    Args:
        patch_size: p of the teacher, 17, 33 or 65.
        image_size: what images are resized to before scoring: a square's side, (H, W), or None for as they are.
        target_fpr: share of the pixels of good images that the threshold may flag.
        held_out: share of the training images set aside for the threshold, at least one.
        samples: descriptors that the model is fitted on, equally many of each image; None is the paper's number,
            50,000, for 1-NN 5,000.
        teacher: teacher file; None takes the one that comes with stadx.
        seed: of every random choice.

    Attributes:
        teacher_: the patch network.
        learned_: what was fitted, named tensors.

    Raises:
        ValueError: for a setting that cannot be.
    """

    method: ClassVar[str]
    default_samples: ClassVar[int] = 50_000

    def __init__(
        self,
        patch_size: int = 65,
        image_size: ImageSize = 256,
        target_fpr: float = 0.001,
        *,
        held_out: float = 0.1,
        samples: int | None = None,
        teacher: str | os.PathLike[str] | None = None,
        seed: int = 0,
    ) -> None:
        if patch_size not in PATCH_SIZES:
            raise ValueError(f"patch_size is {patch_size}; choose one of {PATCH_SIZES}")
        samples = self.default_samples if samples is None else samples
        if not 0 < held_out < 1 or samples < 2:
            raise ValueError(f"held_out = {held_out} must lie between 0 and 1, samples = {samples} above 1")
        check_fpr(target_fpr)
        self.patch_size = patch_size
        self.image_size: ImageSize = tuple(image_size) if isinstance(image_size, list) else image_size
        self.target_fpr = float(target_fpr)
        self.held_out = held_out
        self.samples = samples
        self.teacher = None if teacher is None else str(teacher)
        self.seed = seed

    @abstractmethod
    def _learn(self, descriptors: Tensor, progress: Progress) -> dict[str, Tensor]:
        """Fit the model to descriptors float32 [n, d]."""

    @abstractmethod
    def _distance(self, descriptors: Tensor) -> Tensor:
        """How far descriptors [n, d] are from what `learned_` holds: float32 [n]."""

    @keep_freed_memory()
    def fit(
        self: Self,
        data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Tensor,
        *,
        progress: Progress = silent,
    ) -> Self:
        """Learn what good images look like; `data` as in `Detector.fit`.

        Raises:
            DataError, MissingExtraError, ModelFileError: as their messages say.
        """
        (self.teacher_,) = load_teachers((self.patch_size,), [] if self.teacher is None else [self.teacher])
        channels_last(self.teacher_)
        source = ImageSource(data, self.image_size)
        if len(source) < 2:
            raise DataError("there is one training image; give two or more, one is set aside to find the threshold")
        held_in, held_out = split(len(source), self.held_out, self.seed)
        self.learned_ = self._learn(self._sampled(source, held_in, progress), progress)
        maps = []
        for done, index in enumerate(held_out, 1):
            maps.append(self._map(source[index], 1))
            progress("Held-out images", done, len(held_out), {})
        self._calibrate(maps)
        return self

    def fit_descriptors(self: Self, descriptors: Tensor, *, progress: Progress = silent) -> Self:
        """Learn from descriptors float32 [n, d] of good images, however they were made; there is no threshold then."""
        self.learned_ = self._learn(descriptors, progress)
        return self

    @torch.no_grad()
    def score_descriptors(self, descriptors: Tensor) -> Tensor:
        """Anomaly scores float32 [n] of descriptors [n, d].

        Raises:
            DataError: if nothing was learned yet.
        """
        if not hasattr(self, "learned_"):
            raise DataError("the detector knows no good images yet; call fit, or load one")
        return torch.cat([self._distance(part) for part in torch.split(descriptors, _AT_ONCE)])

    @torch.no_grad()
    def _sampled(self, source: ImageSource, indices: Sequence[int], progress: Progress) -> Tensor:
        """Descriptors [about `samples`, d] at random pixels."""
        rng = np.random.default_rng([self.seed, 5])
        parts = []
        for done, index in enumerate(indices, 1):
            count = self.samples * done // len(indices) - self.samples * (done - 1) // len(indices)
            descriptors = self._descriptors(source[index], 1).flatten(0, 1)
            chosen = rng.choice(len(descriptors), min(count, len(descriptors)), replace=False)
            parts.append(descriptors[torch.from_numpy(chosen)])
            progress(f"Teacher's descriptors, p = {self.patch_size}", done, len(indices), {})
        return torch.cat(parts)

    def _descriptors(self, image: Tensor, stride: int) -> Tensor:
        """[h, w, d] of an image [3, H, W]."""
        features = dense_features(self.teacher_, normalize_images(image[None]).float(), stride=stride)
        return features[0].permute(1, 2, 0)

    @torch.no_grad()
    def _map(self, image: Tensor, stride: int) -> Tensor:
        """Scores [H, W] of an image [3, H, W] at its own size."""
        descriptors = self._descriptors(image, stride)
        scores = self.score_descriptors(descriptors.flatten(0, 1))
        known = scores.view(1, *descriptors.shape[:2])
        return upsample(known, image.shape[1], image.shape[2], stride)[0]

    @keep_freed_memory()
    def score(self, images: Tensor, *, stride: int = 1) -> Tensor:
        """Anomaly scores.

        Args:
            images: RGB [B, 3, H, W], uint8 or floating in [0, 1].
            stride: a power of two: only every stride-th pixel is scored, the others interpolated bilinearly.

        Returns:
            float32 [B, H, W] at the input's own size, on the CPU, where all is computed; higher where less as learned.

        Raises:
            DataError: if `images` are something else, or nothing was learned yet.
            ValueError: for an unknown stride.
        """
        self._check_fitted()
        check_images(images)
        check_stride(stride)
        maps = torch.empty(len(images), *images.shape[2:])
        for index, image in enumerate(images.cpu()):
            scores = self._map(resize(image[None], self.image_size)[0], stride)
            if scores.shape != maps.shape[1:]:
                size = maps.shape[1:]
                scores = F.interpolate(scores[None, None], size, mode="bilinear", align_corners=False)[0, 0]
            maps[index] = scores
        return maps

    def to(self: Self, device: str | torch.device) -> Self:
        """For the sake of one interface: baselines work on the CPU.

        Raises:
            ValueError: for another device.
        """
        if usable_device(device).type != "cpu":
            raise ValueError(f"{self.method} works on the CPU; leave the device out")
        return self

    def score_bands(self, image: Any, *, stride: int = 1) -> Iterator[Tensor]:
        """Refuses: images too large to hold are for `Detector`.

        Raises:
            DataError: always.
        """
        raise DataError(f"{self.method} cannot score images by strips; train it with an image size, such as 256")

    def predict(self, images: Tensor, *, stride: int = 1) -> Prediction:
        """Anomaly map, image score and mask at the threshold of each image; arguments as in `score`."""
        return self._predicted(self.score(images, stride=stride))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the detector to one safetensors file.

        Raises:
            OutputError: if it cannot be written.
        """
        self._check_fitted()
        tensors = {f"teacher.{k}": v for k, v in self.teacher_.state_dict().items()}
        tensors |= {f"learned.{k}": v for k, v in self.learned_.items()}
        tensors["heldout_fprs"] = torch.from_numpy(self.heldout_fprs_)
        tensors["heldout_scores"] = torch.from_numpy(self.heldout_scores_)
        settings = {**self.settings, "teacher": None if self.teacher is None else os.path.basename(self.teacher)}
        header = {"method": self.method, "settings": settings, "network": self.teacher_.settings}
        write_model(path, "baseline", BASELINE_VERSION, {**header, "threshold": self.threshold_}, tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Baseline:
        """Read a detector that `save` wrote, of any method; it scores exactly as that one did.

        Raises:
            ModelFileError: if the file is missing, damaged, of another version or something else.
        """
        from . import METHODS

        header, tensors = read_model(path, "baseline", BASELINE_VERSION)
        try:
            detector = METHODS[header["method"]](**header["settings"])
            detector.teacher_ = PatchNetwork(**header["network"])
            detector.teacher_.load_state_dict(_named(tensors, "teacher."))
            detector.teacher_.eval().requires_grad_(False)
            channels_last(detector.teacher_)
            detector.learned_ = _named(tensors, "learned.")
            detector.heldout_fprs_ = tensors["heldout_fprs"].numpy()
            detector.heldout_scores_ = tensors["heldout_scores"].numpy()
            detector.threshold_ = float(header["threshold"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelFileError(f"{path}: lacks a part of a detector ({error}); copy or train it again") from error
        return detector


def _named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
