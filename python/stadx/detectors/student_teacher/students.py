"""Training the students: each learns to predict the teacher's descriptors of good images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stadx.core.memory import keep_freed_memory
from stadx.core.progress import Progress, silent
from stadx.core.torch_state import drawn_apart
from stadx.data.photos.reading import Photo, fingerprint_photos
from stadx.data.source import ImageSource
from stadx.networks.graphed_step import GraphedStep
from stadx.networks.patch_network import PatchNetwork, channels_last
from stadx.networks.training import (
    Checkpoint,
    arithmetic,
    check_finite,
    learning_rate_factor,
    make_optimizer,
    restore_training_state,
    set_learning_rate,
    training_state,
)

from .batches import Batches
from .best_students import BestStudents
from .channel_weights import mean_of_students, weighted
from .division import Division
from .ensemble import Ensemble
from .first_patches import random_patches
from .losses import mean_inside, mean_of_hardest, mean_of_learned, penalty
from .settings import TRAINING, DetectorSettings
from .sharing import Share, joined, shares
from .targets import TeacherTargets

_CPU = torch.device("cpu")
_CHECKS, _CHECKS_GOING_ON = 20, 4  # how often training looks at held-out loss, which takes as long as a step


class TrainedStudents(NamedTuple):
    """What `train_students` returns.

    Attributes:
        ensemble: teacher, students, µ and σ.
        history: at every twentieth of the steps, of an update without `patience` at every quarter, "step", "loss" (a
            running mean over the crops trained on, which lie where it is high) and, with held-out images, "held_out"
            (over crops anywhere).
    """

    ensemble: Ensemble
    history: list[dict[str, float]]


@keep_freed_memory()  # of one scale: what it frees is in pieces, and would not serve the next
def train_students(
    teacher: PatchNetwork,
    source: ImageSource,
    indices: Sequence[int],
    settings: DetectorSettings,
    *,
    held_out: Sequence[int] = (),
    folds: Sequence[Sequence[int]] = (),
    start: Ensemble | None = None,
    repeats: Sequence[int] = (),
    photos: Sequence[Photo] = (),
    progress: Progress = silent,
    checkpoint_path: str | None = None,
    device: torch.device = _CPU,
    share: Share | None = None,
) -> TrainedStudents:
    """Train M students on the images `indices` of `source`; the loss is Eq. 7, or what `hard_share` makes of it.

    A step sees crops of `batch` images, in an order drawn anew each epoch; every random choice follows from the seed
    and the step, so that a run resumed from its checkpoint is the run that was never stopped.

    Args:
        teacher: the frozen teacher T.
        source: training images.
        indices: those to train on.
        settings: those of `TRAINING` count.
        held_out: images whose loss is watched; needed for `patience`.
        folds: parts of `indices`, of each student the one that it does not learn from, whose loss is watched instead.
        start: whose students go on learning, with its µ and σ; None: new ones.
        repeats: how often each of `indices` is seen in an epoch, see `Batches`.
        photos: on which students are to say nothing, see `penalty`; none: that is not asked of them.
        progress: told "Students, p = 33", the step, the "loss" per student and the "held-out" loss.
        checkpoint_path: file to resume from and save to; kept when training is complete.
        device: where to train; what is returned is on the CPU.
        share: which of the students this process trains; it returns all. None: all of them.

    Raises:
        DataError, ModelFileError, OutputError, StadxError: as their messages say.
    """
    p = teacher.patch_size
    generator = torch.Generator().manual_seed(1000 * settings.seed + p)
    with drawn_apart():  # these initial weights are drawn in vain
        students = [PatchNetwork(**teacher.settings) for _ in range(settings.students)]  # type: ignore[arg-type]
    share = share or Share(len(students))
    own = [students[i] for i in share.own]
    modules: dict[str, nn.Module] = {f"student{i}": students[i] for i in share.own}
    steps = settings.steps_of(p)
    key: dict[str, Any] = {name: getattr(settings, name) for name in TRAINING} | {"steps": steps}
    key |= {"images": source.fingerprint(), "held_in": list(indices), "teacher": _weights_hash(teacher)}
    key["roi"] = source.roi_fingerprint()
    key["value_range"] = None if source.value_range.is_plain else source.value_range.to_json()
    inside = settings.is_inside(p) if start is None else start.inside
    # other borders are among the teacher's settings; None is what checkpoints of previous versions have
    key |= {"border": "inside" if inside else None, "folds": [list(part) for part in folds] or None}
    key |= {"start": start and [_weights_hash(s) for s in start.students], "repeats": list(repeats) or None}
    start = start and weighted(start, 0.0)
    key["penalty"] = fingerprint_photos(photos) if photos else None
    checkpoint = Checkpoint(checkpoint_path, key, arithmetic(settings.precision, device))
    for network in (teacher, *students):
        channels_last(network)
    teacher.to(device)
    # going on takes few crops: describing all of an image would cost more than them
    targets = TeacherTargets(teacher, source, indices, 0 if start else None, inside)
    saved = checkpoint.load()
    if saved is None:
        step, loss_average, best = 0, math.nan, BestStudents()
        history: list[dict[str, float]] = []
        if start is None:
            mean, std = targets.statistics(progress, share)
            patches = random_patches(source, indices, p, settings)
            for student in students:
                student.init_from_data(patches, generator)
        else:
            mean, std = start.mean.to(device), start.std.to(device)
            for student, learned in zip(students, start.students, strict=True):
                student.load_state_dict(learned.state_dict())
    for student in own:
        student.to(device)
    weights = [w for s in own for w in s.parameters()]
    optimizer = make_optimizer(
        settings.optimizer, weights, settings.learning_rate, settings.weight_decay, settings.precision
    )
    learning_rate = float(optimizer.defaults["lr"])
    if saved is not None:
        state, tensors = saved
        step, loss_average, history = state["step"], state["loss"], state["history"]
        mean, std = tensors["mean"].to(device), tensors["std"].to(device)
        best = BestStudents.restored(state["best"], tensors)
        restore_training_state(modules, optimizer, tensors)
    batches = Batches(targets, settings, mean, std, folds, repeats, photos)
    if saved is not None:
        batches.focus.losses = saved[1]["focus"]

    def save() -> None:
        tensors = {"mean": mean, "std": std, "focus": batches.focus.losses}
        tensors |= share.joined({**best.tensors, **training_state(modules, optimizer)})
        if share.is_first:
            checkpoint.save({"step": step, "loss": loss_average, "history": history, "best": best.state}, tensors)

    parts = folds or ([held_out] * len(students) if held_out else [])
    unseen = {  # with fewer images than students some leave none out
        i: TeacherTargets(teacher, source, parts[i], 0, inside) for i in share.own if i < len(parts) and parts[i]
    }
    watched = {i: batches.held_out(targets, parts[i]) for i, targets in unseen.items()}

    def descend(part: Tensor, target: Tensor, learns: Tensor, weight: Tensor, photo: Tensor) -> Tensor:
        """Take a step. Own students' parts, [own, B, h', w'], of Eq. 7, the mean of those that learn [M, B]."""
        optimizer.zero_grad()
        losses = torch.zeros_like(target[:, 0]).repeat(len(own), 1, 1, 1)
        count = learns.sum(0)[:, None, None]
        for place, student in enumerate(own):  # one at a time: less memory
            mine = learns[share.own[place]]
            rows: Any = ...
            if folds and not part.is_cuda:  # a recorded step cannot leave images out, nor ask whether to
                rows = mine.nonzero()[:, 0]
                if len(rows) == 0:
                    continue
            squares, mine = batches.squares(student, part[rows], target[rows]), mine[rows]
            seen = weight[rows] if weight.numel() else weight
            loss = squares.sum(1)
            if settings.hard_share is None:
                mean = mean_of_learned(loss, mine, seen, all_learn=not folds)
            else:
                mean = mean_of_hardest(squares, settings.hard_share, mine, seen)
            if photo.numel():  # of those that learn from an image of the step, as they alone take it
                mean = mean + penalty(batches.predicted(student, photo, target)) * mine.max()
            mean.backward()  # type: ignore[no-untyped-call]
            losses[place, rows] = loss.detach() * mine[:, None, None] / count[rows]
        optimizer.step()
        return losses

    checks = _CHECKS if start is None or settings.patience else _CHECKS_GOING_ON
    take_step = GraphedStep(descend)
    while step < steps and not best.is_over(settings.patience):
        set_learning_rate(optimizer, learning_rate * learning_rate_factor(step, steps, settings.schedule))
        batch = batches.of_step(step)
        losses = share.total(take_step(batch.part, batch.target, batch.learns.to(device), batch.weight, batch.photo))
        total = mean_inside(losses, batch.weight).item()
        check_finite(total, step + 1, checkpoint)
        batches.seen(batch, losses)
        step += 1
        loss_average = total if math.isnan(loss_average) else loss_average + 0.02 * (total - loss_average)
        if step % max(1, steps // checks) == 0:
            history.append({"step": step, "loss": round(loss_average, 4)})
            with torch.no_grad():
                held = share.joined(
                    {
                        i: mean_inside(batches.loss(students[i], x.part, x.target), x.weight).item()
                        for i, x in watched.items()
                    }
                )
            if held:
                history[-1]["held_out"] = round(sum(held[i] for i in sorted(held)) / len(held), 4)
                if settings.patience:
                    best.update(history[-1]["held_out"], modules)
        progress(f"Students, p = {p}", step, steps, _figures(loss_average, history))
        if share.agreed(checkpoint.due()):
            save()
    save()
    best.put_back(modules)
    errors: dict[int, Tensor] = {}
    weighs = bool(settings.channel_weight or settings.scale_weight)
    if weighs and (start is None or start.channel_errors is not None):
        errors = share.joined({i: batches.channel_errors(students[i], unseen[i], parts[i]) for i in watched})
    states = share.joined({i: students[i].cpu().state_dict() for i in share.own})
    for i, student in enumerate(students):
        student.load_state_dict(states[i])
    for student in students:
        student.eval().requires_grad_(False)
    for network in (teacher, *students):
        network.cpu()
    channel_errors = mean_of_students([errors[i] for i in sorted(errors)])
    ensemble = Ensemble(teacher, students, mean.cpu(), std.cpu(), inside, channel_errors)
    return TrainedStudents(weighted(ensemble, settings.channel_weight), history)


def train_scales(
    teachers: Sequence[PatchNetwork],
    source: ImageSource,
    division: Division,
    settings: DetectorSettings,
    *,
    progress: Progress,
    files: Sequence[str | None],
    device: torch.device,
    starts: Sequence[Ensemble | None] = (),
    repeats: Sequence[int] = (),
    photos: Sequence[Photo] = (),
) -> tuple[list[Ensemble], list[list[dict[str, float]]]]:
    """Ensembles and histories of all scales: `train_students` one after the other, or shared out to processes.

    Args:
        teachers, files, starts: of every scale; `checkpoint_path` and `start` there.
        division: of the images of `source`.
    """
    trained = {
        scale: train_students(
            teacher,
            source,
            division.learned,
            settings,
            held_out=division.held_out,
            folds=division.folds,
            start=starts[scale] if starts else None,
            repeats=repeats,
            photos=photos,
            progress=progress,
            checkpoint_path=files[scale],
            device=device,
            share=share,
        )
        for scale, (teacher, share) in enumerate(zip(teachers, shares(len(teachers), settings.students), strict=True))
        if share.is_mine
    }
    trained = joined(trained)
    return [trained[i].ensemble for i in range(len(teachers))], [trained[i].history for i in range(len(teachers))]


def _figures(loss: float, history: list[dict[str, float]]) -> dict[str, float]:
    figures = {"loss": loss}
    if history and "held_out" in history[-1]:
        figures["held-out"] = history[-1]["held_out"]
    return figures


def _weights_hash(network: PatchNetwork) -> str:
    digest = hashlib.sha256(repr(network.settings).encode())
    for tensor in network.state_dict().values():
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
