"""OCGAN: a denoising autoencoder all of whose codes, not only those of good images, are made to stand for good ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stadx.core.settings import documented, like, setting
from stadx.data.tensors import ImageSize

from .adversarial import AdversarialBaseline, cross_entropy
from .patches import Training

_SIDES = 29, 61
_SLOPE = 0.2
_KERNEL, _STRIDE = 5, 2  # of every convolution, none padded


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class OcganDetector(AdversarialBaseline):
    """OCGAN (Perera et al. 2019): the squared difference, the mean over the colours, of an image and its decoded code.

    Codes fill (-1, 1)^latent evenly, for a discriminator sees to that; what any of them decodes to looks good, for a
    second one does, on those codes that a classifier thinks least of.

    It was published for whole small images, MNIST and CIFAR-10, one class of which is good: an image's score is then
    the mean of its map. The layers are those of the authors' code for `patch` = 61, without its dropout; for 29 there
    is one less. `samples`, `epochs` and `batch` are from there too.

    Adam looks for the codes that the classifier thinks least of; the paper gives neither its steps nor its rate.
    """

    image_size: ImageSize = like(AdversarialBaseline, "image_size", 61)
    samples: int = like(AdversarialBaseline, "samples", 6_000)
    rotation: float = like(AdversarialBaseline, "rotation", 0.0)
    shift: float = like(AdversarialBaseline, "shift", 0.0)
    epochs: int = like(AdversarialBaseline, "epochs", 201)
    batch: int = like(AdversarialBaseline, "batch", 512)
    latent: int = like(AdversarialBaseline, "latent", 16)
    discriminator_width: int = setting(12, "Channels of the first layer of the discriminator of images.", at_least=1)
    noise: float = setting(
        0.2, "Variance of what is added to an image, whose values lie in [-1, 1], before it is encoded.", at_least=0
    )
    reconstruction_weight: float = setting(10.0, "λ, of the squared error against the two discriminators.", at_least=0)
    mining_steps: int = setting(5, "Of the search for codes.", at_least=0)
    mining_rate: float = setting(0.1, "Learning rate of the search for codes.", above=0)

    method = "ocgan"
    paper_name = "OCGAN"
    label = "OCGAN"
    texture_settings = {}  # noqa: RUF012 (a ClassVar of the base)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self._side not in _SIDES:
            raise ValueError(f"patch is {self._side}; choose one of {_SIDES}")

    def _networks(self) -> dict[str, nn.Module]:
        return {
            "encoder": nn.Sequential(_convolutions(self._side, self.width, self.latent), nn.Tanh()),
            "decoder": _decoder(self._side, self.width, self.latent),
            "latent_discriminator": _latent_discriminator(self.latent),
            "visual_discriminator": _convolutions(self._side, self.discriminator_width, 1),
            "classifier": _convolutions(self._side, self.width, 1),
        }

    def _train_step(self, training: Training, x: Tensor, step: int) -> dict[str, float]:
        networks, optimizers = training
        seed = int(np.random.SeedSequence([self.seed, 10, step]).generate_state(1)[0])
        generator = torch.Generator(x.device).manual_seed(seed)
        noise = torch.randn(x.shape, generator=generator, device=x.device)
        drawn = 2 * torch.rand(len(x), self.latent, 1, 1, generator=generator, device=x.device) - 1
        decoder, classifier = networks["decoder"], networks["classifier"]
        of_latent, of_images = networks["latent_discriminator"], networks["visual_discriminator"]

        code = networks["encoder"](x + math.sqrt(self.noise) * noise)
        decoded, made = decoder(code), decoder(drawn)
        judged = cross_entropy(of_latent(drawn), 1) + cross_entropy(of_latent(code.detach()), 0)
        judged = judged + cross_entropy(of_images(x), 1) + cross_entropy(of_images(made.detach()), 0)
        judged = judged + cross_entropy(classifier(decoded.detach()), 1) + cross_entropy(classifier(made.detach()), 0)
        _descend(judged, [optimizers[n] for n in ("latent_discriminator", "visual_discriminator", "classifier")])

        made = decoder(self._mined(drawn, decoder, classifier))
        error = F.mse_loss(decoded, x)
        loss = cross_entropy(of_latent(code), 1) + cross_entropy(of_images(made), 1)
        loss = loss + self.reconstruction_weight * error
        _descend(loss, [optimizers["encoder"], optimizers["decoder"]])
        return {"loss": loss.item(), "error": error.item(), "discriminators": judged.item()}

    def _mined(self, drawn: Tensor, decoder: nn.Module, classifier: nn.Module) -> Tensor:
        """The codes near those drawn that decode to what the classifier takes for good least."""
        codes = drawn.clone().requires_grad_()
        optimizer = torch.optim.Adam([codes], self.mining_rate, maximize=True)
        for _ in range(self.mining_steps):
            (codes.grad,) = torch.autograd.grad(cross_entropy(classifier(decoder(codes)), 1), codes)
            optimizer.step()
            with torch.no_grad():
                codes.clamp_(-1, 1)
        return codes.detach()

    def _residual(self, x: Tensor) -> Tensor:
        decoded = self.networks_["decoder"](self.networks_["encoder"](x))
        error: Tensor = (x - decoded).square().mean(1)
        return error


def _widths(side: int, width: int) -> list[int]:
    """Channels after every layer but the last, which has one pixel left."""
    layers = {29: 3, 61: 4}[side]
    return [width * 2**i for i in range(layers - 1)]


def _convolutions(side: int, width: int, out: int) -> nn.Sequential:
    """Images [B, 3, side, side] to [B, out, 1, 1]."""
    widths = _widths(side, width)
    layers: list[nn.Module] = [nn.Conv2d(3, width, _KERNEL, _STRIDE), nn.LeakyReLU(_SLOPE)]
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, _KERNEL, _STRIDE), nn.BatchNorm2d(after), nn.LeakyReLU(_SLOPE)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], out, _KERNEL, _STRIDE))


def _decoder(side: int, width: int, latent: int) -> nn.Sequential:
    """Codes [B, latent, 1, 1] to images [B, 3, side, side] in [-1, 1]."""
    widths = [latent, *_widths(side, width)[::-1]]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.ConvTranspose2d(before, after, _KERNEL, _STRIDE), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], 3, _KERNEL, _STRIDE), nn.Tanh())


def _latent_discriminator(latent: int) -> nn.Sequential:
    """Codes [B, latent, 1, 1] to how much they look drawn, [B, 1], before the sigmoid."""
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise([latent, 128, 64, 32, 1]):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _descend(loss: Tensor, optimizers: list[torch.optim.Optimizer]) -> None:
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    for optimizer in optimizers:
        optimizer.step()
