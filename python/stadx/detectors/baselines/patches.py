"""Detectors that train networks on patches of pixels, and compare a patch with what the networks make of it."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stadx.core.errors import DataError
from stadx.core.progress import Progress
from stadx.core.settings import documented, setting
from stadx.core.torch_state import drawn_apart
from stadx.data.source import ImageSource
from stadx.networks.patch_network import loaded_network
from stadx.networks.training import Checkpoint, check_finite, restore_training_state, training_state

from ..model_files import named
from .base import Baseline

_AT_ONCE = 16  # patches scored together


class Training(NamedTuple):
    """Networks, and the optimiser of each, by name."""

    networks: Mapping[str, nn.Module]
    optimizers: Mapping[str, torch.optim.Optimizer]


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class PatchBaseline(Baseline):
    """Base of the detectors with networks trained from pixels, as Bergmann et al. 2019 (MVTec AD) set them.

    Attributes:
        networks_: what was trained.
    """

    patch: int | None = setting(
        None,
        "Side of the patches in pixels.",
        none="the image size: images as a whole, as in the paper for objects",
        at_least=1,
    )
    step: int | None = setting(
        30,
        "Pixels from a scored patch to the next; where patches overlap, their scores are averaged.",
        none="the patch's side",
        at_least=1,
    )
    samples: int = setting(10_000, "Training patches, cut once and for all, equally many of each image.", at_least=1)
    rotation: float = setting(
        10.0, "Largest angle, in degrees, by which a training patch is turned; the paper gives none.", at_least=0
    )
    shift: float = setting(
        0.05,
        "Largest distance that one is moved beyond the image, as a share of its side; the paper gives none.",
        at_least=0,
    )
    epochs: int = setting(200, "How often every training patch is seen.", at_least=1)
    batch: int = setting(32, "Patches per step; the paper gives no number.", at_least=1)
    learning_rate: float = setting(2e-4, "Of Adam.", above=0)

    texture_settings = {"image_size": 512, "patch": 128}  # noqa: RUF012 (a ClassVar of the base)
    on_gpu = True
    strided = False
    label: ClassVar[str]  # of the progress bar

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patch is None and not isinstance(self.image_size, int):
            raise ValueError(f"patch is needed where image_size is {self.image_size}, no square's side")
        sides = (self.image_size,) if isinstance(self.image_size, int) else self.image_size
        if sides is not None and self._side > min(sides):
            raise ValueError(f"patch is {self.patch}; it must not be above image_size, {self.image_size}")
        step = self._side if self.step is None else self.step
        if step > self._side:
            raise ValueError(f"step is {step}; above patch, {self._side}, it would leave pixels without a score")

    @property
    def _side(self) -> int:
        side = self.image_size if self.patch is None else self.patch
        assert isinstance(side, int)
        return side

    @abstractmethod
    def _made(self) -> dict[str, nn.Module]:
        """New networks by name, untrained."""

    @abstractmethod
    def _optimizer(self, network: nn.Module) -> torch.optim.Optimizer: ...

    @abstractmethod
    def _train_step(self, training: Training, x: Tensor, step: int) -> dict[str, float]:
        """Learn from patches [B, C, p, p]; returns losses, "loss" among them."""

    @abstractmethod
    def _pixels(self, image: Tensor) -> Tensor:
        """An image [3, H, W] in [0, 1] as the networks want it: [C, H, W]."""

    @abstractmethod
    def _residual(self, x: Tensor) -> Tensor:
        """Scores [B, p, p] of patches [B, C, p, p], on their device."""

    def _learn_images(
        self, source: ImageSource, indices: Sequence[int], progress: Progress, checkpoint: Checkpoint
    ) -> None:
        with drawn_apart(self.seed):
            networks = self._made()
        optimizers = {n: self._optimizer(network.to(self.device).train()) for n, network in networks.items()}
        done = 0
        if (kept := checkpoint.load()) is not None:
            done = int(kept[0]["steps"])
            for name, network in networks.items():
                restore_training_state({name: network}, optimizers[name], kept[1])
        in_epoch = math.ceil(self.samples / self.batch)
        total = self.epochs * in_epoch
        order: list[int] = []
        patches = _Patches(partial(self._training_patch, source, indices), self.device)
        for step in range(done, total):
            epoch, place = divmod(step, in_epoch)
            if not order or place == 0:
                order = np.random.default_rng([self.seed, 6, epoch]).permutation(self.samples).tolist()
            chosen = order[place * self.batch : (place + 1) * self.batch]
            x = torch.stack([patches[number] for number in chosen])
            losses = self._train_step(Training(networks, optimizers), x, step)
            check_finite(losses["loss"], step + 1, checkpoint)
            progress(self.label, step + 1, total, losses)
            if checkpoint.due() or step + 1 == total:
                tensors: dict[str, Tensor] = {}
                for name, network in networks.items():
                    tensors |= training_state({name: network}, optimizers[name])
                checkpoint.save({"steps": step + 1}, tensors)
        self.networks_ = nn.ModuleDict(networks).eval().requires_grad_(False)

    def _training_patch(self, source: ImageSource, indices: Sequence[int], number: int) -> Tensor:
        """The `number`-th training patch [C, p, p], on the device: cut anywhere, moved and turned, on the CPU."""
        image = self._checked(source[indices[number % len(indices)]])
        rng = np.random.default_rng([self.seed, 7, number])
        angle = math.radians(rng.uniform(-self.rotation, self.rotation))
        half = (self._side - 1) / 2
        along = torch.arange(self._side, dtype=torch.float32) - half
        middles = [
            rng.uniform(half, size - 1 - half) + self.shift * self._side * rng.uniform(-1, 1)
            for size in image.shape[1:]
        ]
        y, x = torch.meshgrid(along, along, indexing="ij")
        rows = middles[0] + math.cos(angle) * y + math.sin(angle) * x
        columns = middles[1] + math.cos(angle) * x - math.sin(angle) * y
        height, width = image.shape[1:]
        # grid_sample counts from -1 to 1
        grid = torch.stack([2 * columns / (width - 1) - 1, 2 * rows / (height - 1) - 1], 2).float()
        return F.grid_sample(image[None], grid[None], padding_mode="reflection", align_corners=True)[0].to(self.device)

    def _checked(self, image: Tensor) -> Tensor:
        height, width = image.shape[1:]
        if min(height, width) < self._side:
            raise DataError(
                f"an image has {width} x {height} pixels, less than the patches' {self._side} a side; "
                "give a larger image_size, or train with smaller patches"
            )
        return self._pixels(image.float() / 255 if image.dtype == torch.uint8 else image.float())

    @torch.no_grad()
    def _map(self, image: Tensor, stride: int) -> Tensor:
        x = self._checked(image.to(self.device))
        self.networks_.to(self.device)
        side, step, (height, width) = self._side, self.step or self._side, x.shape[1:]
        corners = [(r, c) for r in _starts(height, side, step) for c in _starts(width, side, step)]
        total, count = torch.zeros(height, width), torch.zeros(height, width)
        for begin in range(0, len(corners), _AT_ONCE):
            some = corners[begin : begin + _AT_ONCE]
            patches = torch.stack([x[:, r : r + side, c : c + side] for r, c in some])
            for (r, c), residual in zip(some, self._residual(patches).cpu(), strict=True):
                total[r : r + side, c : c + side] += residual
                count[r : r + side, c : c + side] += 1
        return total / count

    def _parts(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return {}, {f"networks.{k}": v for k, v in self.networks_.state_dict().items()}

    def _restore(self, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self.networks_ = loaded_network(lambda: nn.ModuleDict(self._made()), named(tensors, "networks"))


class _Patches:
    """Training patches by number; on a GPU half of its free memory keeps them: cutting takes longer than a step."""

    def __init__(self, cut: Callable[[int], Tensor], device: torch.device) -> None:
        self._cut = cut
        self._room = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else 0
        self._kept: dict[int, Tensor] = {}

    def __getitem__(self, number: int) -> Tensor:
        patch = self._kept.get(number)
        if patch is None:
            patch = self._cut(number)
            if patch.nbytes <= self._room:
                self._room -= patch.nbytes
                self._kept[number] = patch
        return patch


def _starts(length: int, side: int, step: int) -> list[int]:
    """Where patches begin that cover a length: every `step`, and one at the end."""
    return [*range(0, length - side, step), length - side]
