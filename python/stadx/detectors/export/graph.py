"""A detector as one graph: from a camera's bytes to map, image score, mask and verdict."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stadx.core.errors import DataError
from stadx.data.roi import nearest
from stadx.data.tensors import resize_maps, resized
from stadx.data.value_range import BYTES, Depth, ValueRange
from stadx.detectors.roi import lowest_score
from stadx.detectors.student_teacher.detector import Detector
from stadx.detectors.student_teacher.ensemble import Ensemble
from stadx.detectors.student_teacher.normalization import Normalization, fuse
from stadx.detectors.student_teacher.smoothing import smooth
from stadx.metrics.image_score import image_scores
from stadx.networks.border import computed_pixels
from stadx.networks.patch_network import normalize_images
from stadx.networks.upsampling import upsample
from stadx.ops.reference import interleave_phases

from .dense import DenseNetwork, Window, phased_pools
from .resizing import ByteResize, FloatResize


class ExportedDetector(nn.Module):
    """`Detector.predict` of images of one size, with nothing but tensors' own operations.

    Args:
        detector: fitted.
        size: height and width of the images.

    Attributes:
        taken: the values of the images that it takes: their depth, black and white.

    Raises:
        DataError: if the detector knows no good images, or its region of interest has no pixel at that size.
    """

    def __init__(self, detector: Detector, size: tuple[int, int]) -> None:
        super().__init__()
        detector.check_fitted()
        target = resized(*size, detector.working_size)
        roi = None if detector.roi_ is None else torch.from_numpy(detector.roi_) != 0
        self.taken = value_range_of(detector)
        self.resize = ByteResize(size, target) if self.taken is BYTES else FloatResize(size, target)
        parts = zip(detector.ensembles_, detector.normalizations_, strict=True)
        self.scales = nn.ModuleList(_Scale(e, n, target, detector.stride, roi) for e, n in parts)
        for name, known, wanted in zip(("rows", "columns"), target, size, strict=True):
            self.register_buffer(name, _interpolation(known, wanted, detector.stride, detector.smoothing))
        inside = None if roi is None else nearest(roi, size)
        if inside is not None and not inside.any():
            raise DataError(f"the region of interest has no pixel left at {size[1]}x{size[0]}; make it larger")
        mean_map = detector.mean_map_
        self.register_buffer("mean_map", None if mean_map is None else mean_map.at(*target, detector.stride))
        self.register_buffer("inside", inside)
        self.register_buffer("places", None if inside is None else inside.flatten().nonzero()[:, 0])
        self._lowest, self._top_share = lowest_score(detector), detector.top_share
        self.eval().requires_grad_(False)

    def forward(
        self, images: Tensor, pixel_threshold: Tensor, image_threshold: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Find defects.

        Args:
            images: RGB [B, H, W, 3], of the depth that it takes, such as uint8.
            pixel_threshold, image_threshold: float32 [1].

        Returns:
            Anomaly maps, float32 [B, H, W]; image scores, float32 [B]; masks, bool [B, H, W]; whether each image is
            anomalous, bool [B].
        """
        values = images.permute(0, 3, 1, 2).float()
        if self.taken is BYTES:
            normalized = normalize_images(self.resize(values) / 255)  # bytes are resized as bytes
        else:
            shares = ((values - self.taken.low) / (self.taken.high - self.taken.low)).clamp(0, 1)
            normalized = self.resize(normalize_images(shares))  # OpenVINO 2026.4 fails at the other order
        assert isinstance(self.rows, Tensor) and isinstance(self.columns, Tensor)
        maps = fuse([scale(normalized) for scale in self.scales])
        if isinstance(self.mean_map, Tensor):
            maps = maps - self.mean_map
        maps = self.rows @ maps @ self.columns.T
        values = maps.flatten(1)
        if isinstance(self.inside, Tensor) and isinstance(self.places, Tensor):
            values = values.index_select(1, self.places)
            maps = torch.where(self.inside, maps, self._lowest)
        scores = image_scores(values[:, None], self._top_share)
        return maps, scores, maps > pixel_threshold, scores > image_threshold


class _Scale(nn.Module):
    """The normalised score of one scale at every stride-th pixel: normalised images -> [B, ⌈H/stride⌉, ⌈W/stride⌉]."""

    def __init__(
        self, ensemble: Ensemble, normalization: Normalization, size: tuple[int, int], stride: int, roi: Tensor | None
    ) -> None:
        super().__init__()
        teacher = ensemble.teacher
        self._computed = computed_pixels(*size, teacher.patch_size, ensemble.inside, stride)
        self._phased = phased_pools(teacher, stride)
        self._normalization, self._stride = normalization, stride
        self.window = Window(teacher, size, self._computed, 1 << self._phased)
        networks = copy.deepcopy([teacher, *ensemble.students])
        self.networks = nn.ModuleList(DenseNetwork(network, stride) for network in networks)
        self.register_buffer("mean", ensemble.mean.clone()[:, None, None])
        self.register_buffer("std", ensemble.std.clone()[:, None, None])
        rows, columns = self._computed
        inside = None if roi is None else nearest(roi, size, rows.pixels, columns.pixels)
        self.register_buffer("inside", inside)

    def forward(self, images: Tensor) -> Tensor:
        window = self.window(images)
        teacher, *students = [network(window) for network in self.networks]
        assert isinstance(self.mean, Tensor) and isinstance(self.std, Tensor)
        center = fuse(students)
        e = self._at_pixels((center - (teacher - self.mean) / self.std).square().sum(1))
        v = None
        if self._normalization.v_std != float("inf"):
            v = self._at_pixels(fuse([(student - center).square().sum(1) for student in students]))
        inside = self.inside.expand_as(e) if isinstance(self.inside, Tensor) else None
        scores = self._normalization.score(e, v, self._normalization.factor(e, self._stride, inside))
        return self._computed.continued(scores)

    def _at_pixels(self, phases: Tensor) -> Tensor:
        rows, columns = self._computed
        maps = interleave_phases(phases[:, None], self._phased)[:, 0]
        return maps[:, : rows.count, : columns.count]


def _interpolation(known: int, wanted: int, stride: int, smoothing: float) -> Tensor:
    """One axis of what makes maps known at every stride-th of `known` pixels maps of `wanted`: a matrix.

    Interpolation, smoothing and resizing are linear and do one axis after the other, so what they make of unit vectors
    says it all.
    """
    units = torch.eye(-(-known // stride), dtype=torch.float64)[:, :, None]
    maps = smooth(upsample(units, known, 1, stride), smoothing)
    return resize_maps(maps, wanted, 1)[:, :, 0].T.float().contiguous()


def value_range_of(detector: Detector) -> ValueRange:
    """The values of the images that an export takes: bytes, or those of a model of another depth or range."""
    known = detector.value_range_
    return BYTES if known is None or known.is_plain else known


def example_inputs(
    size: tuple[int, int], depth: Depth = "uint8", thresholds: Sequence[float] = (0.0, 0.0)
) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs of the graph, of two black images."""
    pixel, image = (torch.tensor([threshold], dtype=torch.float32) for threshold in thresholds)
    return torch.zeros(2, *size, 3, dtype=getattr(torch, depth)), pixel, image
