"""What the generative adversarial networks share: pixels, optimiser, how layers begin, and the discriminator's loss."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stadx.core.settings import documented, like, setting

from .patches import PatchBaseline


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class AdversarialBaseline(PatchBaseline):
    """Base of the detectors with such networks: pixels lie in [-1, 1], as a hyperbolic tangent makes them."""

    step: int | None = like(PatchBaseline, "step", None)
    latent: int = setting(64, "Length of the code, whose numbers lie in [-1, 1].", at_least=1)
    width: int = setting(64, "Channels of the widest layer of pixels.", at_least=1)

    @abstractmethod
    def _networks(self) -> dict[str, nn.Module]:
        """New networks by name, as PyTorch begins them."""

    def _made(self) -> dict[str, nn.Module]:
        networks = self._networks()
        for network in networks.values():
            network.apply(initialize)
        return networks

    def _optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(network.parameters(), self.learning_rate, betas=(0.5, 0.999))

    def _pixels(self, image: Tensor) -> Tensor:
        return 2 * image - 1


def initialize(module: nn.Module) -> None:
    """Weights of a layer as DCGAN draws them (Radford et al. 2016)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def cross_entropy(judged: Tensor, label: int) -> Tensor:
    """The mean of what is lost by judgements, before the sigmoid, that should have been `label`, 0 or 1."""
    return F.binary_cross_entropy_with_logits(judged, torch.full_like(judged, label))
