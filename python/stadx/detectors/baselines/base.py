"""What the compared systems share: from good images to a threshold, maps of any image, one file."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from stadx.core.devices import usable_device
from stadx.core.errors import DataError
from stadx.core.memory import keep_freed_memory
from stadx.core.progress import Progress, silent
from stadx.data.source import ImageSource
from stadx.data.tensors import ImageSize, check_images, resize, resize_maps
from stadx.networks.dense import check_stride
from stadx.networks.training import Checkpoint, arithmetic

from ..base import Calibrated, Prediction
from ..model_files import read_calibrated, write_calibrated
from ..thresholds import HeldOutScores, check_fpr, split

BASELINE_VERSION = 1

Self = TypeVar("Self", bound="Baseline")


def samples_by_image(samples: int, images: int) -> list[int]:
    """How many samples each image gives: equally many but for the remainder."""
    return [samples * (i + 1) // images - samples * i // images for i in range(images)]


def check_training(epochs: int, batch: int, learning_rate: float, weight_decay: float) -> None:
    """Raise `ValueError` for a training that cannot be."""
    if min(epochs, batch) < 1 or learning_rate <= 0 or weight_decay < 0:
        raise ValueError(
            f"epochs = {epochs}, batch = {batch} must be at least 1, learning_rate = {learning_rate} above 0, "
            f"weight_decay = {weight_decay} not below 0"
        )


@dataclass(kw_only=True, eq=False, repr=False)
class Baseline(Calibrated):
    """Base of the compared systems; defaults are the papers'.

    Args:
        image_size: what images are resized to before scoring: a square's side, (H, W), or None for as they are.
        target_fpr: share of the pixels of good images that the threshold may flag.
        image_fpr: share of the good images that may count as anomalous.
        held_out: share of the training images set aside for the threshold, at least one.
        seed: of every random choice.

    Raises:
        ValueError: for a setting that cannot be.
    """

    image_size: ImageSize = 256
    target_fpr: float = 0.001
    image_fpr: float = 0.05
    held_out: float = 0.1
    seed: int = 0

    method: ClassVar[str]
    # what the paper sets otherwise for textures than for objects
    texture_settings: ClassVar[Mapping[str, Any]] = {}
    on_gpu: ClassVar[bool] = False  # whether it can work there

    def __post_init__(self) -> None:
        if isinstance(self.image_size, list):
            self.image_size = tuple(self.image_size)
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out = {self.held_out} must lie between 0 and 1")
        for name in ("target_fpr", "image_fpr"):
            check_fpr(getattr(self, name), name)
            setattr(self, name, float(getattr(self, name)))
        self._checkpoint: Checkpoint | None = None
        self._device = torch.device("cpu")

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

    def _file_hashes(self) -> dict[str, str]:
        """Hashes of the files that settings name, by setting."""
        return {}

    @keep_freed_memory()
    def fit(
        self: Self,
        data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Tensor,
        *,
        progress: Progress = silent,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Learn what good images look like.

        Args:
            data: as in `Detector.fit`.
            progress: told how far it is.
            checkpoint: file to resume from, in the training of networks on pixels and then in the scoring of held-out
                images, for all; `save` removes it.

        Raises:
            DataError, MissingExtraError, ModelFileError, OutputError: as their messages say.
        """
        source = ImageSource(data, self.image_size)
        if len(source) < 2:
            raise DataError("there is one training image; give two or more, one is set aside to find the threshold")
        held_in, held_out = split(len(source), self.held_out, self.seed)
        settings: dict[str, Any] = {"method": self.method, **self.settings, **self._file_hashes()}
        settings["data"] = source.fingerprint()
        size = self.image_size
        settings["image_size"] = list(size) if isinstance(size, tuple) else size  # as JSON returns it
        self._checkpoint = Checkpoint(checkpoint, settings, arithmetic("float32", self._device))
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
        self._calibrate(HeldOutScores.of(maps))
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
    def score(self, images: Tensor, *, stride: int = 1) -> Tensor:
        """Anomaly scores.

        Args:
            images: RGB [B, 3, H, W], uint8 or floating in [0, 1].
            stride: a power of two: only every stride-th pixel is scored, the others interpolated bilinearly. Systems
                that reconstruct pixels have all of them at once, and ignore it.

        Returns:
            float32 [B, H, W] at the input's own size, on the CPU; higher where less as learned.

        Raises:
            DataError: if `images` are something else, or nothing was learned yet.
            ValueError: for an unknown stride.
        """
        self._check_fitted()
        check_images(images)
        check_stride(stride)
        batch, _, height, width = images.shape
        maps = torch.empty(batch, height, width)
        for index, image in enumerate(images.cpu()):
            scores = self._map(resize(image[None], self.image_size)[0], stride)
            maps[index] = resize_maps(scores[None], height, width)[0]
        return maps

    def to(self: Self, device: str | torch.device) -> Self:
        """Choose where `fit`, `score` and `predict` run: on the CPU, or, the systems that read pixels, on a GPU.

        Raises:
            ValueError: for another device.
        """
        chosen = usable_device(device)
        if chosen.type != "cpu" and not self.on_gpu:
            raise ValueError(f"{self.method} works on the CPU; leave the device out")
        self._device = chosen
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
        from . import METHODS

        def build(header: dict[str, Any], tensors: dict[str, Tensor], held_out: HeldOutScores) -> Baseline:
            detector = METHODS[header["method"]](**header["settings"])
            detector._restore(header, tensors)
            detector._calibrate(held_out)
            return detector

        return read_calibrated(path, "baseline", BASELINE_VERSION, build)
