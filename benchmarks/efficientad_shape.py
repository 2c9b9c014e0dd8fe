"""A network of the published SHAPE of EfficientAD-S with random weights: for timing only, it detects nothing.

Batzner, Heckler, König: "EfficientAD: Accurate Visual Anomaly Detection at Millisecond-Level Latencies", WACV 2024.
Written from the layer list of the paper and of its public re-implementations. By default the patch description networks
are unpadded, as in the re-implementations: maps of 56 x 56, less work than the padded 64 x 64.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 256  # of the only image size that the autoencoder is made for
DECODER_SIDES = (3, 8, 15, 32, 63, 127)


class EfficientADShape(nn.Module):
    """Teacher, student, autoencoder and anomaly map of one image.

    Args:
        padded: pad the patch description networks: 64 x 64 maps, not 56 x 56.
        divide: divides every number of channels, for checks that must be fast.
    """

    def __init__(self, padded: bool = False, divide: int = 1) -> None:
        super().__init__()
        self.channels = 384 // divide
        self.margin = 0 if padded else SIDE // 64  # of the map that unpadded networks leave out on each side
        side = SIDE // 4 - 2 * self.margin
        self.teacher = patch_description(self.channels, padded, divide)
        self.student = patch_description(2 * self.channels, padded, divide)
        self.autoencoder = autoencoder(self.channels, side, divide)

    def forward(self, images: Tensor) -> Tensor:
        """Anomaly maps [B, 256, 256] of normalised images [B, 3, 256, 256]."""
        teacher, student, decoded = self.teacher(images), self.student(images), self.autoencoder(images)
        local = (teacher - student[:, : self.channels]).square().mean(1, keepdim=True)
        overall = (decoded - student[:, self.channels :]).square().mean(1, keepdim=True)
        combined = F.pad(0.5 * local + 0.5 * overall, (self.margin,) * 4)
        return F.interpolate(combined, size=(SIDE, SIDE), mode="bilinear", align_corners=False)[:, 0]


def patch_description(out: int, padded: bool, divide: int) -> nn.Sequential:
    """PDN-S: 33 x 33 receptive field, stride 4."""
    three, one = (3, 1) if padded else (0, 0)
    first, second = 128 // divide, 256 // divide
    return nn.Sequential(
        nn.Conv2d(3, first, 4, padding=three),
        nn.ReLU(inplace=True),
        nn.AvgPool2d(2, 2, padding=one),
        nn.Conv2d(first, second, 4, padding=three),
        nn.ReLU(inplace=True),
        nn.AvgPool2d(2, 2, padding=one),
        nn.Conv2d(second, second, 3, padding=one),
        nn.ReLU(inplace=True),
        nn.Conv2d(second, out, 4),
    )


def autoencoder(out: int, side: int, divide: int) -> nn.Sequential:
    """256 x 256 pixels to 64 numbers, and back to a map of side x side; dropout, idle in inference, is left out."""
    layers: list[nn.Module] = []
    channels = 3
    for width in (32, 32, 64, 64, 64):
        layers += [nn.Conv2d(channels, width // divide, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
        channels = width // divide
    layers.append(nn.Conv2d(channels, channels, 8))
    for size in DECODER_SIDES:
        layers += [_resize(size), nn.Conv2d(channels, channels, 4, padding=2), nn.ReLU(inplace=True)]
    layers += [_resize(side), nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True)]
    layers.append(nn.Conv2d(channels, out, 3, padding=1))
    return nn.Sequential(*layers)


def _resize(side: int) -> nn.Module:
    return nn.Upsample(size=(side, side), mode="bilinear", align_corners=False)
