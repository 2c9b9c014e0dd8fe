"""What a teacher does on patches of photos that its training never saw."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from stadx.core.progress import Progress, silent
from stadx.data.photos.patches import PhotoPatches
from stadx.data.photos.reading import Photo
from stadx.networks.patch_network import PatchNetwork, normalize_images
from stadx.networks.training import autocast

from .distillation import PatchGrid
from .pretrained import PretrainedNetwork
from .settings import PretrainSettings

HELD_OUT_PATCHES = 2048
_AT_ONCE = 64
_QUERIES, _NEIGHBOURS = 8, 6


@dataclass(frozen=True)
class Neighbours:
    """A held-out patch and those with the nearest descriptors.

    Attributes:
        query: uint8 [p, p, 3].
        found: the nearest ones, nearest first, uint8 [p, p, 3] each.
        distances: of their descriptors to the query's.
    """

    query: npt.NDArray[np.uint8]
    found: tuple[npt.NDArray[np.uint8], ...]
    distances: tuple[float, ...]


@dataclass(frozen=True)
class Diagnosis:
    """What the descriptors of N held-out patches are like.

    Attributes:
        explained: share of P's variance that D(T̂(x)) explains; None without P.
        spectrum: eigenvalues of the descriptors' covariance over their sum, descending, float64 [d].
        effective_rank: exp of the entropy of `spectrum`, 1 … d (Roy and Vetterli 2007).
        correlation: |c_ij| of the descriptors' dimensions, float64 [d, d].
        neighbours: some patches and the nearest ones, of other photos where there are enough.
    """

    explained: float | None
    spectrum: npt.NDArray[np.float64]
    effective_rank: float
    correlation: npt.NDArray[np.float64]
    neighbours: tuple[Neighbours, ...]


class HeldOut:
    """Patches of held-out photos, P's targets of them, made when first needed and kept.

    Args:
        source: cuts them.
        photos: the held-out photos.
        grid: how patches lie in crops.
        network: P; None if it is not distilled.
        settings: of the training.

    Raises:
        DataError: if none of the photos can be read.
    """

    def __init__(
        self,
        source: PhotoPatches,
        photos: Sequence[Photo],
        grid: PatchGrid,
        network: PretrainedNetwork | None,
        settings: PretrainSettings,
    ) -> None:
        self.source = source
        self.grid = grid
        self.network = network
        self.settings = settings
        PhotoPatches(photos, settings.patch_size).batch(0, 1)  # unreadable ones would stop the work at its very end
        self._crops: list[Tensor] = []
        self._targets: list[Tensor] = []

    def explained(self, net: PatchNetwork, decode: nn.Module | None, progress: Progress = silent) -> float | None:
        """1 - Σ‖D(T̂(x)) − P(x)‖² / Σ‖P(x) − mean P‖²; None without P."""
        return self._explained(self._descriptors(net, progress), decode, progress)

    def diagnose(self, net: PatchNetwork, decode: nn.Module | None, progress: Progress = silent) -> Diagnosis:
        """All that there is to say about a teacher."""
        parts = self._descriptors(net, progress)
        x = torch.cat(parts).double().cpu()
        spectrum = _spectrum(x)
        correlation = torch.corrcoef(x.T).nan_to_num(0).abs().numpy()
        return Diagnosis(
            self._explained(parts, decode, progress),
            spectrum,
            effective_rank(spectrum),
            correlation,
            self._neighbours(x),
        )

    def _batches(self) -> range:
        per_batch = max(1, _AT_ONCE // self.grid.patches)
        return range(max(1, HELD_OUT_PATCHES // (per_batch * self.grid.patches)))

    @torch.no_grad()
    def _descriptors(self, net: PatchNetwork, progress: Progress) -> list[Tensor]:
        """Descriptors [n, d], float32, of each batch."""
        count, batches = max(1, _AT_ONCE // self.grid.patches), self._batches()
        device, parts = next(net.parameters()).device, list[Tensor]()
        with autocast(self.settings.precision, device):
            for step in batches:
                progress("Held-out patches", step, len(batches), {})
                if step == len(self._crops):
                    self._crops.append(self.source.batch(step, count))
                parts.append(self.grid.describe(net, normalize_images(self._crops[step].to(device))).float())
        progress("Held-out patches", len(batches), len(batches), {})
        return parts

    @torch.no_grad()
    def _explained(self, descriptors: Sequence[Tensor], decode: nn.Module | None, progress: Progress) -> float | None:
        if self.network is None or decode is None:
            return None
        device, size = descriptors[0].device, self.settings.pretrained_input
        with autocast(self.settings.precision, device):
            for crops in self._crops[len(self._targets) :]:
                x = crops.to(device).float() / 255
                self._targets.append(self.grid.targets(self.network, x, size).float())
                progress("P's features of held-out patches", len(self._targets), len(self._crops), {})
            decoded = torch.cat([decode(part).double() for part in descriptors])
        truth = torch.cat(self._targets).double()
        return 1 - float((decoded - truth).square().sum() / (truth - truth.mean(0)).square().sum())

    def _neighbours(self, descriptors: Tensor) -> tuple[Neighbours, ...]:
        count = max(1, _AT_ONCE // self.grid.patches)
        draws = itertools.chain.from_iterable(self.source.draws(step, count) for step in self._batches())
        photo = torch.tensor([draw.photo for draw in draws]).repeat_interleave(self.grid.patches)
        pictures = self.grid.cut(torch.cat(self._crops)).permute(0, 2, 3, 1).numpy()
        results = []
        for query in torch.linspace(0, len(descriptors) - 1, _QUERIES).long().tolist():
            distance = (descriptors - descriptors[query]).norm(dim=1)
            others = photo != photo[query]
            if int(others.sum()) < _NEIGHBOURS:  # one photo is held out
                others = torch.arange(len(photo)) != query
            order = distance.masked_fill(~others, torch.inf).argsort()[:_NEIGHBOURS].tolist()
            order = [i for i in order if others[i]]
            results.append(
                Neighbours(pictures[query], tuple(pictures[i] for i in order), tuple(float(distance[i]) for i in order))
            )
        return tuple(results)


def effective_rank(spectrum: npt.NDArray[np.float64]) -> float:
    """exp of the entropy −Σ s ln s of shares s that add up to 1."""
    shares = spectrum[spectrum > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _spectrum(x: Tensor) -> npt.NDArray[np.float64]:
    values = torch.linalg.eigvalsh(torch.cov(x.T)).flip(0).clamp_min(0).numpy()
    spectrum: npt.NDArray[np.float64] = values / max(values.sum(), 1e-300)
    return spectrum
