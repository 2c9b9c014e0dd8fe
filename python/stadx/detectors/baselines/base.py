"""What the compared systems share: from good images to a threshold, maps of any image, one file."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from stadx.core.errors import DataError
from stadx.core.memory import keep_freed_memory
from stadx.core.progress import Progress, silent
from stadx.core.settings import check, documented, like, read_from_json
from stadx.core.torch_state import usual_torch
from stadx.data.frames import Channels
from stadx.data.source import ImageInput, ImageSource, read_batch
from stadx.data.tensors import ImageSize, resize, resize_maps
from stadx.networks.dense import check_stride
from stadx.networks.training import Checkpoint, arithmetic

from ..base import Calibrated
from ..model_files import read_calibrated, write_calibrated
from ..registry import detector_class
from ..roi import RoiMask, outside_lowest
from ..student_teacher.settings import DetectorSettings, check_range
from ..thresholds import split

BASELINE_VERSION = 1

Self = TypeVar("Self", bound="Baseline")


def samples_by_image(samples: int, images: int) -> list[int]:
    """How many samples each image gives: equally many but for the remainder."""
    return [samples * (i + 1) // images - samples * i // images for i in range(images)]


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class Baseline(Calibrated):
    """Base of the compared systems; defaults are the papers'.

    Raises:
        ValueError: for a setting that cannot be.
    """

    image_size: ImageSize = like(DetectorSettings, "image_size")
    target_fpr: float = like(DetectorSettings, "target_fpr")
    image_fpr: float = like(DetectorSettings, "image_fpr")
    held_out: float | None = like(DetectorSettings, "held_out")
    seed: int = like(DetectorSettings, "seed")
    value_range: tuple[float, float] | None = like(DetectorSettings, "value_range")

    paper_name: ClassVar[str]  # the paper's tables' column
    before: ClassVar[Mapping[str, Any]] = {}  # settings that files of previous versions lack

    def __post_init__(self) -> None:
        check(self)
        check_range(self.value_range)
        self._checkpoint: Checkpoint | None = None

    @abstractmethod
    def _learn_images(
        self, source: ImageSource, indices: Sequence[int], progress: Progress, checkpoint: Checkpoint
    ) -> None:
        """Fit the model to the images `indices`."""

    @abstractmethod
    def _map(self, image: Tensor, stride: int) -> Tensor:
        """Scores float32 [H, W], on the CPU, of an image [3, H, W] at its own size."""

    @abstractmethod
    def _parts(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What was fitted, as a header and tensors of a file."""

    @abstractmethod
    def _restore(self, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Undo `_parts`."""

    @classmethod
    def check_extras(cls) -> None:
        """Raise `MissingExtraError` now if a package that `fit` needs is not installed."""

    def _file_hashes(self) -> dict[str, str]:
        """Hashes of the files that settings name, by setting."""
        return {}

    @keep_freed_memory()
    @usual_torch(learns=True)
    def fit(
        self: Self,
        data: ImageInput,
        *,
        progress: Progress = silent,
        checkpoint: str | os.PathLike[str] | None = None,
        channels: Channels = "rgb",
    ) -> Self:
        """Learn what good images look like.

        Args:
            data, channels: as in `Detector.fit`.
            progress: told how far it is.
            checkpoint: file to resume from, in the training of networks on pixels and then in the scoring of held-out
                images, for all; `save` removes it.

        Raises:
            DataError, MissingExtraError, ModelFileError, OutputError: as their messages say.
        """
        source = ImageSource(data, self.image_size, channels=channels, value_range=self.value_range)
        held_in, held_out = split(len(source), self.held_out, self.seed, self.image_fpr)
        settings: dict[str, Any] = {"method": self.method, **self.settings, **self._file_hashes()}
        settings["data"] = source.fingerprint()
        size = self.image_size
        settings["image_size"] = list(size) if isinstance(size, tuple) else size  # as JSON returns it
        settings["value_range"] = self.value_range and list(self.value_range)
        self._checkpoint = Checkpoint(checkpoint, settings, arithmetic("float32", self.device))
        maps = self._scored_before(self._checkpoint)
        if maps is None:
            maps = []
            self._learn_images(source, held_in, progress, self._checkpoint)
        for done in range(len(maps), len(held_out)):
            maps.append(self._map(source[held_out[done]], 1))
            progress("Held-out images", done + 1, len(held_out), {})
            if self._checkpoint.due():
                header, tensors = self._parts()
                tensors |= {f"map{i}": scores for i, scores in enumerate(maps)}
                self._checkpoint.save({"model": header, "maps": len(maps)}, tensors)
        self.calibrate(maps)
        self.value_range_ = source.value_range
        return self

    def _scored_before(self, checkpoint: Checkpoint) -> list[Tensor] | None:
        """Maps of held-out images that a stopped run left, with the model; None if it had not come so far."""
        kept = checkpoint.load()
        if kept is None or "maps" not in kept[0]:
            return None
        state, tensors = kept
        self._restore(state["model"], tensors)
        return [tensors[f"map{i}"] for i in range(state["maps"])]

    def fit_descriptors(self: Self, descriptors: Tensor, *, progress: Progress = silent) -> Self:
        """Learn from descriptors float32 [n, d] of good images, however they were made; there is no threshold then.

        Raises:
            DataError: for a system that reads pixels.
        """
        raise DataError(f"{self.method} reads pixels, not descriptors; give images to fit")

    def score_descriptors(self, descriptors: Tensor) -> Tensor:
        """Anomaly scores float32 [n] of descriptors [n, d].

        Raises:
            DataError: if nothing was learned yet, or for a system that reads pixels.
        """
        raise DataError(f"{self.method} reads pixels, not descriptors; give images to score")

    @keep_freed_memory()
    @usual_torch()
    def score(
        self,
        images: ImageInput,
        *,
        stride: int | None = None,
        roi: RoiMask | None = None,
        channels: Channels = "rgb",
    ) -> Tensor:
        """Anomaly scores.

        Args:
            images, channels: as in `Detector.score`.
            stride: a power of two: only every stride-th pixel is scored, the others interpolated bilinearly. Systems
                that reconstruct pixels have all of them at once, and ignore it.
            roi: which pixels are looked at, as in `predict`.

        Returns:
            float32 [B, H, W] at the input's own size, on the CPU; higher where less as learned.

        Raises:
            DataError: if an image is something else or cannot be read, they differ in size, or nothing was learned yet.
            ValueError: for an unknown stride or order.
        """
        self.check_fitted()
        images = read_batch(images, channels, self.value_range_)
        stride = self._stride(stride)
        check_stride(stride)
        batch, _, height, width = images.shape
        maps = torch.empty(batch, height, width)
        for index, image in enumerate(images.cpu()):
            scores = self._map(resize(image[None], self.image_size)[0], stride)
            maps[index] = resize_maps(scores[None], height, width)[0]
        return outside_lowest(self, maps, roi)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the detector to one safetensors file.

        Raises:
            OutputError: if it cannot be written.
        """
        self.check_fitted()
        header, tensors = self._parts()
        header = {"method": self.method, "settings": self.settings, **header}
        write_calibrated(self, path, "baseline", BASELINE_VERSION, header, tensors)
        if self._checkpoint is not None:
            self._checkpoint.remove()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Baseline:
        """Read a detector that `save` wrote, of any method; it scores exactly as that one did.

        Raises:
            ModelFileError: if the file is missing, damaged, of another version or something else.
        """

        def build(header: dict[str, Any], tensors: dict[str, Tensor]) -> Baseline:
            of_header = cls if getattr(cls, "method", None) == header["method"] else detector_class(header["method"])
            if not issubclass(of_header, Baseline):
                raise ValueError(f"{header['method']} is none of these")
            detector = of_header(**{**of_header.before, **read_from_json(header["settings"])})
            detector._restore(header, tensors)
            return detector

        return read_calibrated(path, "baseline", BASELINE_VERSION, build)
