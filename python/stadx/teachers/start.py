"""What pretraining starts from: weights of the teacher, P made ready to give targets, and the decoder D."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from stadx.core.errors import DataError
from stadx.core.progress import Progress
from stadx.data.photos.patches import PhotoPatches
from stadx.networks.patch_network import PatchNetwork, normalize_images
from stadx.networks.training import autocast

from .distillation import PatchGrid, target_size
from .pretrained import PretrainedNetwork, load_pretrained, standardized
from .settings import PretrainSettings
from .teacher_files import load_teacher

FIRST_PATCHES = 256  # on which weights are initialised
TIMES_FIRST = 8  # so many more for the scale of dense targets, and for D if the teacher goes on from another


def start_from(net: PatchNetwork, file: str | os.PathLike[str]) -> None:
    """Give a network the weights of a teacher of the same form."""
    teacher = load_teacher(file)
    if {**teacher.settings, "padding": net.padding} != net.settings:
        raise DataError(
            f"{file}: is a teacher of another form ({teacher.settings}); this training makes {net.settings}"
        )
    net.load_state_dict(teacher.state_dict())


def network_to_distil(
    network: PretrainedNetwork | None,
    grid: PatchGrid,
    crops: list[Tensor],
    settings: PretrainSettings,
    device: torch.device,
    progress: Progress,
) -> PretrainedNetwork | None:
    """P on the device, ready to give targets; `network`, or that of the settings; None if λk = 0."""
    if settings.distillation_weight == 0:
        return None
    progress("Pretrained network", 0, 1, {})
    p_net = load_pretrained(settings.pretrained_network) if network is None else network
    target_size(p_net, settings.dense)  # refuses a network without an inner map
    if p_net.module is not None:
        p_net.module.to(device)
    progress("Pretrained network", 1, 1, {})
    if settings.dense:
        p_net = standardized(p_net, _targets(p_net, grid, crops, settings, device, progress))
    return p_net


def first_crops(source: PhotoPatches, grid: PatchGrid, times: int, progress: Progress) -> list[Tensor]:
    """Crops in [0, 1], from which training starts.

    Raises:
        DataError: if each is of one colour, or no photo can be read.
    """
    crops: list[Tensor] = []
    for step in range(times):
        progress("First patches", step, times, {})
        crops.append(source.batch(step, FIRST_PATCHES // grid.patches).float() / 255)
    progress("First patches", times, times, {})
    if all(bool((part == part[:, :, :1, :1]).all()) for part in crops):
        raise DataError(
            "the photos are of one colour each, there is nothing to learn from; check their folder, "
            f"{source.photos[0]} for a start"
        )
    return crops


@torch.no_grad()
def _targets(
    p_net: PretrainedNetwork,
    grid: PatchGrid,
    crops: list[Tensor],
    settings: PretrainSettings,
    device: torch.device,
    progress: Progress,
) -> Tensor:
    """P's features [n, dim] of crops in [0, 1], float32 on the device."""
    parts: list[Tensor] = []
    with autocast(settings.precision, device):
        for part in crops:
            progress("P's features of first patches", len(parts), len(crops), {})
            parts.append(grid.targets(p_net, part.to(device), settings.pretrained_input).float())
    progress("P's features of first patches", len(parts), len(crops), {})
    return torch.cat(parts)


@torch.no_grad()
def decoder(
    net: PatchNetwork,
    p_net: PretrainedNetwork,
    grid: PatchGrid,
    crops: list[Tensor],
    settings: PretrainSettings,
    generator: torch.Generator,
    trained: bool,
    device: torch.device,
    progress: Progress,
) -> nn.Linear:
    """D, which starts by saying the mean of P's features; for descriptors `trained` before, by ridge regression."""
    x = crops if trained else crops[:1]
    target = _targets(p_net, grid, x, settings, device, progress).cpu()
    decode = nn.Linear(net.descriptor_size, target.shape[1])
    decode.weight.normal_(0, 0.01, generator=generator)
    decode.bias.copy_(target.mean(0))
    if trained:
        described = torch.cat([grid.describe(net, normalize_images(part)).float() for part in x]).double()
        mean = described.mean(0)
        gram = (described - mean).T @ (described - mean)
        gram.diagonal().add_(0.1 * float(gram.diagonal().mean()))
        weight = torch.linalg.solve(gram, (described - mean).T @ (target.double() - target.double().mean(0))).T
        decode.weight.copy_(weight)
        decode.bias.sub_((weight @ mean).float())
    return decode
