"""Training the students: each learns to predict the teacher's descriptors of good images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from .data.source import ImageSource
from .dense import dense_features
from .errors import DataError
from .networks import PatchNetwork, channels_last, dense_features_padded, normalize_images, pad_images
from .progress import Progress, silent
from .scoring import Ensemble
from .training import (
    Checkpoint,
    Precision,
    autocast,
    check_finite,
    learning_rate_factor,
    restore_training_state,
    training_state,
)

_INIT_PATCHES = 256
_CROP_SHARE = 8  # a network without pooling trains on a crop with this share of the image's pixels


@dataclass(frozen=True)
class StudentSettings:
    """How the students of one scale are trained; see `Detector` for what each means."""

    students: int = 3
    steps: int = 2000
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    schedule: Literal["cosine", "constant"] = "cosine"
    dense: bool = False
    precision: Precision = "auto"
    seed: int = 0


@torch.no_grad()
def descriptor_statistics(
    teacher: PatchNetwork, source: ImageSource, indices: Sequence[int], progress: Progress
) -> tuple[Tensor, Tensor]:
    """µ and σ [d]: mean and deviation of T per channel over every pixel of the images `indices`, summed in float64.

    Raises:
        DataError: if all pixels of all images are the same.
    """
    count = 0
    colours = source[indices[0]][:, :1, :1]
    varied = False
    mean = square = torch.zeros(teacher.descriptor_size, dtype=torch.float64)
    for done, index in enumerate(indices, 1):
        image = source[index]
        varied = varied or bool((image != colours).any())
        descriptors = dense_features(teacher, normalize_images(image[None]).float())
        var, here = torch.var_mean(descriptors.permute(1, 0, 2, 3).flatten(1).double(), dim=1, correction=0)
        n = descriptors[0, 0].numel()
        shift = here - mean
        square = square + n * var + shift.square() * (count * n / (count + n))  # Chan et al. 1983
        mean = mean + shift * (n / (count + n))
        count += n
        progress(f"Teacher statistics, p = {teacher.patch_size}", done, len(indices), {})
    std = (square / count).sqrt()
    if not varied:
        raise DataError("the training images are all one colour, there is nothing to learn from; check the folder")
    return mean.float(), std.clamp_min(1e-6 * float(std.max())).float()


def training_part(net: PatchNetwork, image: Tensor, dense: bool, rng: np.random.Generator) -> Tensor:
    """The part [1, 3, h, w] of a padded image that a training step sees.

    Not dense: the image from one random phase of the pooling grid on, so that `net.grid` gives the descriptors of
    every stride-th pixel, an unbiased sample of the dense loss; without pooling, a random crop of an eighth of it.
    """
    padded = pad_images(image, net.patch_size // 2, net.padding)
    if dense:
        return padded
    margin = net.patch_size - 1
    height, width = image.shape[2:]
    if net.stride > 1:
        row, column = (int(rng.integers(min(net.stride, size))) for size in (height, width))
        return net.phase(padded, row, column)
    h, w = (max(1, min(size, math.ceil(size / math.sqrt(_CROP_SHARE)))) for size in (height, width))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    return padded[:, :, top : top + h + margin, left : left + w + margin]


def train_students(
    teacher: PatchNetwork,
    source: ImageSource,
    indices: Sequence[int],
    settings: StudentSettings,
    *,
    progress: Progress = silent,
    checkpoint_path: str | None = None,
) -> Ensemble:
    """Train M students on the images `indices` of `source`; the loss is Eq. 7.

    One image a step, in an order drawn anew each epoch; every random choice follows from the seed and the step, so
    that a run resumed from its checkpoint is the run that was never stopped.

    Args:
        teacher: the frozen teacher T.
        source: training images.
        indices: those to train on.
        settings: see `StudentSettings`.
        progress: told "Students, p = 33", the step and the "loss" per student.
        checkpoint_path: file to resume from and save to; kept when training is complete.

    Returns:
        Teacher, students, µ and σ.

    Raises:
        DataError, ModelFileError, OutputError, StadxError: as their messages say.
    """
    p = teacher.patch_size
    generator = torch.Generator().manual_seed(1000 * settings.seed + p)
    students = [PatchNetwork(**teacher.settings) for _ in range(settings.students)]  # type: ignore[arg-type]
    modules: dict[str, nn.Module] = {f"student{i}": s for i, s in enumerate(students)}
    key: dict[str, Any] = {**asdict(settings), "images": source.fingerprint(), "held_in": list(indices)}
    checkpoint = Checkpoint(checkpoint_path, {**key, "teacher": _weights_hash(teacher)})
    saved = checkpoint.load()
    if saved is None:
        step, loss_average = 0, math.nan
        mean, std = descriptor_statistics(teacher, source, indices, progress)
        patches = _random_patches(source, indices, p, settings.seed)
        for student in students:
            student.init_from_data(patches, generator)
    optimizer = torch.optim.Adam(
        [w for s in students for w in s.parameters()], settings.learning_rate, weight_decay=settings.weight_decay
    )
    if saved is not None:
        state, tensors = saved
        step, loss_average, mean, std = state["step"], state["loss"], tensors["mean"], tensors["std"]
        restore_training_state(modules, optimizer, tensors)
    for network in (teacher, *students):
        channels_last(network)

    def save() -> None:
        tensors = {"mean": mean, "std": std, **training_state(modules, optimizer)}
        checkpoint.save({"step": step, "loss": loss_average}, tensors)

    shift, scale = mean[:, None, None], std[:, None, None]
    forward = dense_features_padded if settings.dense else PatchNetwork.grid
    while step < settings.steps:
        for group in optimizer.param_groups:
            factor = learning_rate_factor(step, settings.steps, settings.schedule)
            group["lr"] = settings.learning_rate * factor
        image = normalize_images(_image_of_step(source, indices, step, settings.seed)[None]).float()
        part = training_part(teacher, image, settings.dense, np.random.default_rng([settings.seed, 1, step]))
        part = part.contiguous(memory_format=torch.channels_last)
        with autocast(settings.precision):
            with torch.no_grad():
                target = (forward(teacher, part).float() - shift) / scale
            total = 0.0
            for student in students:  # one at a time: less memory, and their gradients do not meet
                loss = (forward(student, part).float() - target).square().sum(1).mean()
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.item() / len(students)
        check_finite(total, step + 1)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        loss_average = total if math.isnan(loss_average) else loss_average + 0.02 * (total - loss_average)
        progress(f"Students, p = {p}", step, settings.steps, {"loss": loss_average})
        if checkpoint.due():
            save()
    save()
    for student in students:
        student.eval().requires_grad_(False)
    return Ensemble(teacher, students, mean, std)


def _weights_hash(network: PatchNetwork) -> str:
    digest = hashlib.sha256(repr(network.settings).encode())
    for tensor in network.state_dict().values():
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _image_of_step(source: ImageSource, indices: Sequence[int], step: int, seed: int) -> Tensor:
    epoch, position = divmod(step, len(indices))
    order = np.random.default_rng([seed, 0, epoch]).permutation(len(indices))
    return source[indices[int(order[position])]]


def _random_patches(source: ImageSource, indices: Sequence[int], p: int, seed: int) -> Tensor:
    """Normalised patches [256, 3, p, p] from random places of random images, to initialise on."""
    rng = np.random.default_rng([seed, 2])
    patches = []
    for index in rng.choice(len(indices), _INIT_PATCHES):
        padded = pad_images(normalize_images(source[indices[int(index)]][None]).float(), p // 2)
        top, left = (int(rng.integers(size - p + 1)) for size in padded.shape[2:])
        patches.append(padded[:, :, top : top + p, left : left + p])
    return torch.cat(patches)
