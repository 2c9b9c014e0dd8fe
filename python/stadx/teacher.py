"""Teacher pretraining: the knowledge of a large network, distilled into a patch network."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .allocation import keep_freed_memory
from .data.photos import PhotoPatches, list_photos
from .data.source import fingerprint
from .errors import DataError, ModelFileError
from .files import check_writable, read_model, write_model
from .networks import PatchNetwork, channels_last, normalize_images
from .pretrained import PretrainedNetwork, load_pretrained, patch_features
from .progress import Progress, silent
from .training import (
    Checkpoint,
    Precision,
    autocast,
    check_finite,
    learning_rate_factor,
    restore_training_state,
    training_state,
)

TEACHER_VERSION = 1
_HELD_OUT_PATCHES = 2048
_SHIPPED = Path(__file__).parent / "teachers"


@dataclass(frozen=True)
class PretrainSettings:
    """How a teacher is trained (Bergmann et al. 2020, section 3.1 and 4).

    The paper: ResNet-18, 50,000 steps, learning rate 2e-4 throughout. The defaults reach further in the hour or two
    that a processor without a GPU has.

    Attributes:
        patch_size: p, side of the receptive field in pixels.
        pretrained_network: P, the network to distil.
        pretrained_input: side in pixels to which a patch is resized for P.
        steps, batch: optimiser steps and patches in each.
        learning_rate, weight_decay: of Adam.
        schedule: "cosine" (5 % warm-up, then down to nothing) or "constant".
        distillation_weight, compactness_weight: λk and λc of Eq. 6.
        compactness_reduction: Lc is the "sum" or the "mean" of the squared off-diagonal correlations.
        grey: probability that a patch loses its colour.
        precision: of the convolutions; "auto" is bfloat16 where the processor has it.
        seed: of every random choice.
    """

    patch_size: int = 33
    pretrained_network: str = "efficientnet-lite0"
    pretrained_input: int = 96
    steps: int = 10_000
    batch: int = 64
    learning_rate: float = 8e-4
    weight_decay: float = 1e-5
    schedule: Literal["cosine", "constant"] = "cosine"
    distillation_weight: float = 1.0
    compactness_weight: float = 1.0
    compactness_reduction: Literal["sum", "mean"] = "sum"
    grey: float = 0.1
    precision: Precision = "auto"
    seed: int = 0


def compactness_loss(descriptors: Tensor, reduction: Literal["sum", "mean"] = "sum") -> Tensor:
    """Lc of Eq. 5, squared: Σ_{i≠j} c_ij² over the correlation matrix of the descriptors' dimensions.

    Args:
        descriptors: [N, d], N >= 2.
        reduction: "sum", or "mean" over the d (d - 1) off-diagonal entries.

    Returns:
        A scalar >= 0; 0 for uncorrelated dimensions.
    """
    d = descriptors.shape[1]
    centred = descriptors - descriptors.mean(0)
    unit = centred / centred.norm(dim=0).clamp_min(1e-12)
    correlation = unit.T @ unit
    total: Tensor = correlation.square().sum() - correlation.diagonal().square().sum()
    return total / (d * (d - 1)) if reduction == "mean" else total


@keep_freed_memory()
def pretrain(
    photos: str | os.PathLike[str],
    settings: PretrainSettings,
    out: str | os.PathLike[str],
    *,
    progress: Progress = silent,
    network: PretrainedNetwork | None = None,
) -> dict[str, Any]:
    """Train a teacher on the photos under a folder and write it to a file.

    L = λk mean ‖D(T̂(x)) − P(x)‖² + λc Lc. A twentieth of the photos (at least one) is held out to tell the share of
    P's variance that D(T̂(x)) explains. The state is saved to
    `out` + ".part" every half minute; a killed run resumes from there, bit for bit.

    Args:
        photos: folder of natural photos, sub-folders included.
        settings: see `PretrainSettings`.
        out: the teacher file to write.
        progress: told "Teacher", the step, and the figures "distillation", "compactness", "explained".
        network: P, if not the one that `settings` names.

    Returns:
        The card: settings, counts, losses, share of variance explained.

    Raises:
        DataError, OutputError, MissingExtraError, ModelFileError: as their messages say.
    """
    check_writable(out)
    files = list_photos(photos)
    if len(files) < 2:
        raise DataError(f"{photos}: holds one photo; pretraining needs two or more, and thousands to be good")
    p_net = network or load_pretrained(settings.pretrained_network)
    held_out, kept = files[::20], [f for i, f in enumerate(files) if i % 20]
    source = PhotoPatches(kept, settings.patch_size, seed=settings.seed, grey=settings.grey)
    PhotoPatches(held_out, settings.patch_size).batch(0, 1)  # unreadable ones would stop the work at its very end

    generator = torch.Generator().manual_seed(settings.seed)
    net = PatchNetwork(settings.patch_size)
    decode = nn.Linear(net.descriptor_size, p_net.dim)
    first = source.batch(0, 256).float() / 255
    net.init_from_data(normalize_images(first), generator)
    with torch.no_grad(), autocast(settings.precision):
        target = patch_features(p_net, first, settings.pretrained_input)
        decode.weight.normal_(0, 0.01, generator=generator)
        decode.bias.copy_(target.mean(0))
    channels_last(net)
    modules: dict[str, nn.Module] = {"net": net, "decode": decode}
    optimizer = torch.optim.Adam(
        [*net.parameters(), *decode.parameters()], settings.learning_rate, weight_decay=settings.weight_decay
    )

    checkpoint = Checkpoint(f"{os.fspath(out)}.part", {**asdict(settings), "photos": fingerprint(files)})
    step, history, averages = 0, list[dict[str, float]](), _Averages()
    if (saved := checkpoint.load()) is not None:
        state, tensors = saved
        step, history = state["step"], state["history"]
        averages.values = state["averages"]
        restore_training_state(modules, optimizer, tensors)

    def save_checkpoint() -> None:
        state = {"step": step, "history": history, "averages": averages.values}
        checkpoint.save(state, training_state(modules, optimizer))

    for patches in source.batches(range(step, settings.steps), settings.batch):
        factor = learning_rate_factor(step, settings.steps, settings.schedule)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * factor
        x = patches.float() / 255
        with autocast(settings.precision):
            with torch.no_grad():
                target = patch_features(p_net, x, settings.pretrained_input).float()
            descriptors = net(normalize_images(x).contiguous(memory_format=torch.channels_last)).float()
            decoded = decode(descriptors).float()
        distillation = (decoded - target).square().sum(1).mean()
        with torch.autocast("cpu", enabled=False):
            compactness = compactness_loss(descriptors, settings.compactness_reduction)
        loss = settings.distillation_weight * distillation + settings.compactness_weight * compactness
        check_finite(loss.item(), step + 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        figures = averages.update(
            distillation=distillation.item(),
            compactness=compactness.item(),
            variance=target.var(0).sum().item(),
        )
        if step % max(1, settings.steps // 50) == 0:
            history.append({"step": step, **{k: round(v, 4) for k, v in figures.items()}})
        progress("Teacher", step, settings.steps, figures)
        if checkpoint.due():
            save_checkpoint()

    explained = _explained_variance(net, decode, p_net, held_out, settings)
    card: dict[str, Any] = {
        **asdict(settings),
        "photos": len(kept),
        "held_out_photos": len(held_out),
        "pretrained_network": p_net.name,
        "pretrained_licence": p_net.licence,
        "explained_held_out": round(explained, 4),
        "history": history,
    }
    write_model(out, "teacher", TEACHER_VERSION, {"network": net.settings, "card": card}, _half(net))
    checkpoint.remove()
    return card


class _Averages:
    """Running means of the losses, over about 100 steps."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def update(self, **now: float) -> dict[str, float]:
        for key, value in now.items():
            self.values[key] = value + 0.99 * (self.values.get(key, value) - value)
        v = self.values
        return {
            "distillation": v["distillation"],
            "compactness": v["compactness"],
            "explained": 1 - v["distillation"] / max(v["variance"], 1e-30),
        }


