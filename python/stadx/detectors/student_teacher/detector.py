"""The detector: fit on good images, score any image pixel by pixel, keep it all in one file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from stadx.core.devices import usable_device
from stadx.core.memory import keep_freed_memory
from stadx.core.progress import Progress, silent
from stadx.core.settings import documented
from stadx.data.source import ImageInput, ImageSource, read_batch
from stadx.data.tensors import check_images, resize
from stadx.networks.dense import Method, check_stride
from stadx.networks.windows import ImageRows, TensorRows
from stadx.teachers.teacher_files import load_teachers

from ..base import Calibrated, Prediction
from ..thresholds import split
from .bands import score_bands
from .calibration import calibrate
from .gpu import GpuPrecision, GpuScorer
from .model_file import read_detector, write_detector
from .settings import PRESETS, DetectorSettings
from .smoothing import smooth_bands
from .students import train_students


@documented
class Detector(DetectorSettings, Calibrated):
    """Student–teacher anomaly detector (Bergmann et al., CVPR 2020).

    The constructor takes what `DetectorSettings` tells of, and keeps it unchanged.

    Attributes:
        device, gpu_precision: where it trains and scores, see `to`.
        ensembles_: per scale, teacher, students, µ and σ.
        history_: per scale, the losses in the course of training, see `TrainedStudents`; not kept in the file.
        normalizations_: per scale, mean and deviation of e and v on the held-out images, and their level.
        threshold_: scores above it are anomalous; see `set_target_fpr`.
        heldout_fprs_, heldout_scores_, heldout_image_scores_: what thresholds follow from, see `Calibrated`.

    Raises:
        ValueError: for a setting that cannot be.
    """

    method = "student-teacher"
    on_gpu = True
    paper_settings = PRESETS["paper"]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._checkpoints: list[Path] = []
        self.device = torch.device("cpu")
        self.gpu_precision: GpuPrecision = "tf32"
        self._gpu_scorer: GpuScorer | None = None

    def fit(
        self,
        data: ImageInput,
        *,
        progress: Progress = silent,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Detector:
        """Learn what good images look like.

        Args:
            data: a folder of good images, a category (`stadx.data.layouts`), image files, or images [N, 3, H, W]
                (uint8, or floating in [0, 1]); at least two.
            progress: told how far it is.
            checkpoint: prefix of the files to resume from; `save` removes them when the model is safe.

        Returns:
            The detector itself.

        Raises:
            DataError, ModelFileError, OutputError: as their messages say.
        """
        teachers = load_teachers(self.scales, self.teachers)
        for teacher in teachers:
            teacher.padding = self.padding or teacher.padding
        source = ImageSource(data, self.image_size)
        held_in, held_out = split(len(source), self.held_out, self.seed)
        files = [None if checkpoint is None else f"{os.fspath(checkpoint)}-p{p}" for p in self.scales]
        trained = [
            train_students(
                teacher,
                source,
                held_in,
                self,
                held_out=held_out,
                progress=progress,
                checkpoint_path=file,
                device=self.device,
            )
            for teacher, file in zip(teachers, files, strict=True)
        ]
        self.ensembles_ = [scale.ensemble for scale in trained]
        self.history_ = [scale.history for scale in trained]
        self._gpu_scorer = None
        how, where = (self.terms, self.level, self.smoothing), (self.device, self.gpu_precision)
        self.normalizations_, maps = calibrate(self.ensembles_, source, held_out, progress, *how, *where)
        self.calibrate(maps)
        self._checkpoints = [Path(file) for file in files if file is not None]
        return self

    @keep_freed_memory()
    def score(self, images: Tensor, *, stride: int = 1, method: Method = "auto") -> Tensor:
        """Anomaly scores: ẽ, or what `terms` says, the mean over the scales (Eqs. 11 and 12).

        Args:
            images: RGB [B, 3, H, W], uint8 or floating in [0, 1].
            stride: 1, 2, 4 or another power of two: only every stride-th pixel of every stride-th row is scored, the
                others interpolated bilinearly. For its cost see `dense_features`.
            method: "auto"; "winograd", the native engine; "direct", PyTorch's convolutions. See `dense_features`.

        Returns:
            float32 [B, H, W] at the input's own size, on its device; about 0 where all is well, higher where not.

        Raises:
            DataError: if `images` are something else.
            ValueError: for an unknown stride or method, or one that the device does not have.
        """
        self.check_fitted()
        check_images(images)
        device = images.device if images.is_cuda else self.device
        if device.type == "cuda":
            check_stride(stride)
            if method == "winograd":
                raise ValueError("the Winograd engine is the CPU's; on a GPU use method='auto'")
            return self._scorer_on(device).score_images(images, self.image_size, stride, self.smoothing)
        height, width = images.shape[2:]
        maps = torch.empty(len(images), height, width)
        for index, image in enumerate(images.cpu()):
            small = resize(image[None], self.image_size)[0]
            if tuple(small.shape[1:]) == (height, width):
                row = 0
                for band in self._bands(TensorRows(small), stride, method):
                    maps[index, row : row + len(band)] = band
                    row += len(band)
                continue
            scores = torch.cat(list(self._bands(TensorRows(small), stride, method)))
            scores = F.interpolate(scores[None, None], (height, width), mode="bilinear", align_corners=False)[0, 0]
            maps[index] = scores
        return maps

    def to(self, device: str | torch.device, precision: GpuPrecision = "tf32") -> Detector:
        """Choose where `fit`, `score` and `predict` run; images that are on a GPU are scored there in any case.

        `score_bands` stays on the CPU.

        Args:
            device: "cpu", "cuda", "cuda:1", …
            precision: of a GPU's convolutions: "tf32" (as PyTorch's default), "float32", "bfloat16" or "float16".

        Returns:
            The detector itself.

        Raises:
            ValueError: for another kind of device or precision.
        """
        if precision not in get_args(GpuPrecision):
            raise ValueError(f"precision {precision!r} is unknown; choose one of {get_args(GpuPrecision)}")
        self.device, self.gpu_precision, self._gpu_scorer = usable_device(device), precision, None
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_gpu_scorer": None}  # its graphs belong to this process

    def _scorer_on(self, device: torch.device) -> GpuScorer:
        if self._gpu_scorer is None or self._gpu_scorer.device != device:
            self._gpu_scorer = GpuScorer(self.ensembles_, self.normalizations_, device, self.gpu_precision)
        return self._gpu_scorer

    def score_bands(self, image: ImageRows, *, stride: int = 1, method: Method = "auto") -> Iterator[Tensor]:
        """`score` of an image too large to hold, at its own size whatever `image_size` is.

        Args:
            image: has `height`, `width` and `rows(start, stop)`, which gives [3, stop - start, width], uint8 or
                floating in [0, 1].
            stride, method: as in `score`.

        Returns:
            Bands of rows from top to bottom, float32 [rows, width]; the engine's have the bits of `score` at that size.
        """
        self.check_fitted()
        return self._bands(image, stride, method)

    def _bands(self, image: ImageRows, stride: int, method: Method) -> Iterator[Tensor]:
        bands = score_bands(self.ensembles_, self.normalizations_, image, stride, method)
        return smooth_bands(bands, image.height, self.smoothing)

    def predict(self, images: ImageInput, *, stride: int = 1, method: Method = "auto") -> Prediction:
        """Anomaly map, image score and mask at the threshold of each image.

        Args:
            images: image files, folders of them or patterns such as "photos/*_left.png", one or several; or a tensor as
                in `score`.
            stride, method: as in `score`.

        Raises:
            DataError: if an image cannot be read, or files differ in size.
        """
        return self._predicted(self.score(read_batch(images), stride=stride, method=method))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the detector to one safetensors file.

        Raises:
            OutputError: if it cannot be written.
        """
        self.check_fitted()
        write_detector(self, path)
        for checkpoint in self._checkpoints:
            checkpoint.unlink(missing_ok=True)
        self._checkpoints = []

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Detector:
        """Read a detector that `save` wrote; it scores exactly as that one did.

        Raises:
            ModelFileError: if the file is missing, damaged, of another version or something else.
        """
        return read_detector(cls, path)
