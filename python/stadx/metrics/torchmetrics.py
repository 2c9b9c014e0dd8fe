"""Exact AU-PRO and AU-sPRO as metrics of torchmetrics: `pip install 'stadx[bridges]'`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, distributed

from stadx.core.errors import DataError, MissingExtraError

from .evaluator import ProEvaluator
from .inputs import Maps, Regions
from .pixel_metrics import FPR_LIMIT, PixelMetrics, check_limit

try:
    from torchmetrics import Metric
except ImportError as error:
    raise MissingExtraError(
        f"stadx.metrics.torchmetrics needs the package torchmetrics ({error}): pip install 'stadx[bridges]'"
    ) from error

__all__ = ["AuPro", "AuSpro"]


class AuPro(Metric):  # type: ignore[misc]
    """Exact AU-PRO of all batches, of all ranks together.

    Maps are kept, as by `ProEvaluator`; every rank gets those of the others when it computes. `pixel_metrics` gives
    all other metrics of the same images.

    Args:
        fpr_limit: in (0, 1].
        connectivity, memory_budget, folder: as of `ProEvaluator`.
        kwargs: as of `torchmetrics.Metric`.

    Raises:
        DataError: the limit or the connectivity cannot be.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def __init__(
        self,
        fpr_limit: float = FPR_LIMIT,
        *,
        connectivity: int = 8,
        memory_budget: int | None = None,
        folder: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_limit(fpr_limit)
        self.fpr_limit = fpr_limit
        self._options: dict[str, Any] = {
            "connectivity": connectivity,
            "memory_budget": memory_budget,
            "folder": folder,
        }
        self._collected = ProEvaluator(**self._options)
        self._own: ProEvaluator | None = None

    def update(self, preds: Maps, target: Any) -> None:
        """Take a batch.

        Args:
            preds: anomaly maps [N, H, W] or [N, 1, H, W], or a sequence of [H, W].
            target: masks of the same shapes, non-zero = defect, or `Regions` of each image.

        Raises:
            DataError: as `ProEvaluator.update`.
        """
        self._collected.update(_planes(preds), _planes(target))

    def compute(self) -> Tensor:
        """AU-PRO, float64 []; `DataError` if there is no defect or no background."""
        return torch.tensor(self._value(self.pixel_metrics(self.fpr_limit)), dtype=torch.float64)

    def pixel_metrics(self, fpr_limit: float = 1.0) -> PixelMetrics:
        """Everything that is known of this rank's images, or of all, within `sync_context`."""
        return self._collected.compute(fpr_limit=fpr_limit)

    def forward(self, preds: Maps, target: Any) -> Tensor:
        """Take a batch, and give the value of it alone: NaN if it has no defect or no background."""
        self.update(preds, target)
        batch = ProEvaluator(**self._options).update(_planes(preds), _planes(target))
        try:
            value = self._value(batch.compute(fpr_limit=self.fpr_limit))
        except DataError:
            value = float("nan")
        return torch.tensor(value, dtype=torch.float64)

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self._collected = ProEvaluator(**self._options)
        self._own = None

    def sync(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any = None,
        should_sync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> None:
        """Take the images of all ranks, in the order of ranks, until `unsync`."""
        available = distributed_available or self.distributed_available_fn or _initialized
        if not should_sync or self._own is not None or not available():
            return
        group = process_group or self.process_group
        all_of_them: list[Any] = [None] * distributed.get_world_size(group)
        distributed.all_gather_object(all_of_them, self._collected, group=group)
        merged = ProEvaluator(**self._options)
        for one in all_of_them:
            merged.merge(one)
        self._own, self._collected = self._collected, merged
        self._is_synced = True

    def unsync(self, should_unsync: bool = True) -> None:
        """Go back to this rank's own images."""
        if should_unsync and self._own is not None:
            self._collected, self._own = self._own, None
            self._is_synced = False

    def _value(self, metrics: PixelMetrics) -> float:
        return metrics.au_pro(self.fpr_limit)


class AuSpro(AuPro):
    """Exact AU-sPRO likewise; `target` is a sequence of `Regions`, one for each image, empty ones for good images."""

    def _value(self, metrics: PixelMetrics) -> float:
        return metrics.au_spro(self.fpr_limit)


def _planes(batch: Any) -> Any:
    """[N, 1, H, W] as [N, H, W]; all else as it is."""
    if isinstance(batch, (Sequence, Regions)) or batch.ndim != 4 or batch.shape[1] != 1:
        return batch
    return batch[:, 0]


def _initialized() -> bool:
    return distributed.is_available() and distributed.is_initialized()