@torch.no_grad()
def _explained_variance(
    net: PatchNetwork, decode: nn.Module, p_net: PretrainedNetwork, photos: list[Path], settings: PretrainSettings
) -> float:
    """1 - Σ‖D(T̂(x)) − P(x)‖² / Σ‖P(x) − mean P‖² over patches of photos that training never saw."""
    source = PhotoPatches(photos, settings.patch_size, seed=settings.seed + 1, grey=settings.grey)
    decoded, target = [], []
    for patches in source.batches(range(_HELD_OUT_PATCHES // 64), 64):
        x = patches.float() / 255
        with autocast(settings.precision):
            target.append(patch_features(p_net, x, settings.pretrained_input).double())
            decoded.append(decode(net(normalize_images(x))).double())
    truth = torch.cat(target)
    return 1 - float((torch.cat(decoded) - truth).square().sum() / (truth - truth.mean(0)).square().sum())


def _half(net: nn.Module) -> dict[str, Tensor]:
    return {k: v.to(torch.float16) for k, v in net.state_dict().items()}


def load_teacher(path: str | os.PathLike[str]) -> PatchNetwork:
    """Read a teacher file: the network, frozen, in float32.

    Raises:
        ModelFileError: if it is not a whole teacher file of this version.
    """
    header, tensors = read_model(path, "teacher", TEACHER_VERSION)
    try:
        net = PatchNetwork(**header["network"])
        net.load_state_dict({k: v.float() for k, v in tensors.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"{path}: lacks a part of a teacher ({error}); copy or train it again") from error
    return net.eval().requires_grad_(False)


def shipped_teacher(patch_size: int) -> Path:
    """The teacher file for p that comes with stadx.

    Raises:
        DataError: if there is none for this patch size yet.
    """
    path = _SHIPPED / f"p{patch_size}.safetensors"
    if not path.is_file():
        have = sorted(f.stem for f in _SHIPPED.glob("p*.safetensors"))
        raise DataError(
            f"no teacher for p = {patch_size} comes with stadx (it has {', '.join(have) or 'none'}); "
            f"train one with `stadx pretrain PHOTOS --patch-size {patch_size} --out FILE` and name it as teacher"
        )
    return path
