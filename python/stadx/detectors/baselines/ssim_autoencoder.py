"""SSIM-AE: a convolutional autoencoder that is trained for, and scores by, structural similarity."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stadx.core.settings import documented, setting

from .patches import PatchBaseline, Training

_SIDES = 32, 64, 128, 256, 512
_SLOPE = 0.2
_C1, _C2 = 0.01**2, 0.03**2  # for values from 0 to 1
_LUMA = 0.299, 0.587, 0.114


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class SsimAutoencoderDetector(PatchBaseline):
    """SSIM-AE (Bergmann et al. 2018, Table 1; settings of Bergmann et al. 2019): 1 − SSIM of a patch, in grey, and its
    reconstruction.

    `patch` must be 32, 64, 128, 256 or 512: each doubling, from the 128 of the table, adds a first layer of 32
    channels, as the paper does for 256; each halving leaves one out.
    """

    latent: int = setting(100, "Length of the code.", at_least=1)
    window: int = setting(
        11,
        "Side of SSIM's windows in pixels, odd, all of which count alike; beyond a patch's border there is nothing.",
        at_least=1,
    )
    weight_decay: float = setting(1e-5, "Of Adam.", at_least=0)

    method = "ssim-ae"
    paper_name = "SSIM-AE"
    label = "SSIM autoencoder"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self._side not in _SIDES:
            raise ValueError(f"patch is {self._side}; choose one of {_SIDES}")
        if self.window % 2 == 0 or self.window > self._side:
            raise ValueError(f"window is {self.window}; it must be odd, and not above the patch, {self._side}")

    def _made(self) -> dict[str, nn.Module]:
        return {"autoencoder": _autoencoder(self._side, self.latent)}

    def _optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(network.parameters(), self.learning_rate, weight_decay=self.weight_decay)

    def _train_step(self, training: Training, x: Tensor, step: int) -> dict[str, float]:
        loss = 1 - ssim(x, training.networks["autoencoder"](x), self.window).mean()
        training.optimizers["autoencoder"].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        training.optimizers["autoencoder"].step()
        return {"loss": loss.item()}

    def _pixels(self, image: Tensor) -> Tensor:
        return (torch.tensor(_LUMA, device=image.device)[:, None, None] * image).sum(0, keepdim=True)

    def _residual(self, x: Tensor) -> Tensor:
        return 1 - ssim(x, self.networks_["autoencoder"](x), self.window)[:, 0]


def ssim(x: Tensor, y: Tensor, window: int) -> Tensor:
    """Structural similarity (Wang et al. 2004) of the window around every pixel.

    Args:
        x, y: [B, 1, H, W], from 0 to 1.
        window: side, odd.

    Returns:
        [B, 1, H, W], at most 1.
    """

    def mean(values: Tensor) -> Tensor:  # by columns, then by rows: 2 · window additions a pixel, not window²
        half = window // 2
        columns = F.avg_pool2d(values, (window, 1), 1, (half, 0), count_include_pad=False)
        return F.avg_pool2d(columns, (1, window), 1, (0, half), count_include_pad=False)

    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y = mean(x * x) - mean_x * mean_x, mean(y * y) - mean_y * mean_y
    covariance = mean(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x * mean_x + mean_y * mean_y + _C1)
    return luminance * (2 * covariance + _C2) / (var_x + var_y + _C2)


def _autoencoder(side: int, latent: int) -> nn.Sequential:
    """Grey patches [B, 1, side, side] to their likes, by a code [B, latent, 1, 1]."""
    halvings = (side // 8).bit_length() - 1
    # (channels, kernel, stride)
    layers = [(32, 4, 2)] * (halvings - 2)
    layers += [(32, 3, 1), (64, 4, 2), (64, 3, 1), (128, 4, 2), (64, 3, 1), (32, 3, 1), (latent, 8, 1)]
    before = [1, *(channels for channels, _, _ in layers[:-1])]
    modules: list[nn.Module] = []
    for width, (channels, kernel, stride) in zip(before, layers, strict=True):
        convolution = nn.Conv2d(width, channels, kernel, stride, 0 if kernel == 8 else 1)
        modules += [_begun(convolution, width * kernel**2), nn.LeakyReLU(_SLOPE)]
    modules.pop()  # the code is linear, and so is the reconstruction
    for width, (channels, kernel, stride) in zip(before[::-1], layers[::-1], strict=True):
        transposed = nn.ConvTranspose2d(channels, width, kernel, stride, 0 if kernel == 8 else 1)
        inputs = channels * (1 if kernel == 8 else kernel**2 // stride**2)  # of a pixel; the code has but one pixel
        modules += [_begun(transposed, inputs), nn.LeakyReLU(_SLOPE)]
    last = modules[-2]
    assert isinstance(last, nn.ConvTranspose2d) and last.bias is not None
    # SSIM is flat for values far from an image's: begun around 0, some trainings overshot and learned nothing more.
    nn.init.constant_(last.bias, 0.5)
    # What varies, but not as the image does, is worse than grey: unlearning it, the layers before lost what they had.
    with torch.no_grad():
        last.weight.mul_(0.01)
    return nn.Sequential(*modules[:-1])


def _begun(layer: nn.Conv2d | nn.ConvTranspose2d, inputs: int) -> nn.Module:
    """A layer that keeps the variance of `inputs` numbers and a leaky rectification before it (He et al. 2015).

    As PyTorch begins layers, each divides it by more than two: nothing of the image is left after ten, no gradient
    comes back, and the weight decay, which Adam takes for a gradient like any, brings the encoder to zero.
    """
    nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / ((1 + _SLOPE**2) * inputs)))
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
