"""The base of all detectors: settings and prediction."""

from __future__ import annotations

import inspect
import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stadx.core.devices import usable_device
from stadx.core.errors import DataError
from stadx.core.progress import Progress, silent
from stadx.core.torch_state import usual_torch
from stadx.data.frames import Channels, Frame, check_channels, check_stream, one_frame
from stadx.data.source import ImageInput, read_batch
from stadx.data.tensors import ImageSize
from stadx.data.value_range import ValueRange
from stadx.metrics.image_score import image_scores
from stadx.networks.dense import check_stride

from .facts import facts_of, figures_of
from .fitted_thresholds import Thresholds
from .prediction import Prediction as Prediction
from .roi import RoiMask, inside_maps, roi_argument

Self = TypeVar("Self", bound="Calibrated")


class Calibrated(Thresholds):
    """Base of all detectors: all that follows from scores; the thresholds are those of `Thresholds`.

    A subclass stores its constructor's arguments unchanged, `image_size`, `target_fpr` and `image_fpr` among them, and
    has `fit`, which ends with `calibrate`, `score`, `save` and `load`. `stadx.testing.check_detector` tests it.

    Attributes:
        method: its name in `stadx train --method`.
        texture_settings: settings that its paper has for textures, where those differ from those for objects.
        paper_settings: those that its paper has and that are not the defaults, for `stadx train --preset paper`.
        on_gpu: whether it can work on a GPU.
        device: where it works, see `to`.
        image_size: what images are resized to before scoring: a square's side, (H, W), or None for as they are.
        roi_: which pixels of images are looked at where `predict` is not told, bool [h, w], see `Roi`; None: all.
        value_range_: which values of image files are black and white, see `read_in_range`; None: 0 and the highest of
            their depth, all scaled to 8 bits, as in stadx 0.1.
    """

    method: ClassVar[str]
    texture_settings: ClassVar[Mapping[str, Any]] = {}
    paper_settings: ClassVar[Mapping[str, Any]] = {}
    on_gpu: ClassVar[bool] = False

    image_size: ImageSize
    roi_: NDArray[np.bool_] | None = None
    value_range_: ValueRange | None = None
    device = torch.device("cpu")

    @abstractmethod
    def fit(
        self: Self, data: ImageInput, *, progress: Progress = silent, checkpoint: str | os.PathLike[str] | None = None
    ) -> Self:
        """Learn what good images look like.

        Args:
            data: at least two good images, as in `Detector.fit`; what `ImageSource` takes.
            progress: told how far it is.
            checkpoint: where a stopped training resumes from; `save` removes it.

        Returns:
            The detector itself.
        """

    @abstractmethod
    def score(self, images: Tensor, *, stride: int = 1) -> Tensor:
        """Anomaly scores.

        Args:
            images: RGB [B, 3, H, W], uint8 or floating in [0, 1].
            stride: a power of two: only every stride-th pixel of every stride-th row has to be scored. A detector whose
                own `stride` is another than 1 takes that by default.

        Returns:
            float32 [B, H, W] at the input's own size; higher where less as learned.

        Raises:
            DataError: if `images` are something else, or nothing was learned yet.
            ValueError: for an unknown stride.
        """

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the detector to one safetensors file. Raises `OutputError` if it cannot be written."""

    @classmethod
    @abstractmethod
    def load(cls, path: str | os.PathLike[str]) -> Calibrated:
        """Read a detector that `save` wrote; it scores exactly as that one did. Raises `ModelFileError`."""

    @usual_torch()
    def predict(
        self,
        images: ImageInput,
        *,
        stride: int | None = None,
        roi: RoiMask | None = None,
        channels: Channels = "rgb",
    ) -> Prediction:
        """Anomaly map, image score and mask at the threshold of each image.

        Args:
            images, channels: as in `Detector.predict`.
            stride, roi: as in `score`; see `Detector.predict`. Detectors whose `score` takes no `roi` refuse it.

        Raises:
            DataError: if an image is none or cannot be read, or they differ in size.
        """
        batch = read_batch(images, channels, self.value_range_)
        return self._predicted(self.score(batch, stride=self._stride(stride), **roi_argument(self, roi)), roi)

    def predict_stream(
        self,
        frames: Iterable[Frame],
        *,
        stride: int | None = None,
        roi: RoiMask | None = None,
        channels: Channels = "rgb",
    ) -> Iterator[Prediction]:
        """`predict` of each frame of a camera or a video, when it is asked for; one frame is held at a time.

        Args:
            frames: any iterable of single images, of any sizes: NumPy arrays [H, W, 3] or [H, W], PIL images, tensors
                [3, H, W] or [1, 3, H, W], image files.
            stride, channels: as in `predict`.
            roi: which pixels are looked at, bool [h, w], of any size: that of all frames.

        Returns:
            One prediction (maps [1, H, W], scores [1], masks [1, H, W]) per frame, in their order.

        Raises:
            DataError: if `frames` is no iterable of images, or nothing was learned yet: at once; naming a frame that is
                no image or cannot be read: when it is its turn, and nothing comes after it.
            ValueError: for an unknown stride or order: at once.
        """
        self.check_fitted()
        check_stride(self._stride(stride))
        check_stream(frames)
        check_channels(channels)
        arguments = {"stride": stride, **roi_argument(self, roi)}
        return (self._of_frame(number, frame, channels, arguments) for number, frame in enumerate(frames))

    def _of_frame(self, number: int, frame: Frame, channels: Channels, arguments: dict[str, Any]) -> Prediction:
        try:
            return self.predict(one_frame(frame, channels, self.value_range_), **arguments)
        except DataError as error:
            raise DataError(f"frame {number}: {error}") from error

    def score_bands(self, image: Any, *, stride: int | None = None, roi: RoiMask | None = None) -> Iterator[Tensor]:
        """Refuses: images too large to hold are for `Detector`.

        Raises:
            DataError: always.
        """
        raise DataError(f"{self.method} cannot score images by strips; train it with an image size, such as 256")

    def to(self: Self, device: str | torch.device) -> Self:
        """Choose where `fit`, `score` and `predict` run: on the CPU, or, if `on_gpu`, on a GPU.

        Raises:
            ValueError: for another device.
        """
        chosen = usable_device(device)
        if chosen.type != "cpu" and not self.on_gpu:
            raise ValueError(f"{self.method} works on the CPU; leave the device out")
        self.device = chosen
        return self

    def _predicted(self, maps: Tensor, roi: RoiMask | None = None) -> Prediction:
        scores = image_scores(maps, self.top_share, inside_maps(self, maps, roi))
        return Prediction(maps, scores, maps > self.threshold_)

    def facts(self) -> dict[str, str]:
        """What it is, its thresholds and what they promise, in words."""
        return facts_of(self)

    def figures(self) -> dict[str, Any]:
        """What `facts` says, as numbers."""
        return figures_of(self)

    @property
    def working_size(self) -> ImageSize:
        """What images are resized to before scoring, as `stadx.data.tensors.resize` takes it."""
        return self.image_size

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def __repr__(self) -> str:
        """The settings that differ from the defaults."""
        parameters = inspect.signature(type(self)).parameters
        changed = [f"{n}={value!r}" for n, value in self.settings.items() if value != parameters[n].default]
        return f"{type(self).__name__}({', '.join(changed)})"
