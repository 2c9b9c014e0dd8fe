"""The loss of a batch in teacher pretraining, L = λk Lk + λm Lm + λc Lc (Bergmann et al. 2020, Eq. 6)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stadx.networks.patch_network import PatchNetwork, normalize_images
from stadx.networks.training import autocast

from . import distributed
from .distillation import PatchGrid
from .feature_cache import FeatureCache
from .losses import compactness_loss, distillation_loss, triplet_loss
from .pretrained import PretrainedNetwork
from .settings import PretrainSettings


@dataclass(frozen=True)
class Objective:
    """What training makes small.

    Attributes:
        settings: of the training.
        grid: how patches lie in crops.
        net: T̂.
        decode: D; None without P.
        network: P; None if λk = 0.
        cache: of P's features; None computes them at every step.
    """

    settings: PretrainSettings
    grid: PatchGrid
    net: PatchNetwork
    decode: nn.Module | None
    network: PretrainedNetwork | None
    cache: FeatureCache | None

    def inputs(self, number: int, crops: Tensor) -> tuple[Tensor, ...]:
        """What the loss is computed from, on the network's device.

        Args:
            number: of the batch, for the cache.
            crops: uint8 [n, 3, crop, crop], or triplets of them [3, n, 3, crop, crop].

        Returns:
            Crops [n, 3, crop, crop] in [0, 1]; these normalised, of triplets all [3 n, 3, crop, crop]; and, where there
            is a cache, P's features.
        """
        device = next(self.net.parameters()).device
        images = crops.to(device).flatten(0, -4).float() / 255
        x = images[: crops.shape[-4]]
        normalised = normalize_images(images).contiguous(memory_format=torch.channels_last)
        if self.cache is None:
            return x, normalised
        return x, normalised, self.cache.get(number, lambda: self._target(x)).to(device)

    def __call__(self, x: Tensor, normalised: Tensor, target: Tensor | None = None) -> dict[str, Tensor]:
        """The terms that have a weight, always "compactness", P's "variance", and L as "loss", from `inputs`.

        The loss is of this process's part of a batch: its gradient, averaged over the processes, is that of the whole.
        """
        s = self.settings
        with autocast(s.precision, x.device):
            described = self.grid.describe(self.net, normalised).float()
            descriptors = described[: len(x) * self.grid.patches]
            if self.decode is not None:
                decoded = self.decode(descriptors).float()
        terms: dict[str, Tensor] = {}
        with torch.autocast(x.device.type, enabled=False):
            if self.network is not None:
                target = self._target(x) if target is None else target
                terms["distillation"] = distillation_loss(decoded, target)
                terms["variance"] = distributed.gather(target).var(0).sum()
            if s.triplet_weight:
                anchor, positive, negative = described.chunk(3)
                terms["triplet"] = triplet_loss(anchor, positive, negative, s.triplet_margin)
            terms["compactness"] = compactness_loss(distributed.gather(descriptors), s.compactness_reduction)
        weights = {
            "distillation": s.distillation_weight,
            "triplet": s.triplet_weight,
            "compactness": s.compactness_weight,
        }
        terms["loss"] = torch.stack([weights[name] * term for name, term in terms.items() if name in weights]).sum()
        return terms

    @torch.no_grad()
    def _target(self, x: Tensor) -> Tensor:
        """P's features of crops in [0, 1]."""
        assert self.network is not None
        with autocast(self.settings.precision, x.device):
            return self.grid.targets(self.network, x, self.settings.pretrained_input).float()


class Averages:
    """Running means of the terms, over about 100 steps."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def update(self, terms: dict[str, float]) -> dict[str, float]:
        """Take in the terms of a step; returns their running means, with P's "explained" share for its variance."""
        for key, value in terms.items():
            self.values[key] = value + 0.99 * (self.values.get(key, value) - value)
        shown = {key: value for key, value in self.values.items() if key not in ("variance", "loss")}
        if "variance" in self.values:
            shown["explained"] = 1 - shown["distillation"] / max(self.values["variance"], 1e-30)
        return shown
