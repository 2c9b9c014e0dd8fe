"""Detectors that model the teacher's descriptors of good images, and score a pixel by how little its own fits."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from stadx.core.errors import DataError
from stadx.core.files import file_hash
from stadx.core.progress import Progress, silent
from stadx.core.settings import documented, like, setting
from stadx.data.source import ImageSource
from stadx.networks.border import computed_pixels
from stadx.networks.choices import PATCH_SIZES, Border
from stadx.networks.dense import dense_features
from stadx.networks.patch_network import channels_last, normalize_images
from stadx.networks.training import Checkpoint
from stadx.networks.upsampling import upsample
from stadx.teachers.teacher_files import load_teachers, shipped_teacher

from ..model_files import frozen_network, named
from ..student_teacher.settings import DetectorSettings
from .base import Baseline, samples_by_image

_AT_ONCE = 4096  # descriptors scored together

Self = TypeVar("Self", bound="DescriptorBaseline")


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class DescriptorBaseline(Baseline):
    """Base of the detectors on descriptors (Bergmann et al. 2020, section 4 and appendix C).

    Attributes:
        teacher_: the patch network.
        learned_: what was fitted, named tensors.
    """

    patch_size: int = setting(65, "p of the teacher.", choices=PATCH_SIZES)
    samples: int | None = setting(
        50_000,
        "Descriptors that the model is fitted on, equally many of each image.",
        none="all of them, for l2-ae and vae alone",
        at_least=2,
    )
    border: Border = like(DetectorSettings, "border")
    teacher: str | os.PathLike[str] | None = setting(None, "Teacher file.", none="the one that comes with stadx")

    paper_settings = {"border": "reflect"}  # noqa: RUF012
    before = {"border": "reflect"}  # noqa: RUF012 (a ClassVar of the base)

    def _file_hashes(self) -> dict[str, str]:
        return {"teacher": file_hash(self.teacher or shipped_teacher(self.patch_size))}

    @abstractmethod
    def _learn(self, descriptors: Tensor, progress: Progress) -> dict[str, Tensor]:
        """Fit the model to descriptors float32 [n, d]."""

    @abstractmethod
    def _distance(self, descriptors: Tensor) -> Tensor:
        """How far descriptors [n, d] are from what `learned_` holds: float32 [n]."""

    def _learn_images(
        self, source: ImageSource, indices: Sequence[int], progress: Progress, checkpoint: Checkpoint
    ) -> None:
        (self.teacher_,) = load_teachers((self.patch_size,), [] if self.teacher is None else [self.teacher])
        if self.border != "inside":
            self.teacher_.padding = self.border
        channels_last(self.teacher_)
        self.learned_ = self._learn_source(source, indices, progress, checkpoint)

    def _learn_source(
        self, source: ImageSource, indices: Sequence[int], progress: Progress, checkpoint: Checkpoint
    ) -> dict[str, Tensor]:
        """Fit the model to descriptors of the images `indices`."""
        return self._learn(self._sampled(source, indices, progress), progress)

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
        assert self.samples is not None
        counts = samples_by_image(self.samples, len(indices))
        for done, (index, count) in enumerate(zip(indices, counts, strict=True), 1):
            descriptors = self._descriptors(source[index], 1).flatten(0, 1)
            chosen = rng.choice(len(descriptors), min(count, len(descriptors)), replace=False)
            parts.append(descriptors[torch.from_numpy(chosen)])
            progress(f"Teacher's descriptors, p = {self.patch_size}", done, len(indices), {})
        return torch.cat(parts)

    def _descriptors(self, image: Tensor, stride: int) -> Tensor:
        """[h, w, d] of the computed pixels of an image [3, H, W]."""
        normalized, inside = normalize_images(image[None]).float(), self.border == "inside"
        features = dense_features(self.teacher_, normalized, stride=stride, inside=inside)
        return features[0].permute(1, 2, 0)

    @torch.no_grad()
    def _map(self, image: Tensor, stride: int) -> Tensor:
        descriptors = self._descriptors(image, stride)
        scores = self.score_descriptors(descriptors.flatten(0, 1))
        height, width = image.shape[1:]
        computed = computed_pixels(height, width, self.patch_size, self.border == "inside", stride)
        known = computed.continued(scores.view(1, *descriptors.shape[:2]))
        return upsample(known, height, width, stride)[0]

    def _parts(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        tensors = {f"teacher.{k}": v for k, v in self.teacher_.state_dict().items()}
        tensors |= {f"learned.{k}": v for k, v in self.learned_.items()}
        file = None if self.teacher is None else os.path.basename(self.teacher)
        return {"settings": {**self.settings, "teacher": file}, "network": self.teacher_.settings}, tensors

    def _restore(self, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self.teacher_ = frozen_network(header["network"], named(tensors, "teacher"))
        self.learned_ = named(tensors, "learned")
