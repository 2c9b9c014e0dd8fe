"""AnoGAN: a generative adversarial network learns good patches; a patch is as anomalous as none it makes is like it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from stadx.core.settings import documented, like, setting
from stadx.data.tensors import ImageSize

from .adversarial import AdversarialBaseline, cross_entropy
from .patches import Training

_SLOPE = 0.2
_HALVINGS = 4


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class AnoGanDetector(AdversarialBaseline):
    """AnoGAN (Schlegl et al. 2017; settings of Bergmann et al. 2019): the squared difference, the mean over the
    colours, between a patch and the most similar one that the generator of a DCGAN (Radford et al. 2016) makes.

    `patch` must be a multiple of 16. Adam looks for the code of a patch; it starts from the same one for all.
    """

    image_size: ImageSize = like(AdversarialBaseline, "image_size", 128)
    epochs: int = like(AdversarialBaseline, "epochs", 50)
    batch: int = like(AdversarialBaseline, "batch", 64)
    search_steps: int = setting(300, "Of the search for a code.", at_least=1)
    search_rate: float = setting(0.02, "Learning rate of the search.", above=0)
    feature_weight: float = setting(
        0.1,
        "λ of the search: (1 − λ)·|x − G(z)| + λ·|f(x) − f(G(z))|, f the discriminator's last hidden layer.",
        at_least=0,
        at_most=1,
    )

    method = "anogan"
    paper_name = "AnoGAN"
    label = "AnoGAN"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self._side % 2**_HALVINGS:
            raise ValueError(f"patch is {self._side}; it must be a multiple of {2**_HALVINGS}")

    def _networks(self) -> dict[str, nn.Module]:
        return {
            "generator": _Generator(self._side, self.latent, self.width),
            "discriminator": _Discriminator(self._side, self.width),
        }

    def _train_step(self, training: Training, x: Tensor, step: int) -> dict[str, float]:
        networks, optimizers = training
        generator, discriminator = networks["generator"], networks["discriminator"]
        made = generator(self._codes(len(x), [8, step]).to(x.device))
        caught = cross_entropy(discriminator(x), 1) + cross_entropy(discriminator(made.detach()), 0)
        optimizers["discriminator"].zero_grad()
        caught.backward()  # type: ignore[no-untyped-call]
        optimizers["discriminator"].step()
        fooled = cross_entropy(discriminator(made), 1)
        optimizers["generator"].zero_grad()
        fooled.backward()  # type: ignore[no-untyped-call]
        optimizers["generator"].step()
        return {"loss": fooled.item(), "discriminator": caught.item()}

    def _codes(self, count: int, key: list[int]) -> Tensor:
        drawn = np.random.default_rng([self.seed, *key]).uniform(-1, 1, (count, self.latent))
        return torch.from_numpy(drawn).float()

    def _residual(self, x: Tensor) -> Tensor:
        generator, describe = self.networks_["generator"], self.networks_["discriminator"].get_submodule("features")
        features = describe(x)
        code = self._codes(1, [9]).to(x.device).repeat(len(x), 1).requires_grad_()
        optimizer = torch.optim.Adam([code], self.search_rate)
        with torch.enable_grad():
            for _ in range(self.search_steps):
                made = generator(code)
                loss = (1 - self.feature_weight) * (x - made).abs().sum()
                loss = loss + self.feature_weight * (features - describe(made)).abs().sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        unlike: Tensor = (x - generator(code)).square().mean(1)
        return unlike


class _Generator(nn.Module):
    """Codes [B, latent] to patches [B, 3, side, side] in [-1, 1]."""

    def __init__(self, side: int, latent: int, width: int) -> None:
        super().__init__()
        self.first = side // 2**_HALVINGS
        widths = [width * 2**i for i in reversed(range(_HALVINGS))]
        self.linear = nn.Linear(latent, widths[0] * self.first**2)
        layers: list[nn.Module] = []
        for before, after in zip(widths, [*widths[1:], 3], strict=True):
            layers += [nn.BatchNorm2d(before), nn.ReLU(), nn.ConvTranspose2d(before, after, 5, 2, 2, output_padding=1)]
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def forward(self, codes: Tensor) -> Tensor:
        patches: Tensor = self.layers(self.linear(codes).unflatten(1, (-1, self.first, self.first)))
        return patches


class _Discriminator(nn.Module):
    """Patches [B, 3, side, side] to how much they look real, [B, 1], before the sigmoid."""

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(_HALVINGS)]
        layers: list[nn.Module] = []
        for before, after in zip([3, *widths[:-1]], widths, strict=True):
            layers.append(nn.Conv2d(before, after, 5, 2, 2))
            if before > 3:
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.LeakyReLU(_SLOPE))
        self.features = nn.Sequential(*layers)
        self.linear = nn.Linear(widths[-1] * (side // 2**_HALVINGS) ** 2, 1)

    def forward(self, patches: Tensor) -> Tensor:
        judged: Tensor = self.linear(self.features(patches).flatten(1))
        return judged
