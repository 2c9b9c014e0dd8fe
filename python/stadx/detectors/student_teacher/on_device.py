"""Where a detector trains and scores: the CPU, or a GPU in a precision of its own."""

from __future__ import annotations

from typing import Any, TypeVar, get_args

import torch

from stadx.core.devices import usable_device
from stadx.networks.choices import Padding
from stadx.networks.dense import Method

from ..base import Calibrated
from .cpu_scorer import CpuScorer
from .ensemble import Ensemble
from .gpu_scorer import GpuPrecision, GpuScorer
from .mean_map import MeanMap
from .normalization import Normalization
from .scoring import Scorer
from .settings import DetectorSettings

Self = TypeVar("Self", bound="DetectorOnDevice")


class DetectorOnDevice(DetectorSettings, Calibrated):
    """What `Detector` has of devices.

    Attributes:
        device, gpu_precision: where it trains and scores, see `to`.
    """

    ensembles_: list[Ensemble]
    normalizations_: list[Normalization]
    mean_map_: MeanMap | None
    gpu_precision: GpuPrecision

    def __post_init__(self, padding: Padding | None) -> None:
        super().__post_init__(padding)
        self.gpu_precision = "tf32"
        self._gpu_scorer: GpuScorer | None = None

    def to(self: Self, device: str | torch.device, precision: GpuPrecision = "tf32") -> Self:
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
        self.device, self.gpu_precision = usable_device(device), precision
        self._drop_scorer()
        return self

    def _drop_scorer(self) -> None:
        """Forget what a GPU holds of previous networks."""
        self._gpu_scorer = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_gpu_scorer": None}  # its graphs belong to this process

    def _scorer_on(self, device: torch.device, method: Method) -> Scorer:
        """What scores on a device."""
        if device.type != "cuda":
            return CpuScorer(self.ensembles_, self.normalizations_, method)
        if method == "winograd":
            raise ValueError("the Winograd engine is the CPU's; on a GPU use method='auto'")
        if self._gpu_scorer is None or self._gpu_scorer.device != device:
            self._gpu_scorer = GpuScorer(self.ensembles_, self.normalizations_, device, self.gpu_precision)
        return self._gpu_scorer
