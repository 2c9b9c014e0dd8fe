"""The detector: fit on good images, score any image pixel by pixel, keep it all in one file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from stadx.core.devices import usable_device
from stadx.core.errors import DataError
from stadx.core.memory import keep_freed_memory
from stadx.core.progress import Progress, silent
from stadx.data.source import ImageSource
from stadx.data.tensors import ImageSize, check_images
from stadx.networks.dense import Method
from stadx.networks.padding import Padding
from stadx.networks.training import OptimizerName, Precision
from stadx.networks.windows import ImageRows
from stadx.teachers.teacher_files import load_teachers

from ..base import Calibrated, Prediction
from ..thresholds import HeldOutScores, split
from .calibration import Terms, calibrate, held_out_errors
from .cpu_scorer import CpuScorer
from .ensemble import Ensemble
from .gpu_scorer import GpuPrecision, GpuScorer
from .model_file import read_detector, write_detector
from .normalization import Normalization
from .scoring import Scorer, score_bands, score_images
from .settings import check_settings
from .students import StudentSettings, train_students


class Detector(Calibrated):
    """Student–teacher anomaly detector (Bergmann et al., CVPR 2020).

    Args:
        scales: receptive fields p in pixels, of 17, 33, 65; their scores are averaged (Eq. 12).
        students: M, students per scale.
        image_size: what images are resized to before scoring: a square's side, (H, W), or None for as they are.
        target_fpr: share of the pixels of good images that the threshold may flag.
        image_fpr: share of the good images that may count as anomalous, see `image_threshold`.
        held_out: share of the training images set aside for score statistics and the threshold, at least one;
            the students, and µ and σ, never see them.
        steps: optimiser steps per scale. The paper: 100 epochs.
        batch: images per step. The paper: 1.
        crop: side in pixels of the part of an image that a step sees (p = 17: half of it); None for
            all of it, as in the paper.
        focus: share of the crops that lie where the loss was high when last seen, the others anywhere; the paper: 0.
        optimizer: "muon", which gets further in as many steps, or, as in the paper, "adam".
        learning_rate, weight_decay: of the optimiser; None is 2e-3 for Muon, 1e-3 for Adam. The paper: 1e-4 and 1e-5.
        schedule: "cosine" (5 % warm-up, then down to nothing) or, as in the paper, "constant".
        dense: train on every pixel of a crop at each step, as in the paper, instead of on one random phase of the
            pooling grid, which costs a sixth to a tenth (p = 17 has no pools: no difference).
        patience: stop when the students' loss on the held-out images has not fallen at so many of the twenty looks
            that training takes at it, and keep the best; 0 trains all steps.
        terms: what the score is: "e" or "v" alone, or "both", ẽ + ṽ as in the paper.
        smoothing: standard deviation in pixels of a Gaussian that the maps are smoothed with, at `image_size`; the
            paper: 0, none.
        level: how much of an image's own level of error is taken out, from 0, as in the paper, to 1; see
            `Normalization`. At a half, an image that is wrong all over still stands out.
        padding: how networks continue an image beyond its border: "reflect", "zeros" or "replicate"; None leaves it to
            the teacher ("reflect" for those that come with stadx).
        precision: of training; "auto" is bfloat16 where the processor has it. Scoring is always float32.
        teachers: teacher files; scales without one use the teacher that comes with stadx.
        seed: of every random choice.

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

    def __init__(
        self,
        scales: Sequence[int] = (33,),
        students: int = 3,
        image_size: ImageSize = 256,
        target_fpr: float = 0.001,
        *,
        image_fpr: float = 0.05,
        held_out: float = 0.1,
        steps: int = 1500,
        batch: int = 3,
        crop: int | None = 64,
        focus: float = 0.8,
        optimizer: OptimizerName = "muon",
        learning_rate: float | None = None,
        weight_decay: float = 1e-5,
        schedule: Literal["cosine", "constant"] = "cosine",
        dense: bool = False,
        patience: int = 0,
        terms: Terms = "e",
        smoothing: float = 0.0,
        level: float = 0.5,
        padding: Padding | None = None,
        precision: Precision = "auto",
        teachers: Sequence[str | os.PathLike[str]] = (),
        seed: int = 0,
    ) -> None:
        self.scales = tuple(int(p) for p in scales)
        self.students = students
        self.image_size: ImageSize = tuple(image_size) if isinstance(image_size, list) else image_size
        self.target_fpr = float(target_fpr)
        self.image_fpr = float(image_fpr)
        self.held_out = held_out
        self.steps = steps
        self.batch = batch
        self.crop = crop
        self.focus = focus
        self.optimizer: OptimizerName = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule: Literal["cosine", "constant"] = schedule
        self.dense = dense
        self.patience = patience
        self.terms: Terms = terms
        self.smoothing = smoothing
        self.level = level
        self.padding: Padding | None = padding
        self.precision: Precision = precision
        self.teachers = tuple(str(path) for path in teachers)
        self.seed = seed
        check_settings(self.settings)
        self._checkpoints: list[Path] = []
        self.device = torch.device("cpu")
        self.gpu_precision: GpuPrecision = "tf32"
        self._gpu_scorer: GpuScorer | None = None

    def fit(
        self,
        data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Tensor,
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
        if len(source) < 2:
            raise DataError("there is one training image; give two or more, one is set aside to find the threshold")
        held_in, held_out = split(len(source), self.held_out, self.seed)
        settings = StudentSettings(
            students=self.students,
            steps=self.steps,
            batch=self.batch,
            crop=self.crop,
            focus=self.focus,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            dense=self.dense,
            patience=self.patience,
            precision=self.precision,
            seed=self.seed,
        )
        files = [None if checkpoint is None else f"{os.fspath(checkpoint)}-p{p}" for p in self.scales]
        trained = [
            train_students(
                teacher,
                source,
                held_in,
                settings,
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
        errors = held_out_errors(self.ensembles_, source, held_out, progress, self.device, self.gpu_precision)
        self.normalizations_, scores = calibrate(errors, self.terms, self.level, self.smoothing)
        self._calibrate(scores)
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
        self._check_fitted()
        check_images(images)
        scorer = self._scorer_on(images.device if images.is_cuda else self.device, method)
        return score_images(scorer, images, self.image_size, stride, self.smoothing)

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

    def _scorer_on(self, device: torch.device, method: Method) -> Scorer:
        if device.type != "cuda":
            return CpuScorer(self.ensembles_, self.normalizations_, method)
        if method == "winograd":
            raise ValueError("the Winograd engine is the CPU's; on a GPU use method='auto'")
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
        self._check_fitted()
        scorer = CpuScorer(self.ensembles_, self.normalizations_, method)
        return score_bands(scorer, image, stride, self.smoothing)

    def predict(self, images: Tensor, *, stride: int = 1, method: Method = "auto") -> Prediction:
        """Anomaly map, image score and mask at the threshold of each image; arguments as in `score`."""
        maps = self.score(images, stride=stride, method=method)
        return self._predicted(maps)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the detector to one safetensors file.

        Raises:
            OutputError: if it cannot be written.
        """
        self._check_fitted()
        write_detector(self, path)
        for checkpoint in self._checkpoints:
            checkpoint.unlink(missing_ok=True)
        self._checkpoints = []

    @classmethod
    def from_parts(
        cls,
        settings: Mapping[str, Any],
        ensembles: Sequence[Ensemble],
        normalizations: Sequence[Normalization],
        held_out: HeldOutScores,
    ) -> Detector:
        """A fitted detector of parts that come from a file, from other detectors or from anywhere.

        Args:
            settings: the constructor's arguments.
            ensembles: of every scale: teacher, students, µ and σ.
            normalizations: of every scale: statistics of e and v.
            held_out: scores of held-out good images, from which the thresholds follow.

        Raises:
            ValueError: for a setting that cannot be, or parts that are not those of its scales.
        """
        detector = cls(**settings)
        sizes = tuple(ensemble.teacher.patch_size for ensemble in ensembles)
        if sizes != detector.scales or len(normalizations) != len(sizes):
            raise ValueError(
                f"the scales are {detector.scales}, the ensembles' {sizes}, with {len(normalizations)} normalizations"
            )
        detector.ensembles_, detector.normalizations_ = list(ensembles), list(normalizations)
        detector._calibrate(held_out)
        return detector

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Detector:
        """Read a detector that `save` wrote; it scores exactly as that one did.

        Raises:
            ModelFileError: if the file is missing, damaged, of another version or something else.
        """
        return read_detector(cls, path)
