"""The detector: fit on good images, score any image pixel by pixel, keep it all in one file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from stadx.core.memory import keep_freed_memory
from stadx.core.progress import Progress, silent
from stadx.core.settings import documented
from stadx.core.torch_state import each_usual, usual_torch
from stadx.data.frames import Channels
from stadx.data.roi import Roi, RoiInput
from stadx.data.source import ImageInput, ImageSource, read_batch
from stadx.data.tensors import ImageSize, Within
from stadx.networks.dense import Method
from stadx.networks.windows import ImageRows
from stadx.teachers.teacher_files import load_teachers

from ..base import Prediction
from ..model_files import held_out_scores, read_calibrated, write_calibrated
from ..roi import RoiMask, band_region, bands_outside_lowest, outside_lowest, region_of, roi_argument
from ..thresholds import HeldOutScores
from .calibration import calibrate, check_region, unseen_errors
from .cpu_scorer import CpuScorer
from .division import Division
from .ensemble import Ensemble
from .known_images import KnownImages
from .mean_map import MeanMap
from .memory import Memory
from .model_file import DETECTOR_VERSION, file_of, mean_map_of, parts_of
from .normalization import Normalization
from .penalty_photos import photos_of
from .scoring import score_bands, score_images
from .settings import PRESETS
from .students import train_scales
from .updatable import UpdatableDetector
from .update import check_memory


@documented
class Detector(UpdatableDetector):
    """Student–teacher anomaly detector (Bergmann et al., CVPR 2020).

    The constructor takes what `DetectorSettings` tells of, and keeps it unchanged.

    Attributes:
        device, gpu_precision: where it trains and scores, see `to`.
        ensembles_: per scale, teacher, students, µ and σ.
        history_: per scale, the losses in the course of training, see `TrainedStudents`; not kept in the file.
        normalizations_: per scale, mean and deviation of e and v on the good images that judge, and their level.
        mean_map_: what is taken off every map, see `MeanMap`; None: nothing.
        threshold_: scores above it are anomalous; see `set_target_fpr`.
        lineage_, known_, memory_: its training and updates, its images' hashes, and images kept, see `update`.
        heldout_fprs_, heldout_scores_, heldout_image_scores_: what thresholds follow from, see `Calibrated`.

    Raises:
        ValueError: for a setting that cannot be.
    """

    method = "student-teacher"
    on_gpu = True
    paper_settings = PRESETS["paper"]

    @usual_torch(learns=True)
    def fit(
        self,
        data: ImageInput,
        *,
        progress: Progress = silent,
        checkpoint: str | os.PathLike[str] | None = None,
        roi: RoiInput | Roi | None = None,
        channels: Channels = "rgb",
    ) -> Detector:
        """Learn what good images look like.

        Args:
            data: good images, at least two: a folder, a category (`stadx.data.layouts`), files, patterns; NumPy arrays
                [H, W, 3], [H, W] or batches of them, PIL images; a tensor [N, 3, H, W]; lists and generators of these.
                Values are uint8, or floating in [0, 1]. Sizes may differ if they are resized, see `image_size`.
            progress: told how far it is.
            checkpoint: prefix of the files to resume from; `save` removes them when the model is safe.
            roi: which pixels are looked at, see `Roi`: nothing is learned of the others. One mask for all images is
                kept, as `roi_`.
            channels: order of the colours in arrays and tensors: "rgb", or OpenCV's "bgr".

        Returns:
            The detector itself.

        Raises:
            DataError, ModelFileError, OutputError: as their messages say.
        """
        teachers, photos = load_teachers(self.scales, self.teachers), photos_of(self, progress)
        for teacher in teachers:
            if not self.is_inside(teacher.patch_size):
                teacher.padding = "reflect" if self.border == "inside" else self.border
        region = roi if roi is None or isinstance(roi, Roi) else Roi(roi)
        source = ImageSource(data, self.working_size, roi=region, channels=channels, value_range=self.value_range)
        check_region(source, self)
        check_memory(region, self.memory_bytes)
        division = Division.of(self, len(source))
        files = self._checkpoint_files(checkpoint)
        self.ensembles_, self.history_ = train_scales(
            teachers, source, division, self, progress=progress, files=files, device=self.device, photos=photos
        )
        self._drop_scorer()
        where = self.device, self.gpu_precision
        errors = unseen_errors(self.ensembles_, source, division, self.stride, progress, *where)
        self.normalizations_, scores, self.mean_map_ = calibrate(errors, self, self.ensembles_)
        self._calibrate(scores)
        self.roi_ = None if region is None or region.share == 1 else region.mask
        self.value_range_ = source.value_range
        self._begin_lineage(source, division, region)
        return self._learned(files)

    @keep_freed_memory()
    @usual_torch()
    def score(
        self,
        images: ImageInput,
        *,
        stride: int | None = None,
        method: Method = "auto",
        roi: RoiMask | None = None,
        channels: Channels = "rgb",
    ) -> Tensor:
        """Anomaly scores: ẽ, or what `terms` says, the mean over the scales (Eqs. 11 and 12).

        Args:
            images: images of one size, uint8 or floating in [0, 1]: NumPy arrays [H, W, 3], [H, W] or batches of them,
                PIL images, a tensor [B, 3, H, W], files, folders, patterns such as "photos/*_left.png"; lists and
                generators of these.
            stride: 1, 2, 4 or another power of two: only every stride-th pixel of every stride-th row is scored, the
                others interpolated bilinearly. For its cost see `dense_features`. None: the detector's own.
            method: "auto"; "winograd", the native engine; "direct", PyTorch's convolutions. See `dense_features`.
            roi: which pixels are looked at, as in `predict`.
            channels: order of the colours in arrays and tensors: "rgb", or OpenCV's "bgr".

        Returns:
            float32 [B, H, W] at the input's own size, on its device; about 0 where all is well, higher where not.

        Raises:
            DataError: if an image is something else or cannot be read, or they differ in size.
            ValueError: for an unknown stride, method or order, or one that the device does not have.
        """
        self.check_fitted()
        images = read_batch(images, channels, self.value_range_)
        scorer = self._scorer_on(images.device if images.is_cuda else self.device, method)
        mask = region_of(self, images, roi)
        how = self._stride(stride), self.smoothing
        maps = score_images(scorer, images, self.working_size, *how, mask, self.mean_map_)
        return outside_lowest(self, maps, roi)

    @property
    def working_size(self) -> ImageSize:
        """See `Calibrated.working_size`; with `keep_aspect` it depends on the image."""
        if not self.keep_aspect or self.image_size is None:
            return self.image_size
        height, width = self.image_size if isinstance(self.image_size, tuple | list) else 2 * (self.image_size,)
        return Within(height, width)

    def score_bands(
        self, image: ImageRows, *, stride: int | None = None, method: Method = "auto", roi: RoiMask | None = None
    ) -> Iterator[Tensor]:
        """`score` of an image too large to hold, at its own size whatever `image_size` is.

        Args:
            image: has `height`, `width` and `rows(start, stop)`, which gives [3, stop - start, width], uint8 or
                floating in [0, 1].
            stride, method: as in `score`.
            roi: which pixels are looked at, bool [h, w], resized by nearest neighbour; None: `roi_`.

        Returns:
            Bands of rows from top to bottom, float32 [rows, width]; the engine's have the bits of `score` at that size.
        """
        self.check_fitted()
        scorer = CpuScorer(self.ensembles_, self.normalizations_, method)
        mask = band_region(self, roi)
        bands = score_bands(scorer, image, self._stride(stride), self.smoothing, mask, self.mean_map_)
        if mask is not None:
            bands = bands_outside_lowest(self, bands, mask, (image.height, image.width))
        return each_usual(bands)

    @usual_torch()
    def predict(
        self,
        images: ImageInput,
        *,
        stride: int | None = None,
        method: Method = "auto",
        roi: RoiMask | None = None,
        channels: Channels = "rgb",
    ) -> Prediction:
        """Anomaly map, image score and mask at the threshold of each image.

        Args:
            images, stride, method, channels: as in `score`.
            roi: which pixels are looked at, bool [H, W] or [B, H, W]; one of another size is resized by nearest
                neighbour. The others take the lowest score of the held-out images, which no threshold is below. None:
                `roi_`, if there is one.

        Raises:
            DataError: if an image is none or cannot be read, or they differ in size.
        """
        told = roi_argument(self, roi)  # a subclass of one's own may have a `score` of 0.1.0
        scores = self.score(read_batch(images, channels, self.value_range_), stride=stride, method=method, **told)
        return self._predicted(scores, roi)

    @usual_torch()
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the detector to one safetensors file.

        Raises:
            OutputError: if it cannot be written.
        """
        self.check_fitted()
        header, tensors = file_of(self.settings, self.ensembles_, self.normalizations_, self.mean_map_)
        header |= {"lineage": self.lineage_}
        tensors |= {**self.known_.tensors(), **self.memory_.tensors()}
        write_calibrated(self, path, "detector", DETECTOR_VERSION, header, tensors)
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
        mean_map: MeanMap | None = None,
    ) -> Detector:
        """A fitted detector of parts that come from a file, from other detectors or from anywhere.

        Args:
            settings: the constructor's arguments.
            ensembles: of every scale: teacher, students, µ and σ.
            normalizations: of every scale: statistics of e and v.
            held_out: scores of good images that no student, or not all, learned from, from which the thresholds follow.
            mean_map: what is taken off every map; None: nothing.

        Raises:
            ValueError: for a setting that cannot be, or parts that are not those of its scales.
        """
        detector = cls(**settings)
        sizes = tuple(ensemble.teacher.patch_size for ensemble in ensembles)
        if sizes != tuple(detector.scales) or len(normalizations) != len(sizes):
            raise ValueError(
                f"the scales are {detector.scales}, the ensembles' {sizes}, with {len(normalizations)} normalizations"
            )
        if odd := [len(ensemble.students) for ensemble in ensembles if len(ensemble.students) != detector.students]:
            raise ValueError(f"students is {detector.students}, but an ensemble has {odd[0]}")
        detector.ensembles_, detector.normalizations_ = list(ensembles), list(normalizations)
        detector.mean_map_ = mean_map
        detector._calibrate(held_out)
        return detector

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Detector:
        """Read a detector that `save` wrote; it scores exactly as that one did.

        Raises:
            ModelFileError: if the file is missing, damaged, of another version or something else.
        """

        def build(header: dict[str, Any], tensors: dict[str, Tensor]) -> Detector:
            parts, mean_map = parts_of(header, tensors), mean_map_of(header, tensors)
            detector = cls.from_parts(*parts, held_out_scores(tensors), mean_map)
            detector.lineage_ = header.get("lineage", [])  # files of previous versions have none
            detector.known_, detector.memory_ = KnownImages.of_tensors(tensors), Memory.of_tensors(tensors)
            return detector

        return read_calibrated(path, "detector", DETECTOR_VERSION, build, oldest=1)
