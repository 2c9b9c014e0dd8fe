"""Autoencoders of descriptors: fully connected 128 – 64 – 32 – 10 and back, leaky rectified linear units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stadx.core.progress import Progress
from stadx.core.settings import documented, like, setting
from stadx.core.torch_state import drawn_apart
from stadx.data.source import ImageSource
from stadx.networks.patch_network import SLOPE, loaded_network
from stadx.networks.training import Checkpoint, check_finite, restore_training_state, training_state

from ..student_teacher.targets import usable_deviations
from .all_descriptors import AllDescriptors
from .descriptors import DescriptorBaseline

_WIDTHS = 64, 32, 10
_PASSES = 5  # of the reconstruction probability


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class _Reconstruction(DescriptorBaseline):
    """What they share: a network trained by Adam, on more `samples`: from 50,000 its AU-PRO is below the paper's."""

    samples: int | None = like(DescriptorBaseline, "samples", 500_000)
    epochs: int = setting(100, "How often the descriptors that are learned are seen.", at_least=1)
    batch: int = setting(512, "Descriptors per step.", at_least=1)
    learning_rate: float = setting(1e-4, "Of Adam.", above=0)
    weight_decay: float = setting(1e-5, "Of Adam.", at_least=0)

    paper_settings = {"border": "reflect", "samples": None}  # noqa: RUF012 (a ClassVar of the base)

    label: ClassVar[str]
    factor: ClassVar[int]  # numbers that the latent layer and the last one have for each of theirs

    def _network(self, d: int) -> nn.ModuleDict:
        inward, outward = [d, *_WIDTHS], [*_WIDTHS[::-1], d]
        return nn.ModuleDict({"encoder": _layers(inward, self.factor), "decoder": _layers(outward, self.factor)})

    def _loss(self, network: nn.ModuleDict, x: Tensor, noise: Tensor) -> Tensor:
        raise NotImplementedError

    def _learn_source(
        self, source: ImageSource, indices: Sequence[int], progress: Progress, checkpoint: Checkpoint
    ) -> dict[str, Tensor]:
        if self.samples is not None:
            return super()._learn_source(source, indices, progress, checkpoint)
        every = AllDescriptors(self.teacher_, source, indices, self.seed, progress, self.border == "inside")
        batches = partial(every.batches, size=self.batch)
        return self._trained(every.mean, every.std, batches, every.parts, progress, checkpoint)

    def _learn(self, descriptors: Tensor, progress: Progress) -> dict[str, Tensor]:
        std, mean = torch.std_mean(descriptors, dim=0, correction=0)
        std = usable_deviations(std)
        x = (descriptors - mean) / std

        def batches(epoch: int, part: int) -> Sequence[Tensor]:
            order = torch.from_numpy(np.random.default_rng([self.seed, epoch]).permutation(len(x)))
            return torch.split(x[order], self.batch)

        return self._trained(mean, std, batches, 1, progress, Checkpoint(None, {}, {}))

    def _trained(
        self,
        mean: Tensor,
        std: Tensor,
        batches: Callable[[int, int], Iterable[Tensor]],
        parts: int,
        progress: Progress,
        checkpoint: Checkpoint,
    ) -> dict[str, Tensor]:
        """Train on `batches(epoch, part)` of every part of every epoch: descriptors less `mean`, over `std`."""
        generator = torch.Generator().manual_seed(self.seed)
        with drawn_apart(self.seed):
            network = self._network(len(mean))
        optimizer = torch.optim.Adam(network.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        first, total = 0, self.epochs * parts
        if (kept := checkpoint.load()) is not None:
            first = int(kept[0]["parts"])
            generator.set_state(kept[1].pop("noise"))
            restore_training_state({"network": network}, optimizer, kept[1])
        for done in range(first, total):
            loss = torch.zeros(())
            for x in batches(*divmod(done, parts)):
                noise = torch.randn(len(x), _WIDTHS[-1], generator=generator)
                with torch.enable_grad():
                    loss = self._loss(network, x, noise)
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            check_finite(loss.item(), done + 1, checkpoint)
            progress(self.label, done + 1, total, {"loss": loss.item()})
            if checkpoint.due() or done + 1 == total:
                state = training_state({"network": network}, optimizer)
                checkpoint.save({"parts": done + 1}, {**state, "noise": generator.get_state()})
        return {"mean": mean, "std": std, **{k: v.detach() for k, v in network.state_dict().items()}}

    def _unlike(self, network: nn.ModuleDict, x: Tensor) -> Tensor:
        """Scores [n] of descriptors [n, d], every dimension of variance 1."""
        raise NotImplementedError

    def _distance(self, descriptors: Tensor) -> Tensor:
        learned = dict(self.learned_)
        mean, std = learned.pop("mean"), learned.pop("std")
        network = loaded_network(lambda: self._network(len(mean)), learned)
        return self._unlike(network, (descriptors - mean) / std)


def _layers(widths: list[int], factor: int) -> nn.Sequential:
    """Linear layers, the last one with `factor` times as many outputs and nothing after it."""
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(pairwise(widths)):
        last = i == len(widths) - 2
        layers.append(nn.Linear(before, after * (factor if last else 1)))
        if not last:
            layers.append(nn.LeakyReLU(SLOPE))
    return nn.Sequential(*layers)


class AutoencoderDetector(_Reconstruction):
    """ℓ2-AE: the squared distance between a descriptor, every dimension of variance 1, and its reconstruction."""

    method = "l2-ae"
    paper_name = "ℓ2-AE"
    label = "Autoencoder"
    factor = 1

    def _loss(self, network: nn.ModuleDict, x: Tensor, noise: Tensor) -> Tensor:
        return _squared_error(network, x).mean()

    def _unlike(self, network: nn.ModuleDict, x: Tensor) -> Tensor:
        return _squared_error(network, x)


def _squared_error(network: nn.ModuleDict, x: Tensor) -> Tensor:
    error: Tensor = (network["decoder"](network["encoder"](x)) - x).square().sum(1)
    return error


class VariationalDetector(_Reconstruction):
    """VAE: minus the logarithm of the reconstruction probability (An and Cho 2015), the mean over five passes."""

    method = "vae"
    paper_name = "VAE"
    label = "Variational autoencoder"
    factor = 2

    def _loss(self, network: nn.ModuleDict, x: Tensor, noise: Tensor) -> Tensor:
        mean, log_variance = network["encoder"](x).chunk(2, 1)
        divergence: Tensor = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        surprise = _surprise(network, x, mean + noise * (log_variance / 2).exp())
        return (divergence + surprise).mean()

    def _unlike(self, network: nn.ModuleDict, x: Tensor) -> Tensor:
        center, log_variance = network["encoder"](x).chunk(2, 1)
        # the same noise for every descriptor: a map has no grain, and scores do not depend on the order
        noise = torch.randn(_PASSES, 1, _WIDTHS[-1], generator=torch.Generator().manual_seed(self.seed))
        codes = center + noise * (log_variance / 2).exp()
        return torch.stack([_surprise(network, x, code) for code in codes]).mean(0)


def _surprise(network: nn.ModuleDict, x: Tensor, code: Tensor) -> Tensor:
    """−ln p(x | code) but for a constant, [n]; the decoder says mean and logarithm of the variance."""
    mean, log_variance = network["decoder"](code).chunk(2, 1)
    log_variance = 8 * torch.tanh(log_variance / 8)  # a variance of nothing would be a score without bounds
    return 0.5 * (F.mse_loss(mean, x, reduction="none") * (-log_variance).exp() + log_variance).sum(1)
