"""Training the students: each learns to predict the teacher's descriptors of good images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from stadx.core.memory import keep_freed_memory
from stadx.core.progress import Progress, silent
from stadx.core.torch_state import drawn_apart
from stadx.data.source import ImageSource
from stadx.networks.border import computed_pixels
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
from stadx.networks.windows import TensorRows, padded_window

from .batches import Batches, mean_inside
from .division import Division
from .ensemble import Ensemble
from .settings import TRAINING, DetectorSettings
from .targets import TeacherTargets

_CPU = torch.device("cpu")
_INIT_PATCHES = 256
_CHECKS = 20  # how often training looks at it


class TrainedStudents(NamedTuple):
    """What `train_students` returns.

    Attributes:
        ensemble: teacher, students, µ and σ.
        history: at every twentieth of the steps, "step", "loss" (a running mean over the crops trained on, which lie
            where it is high) and, with held-out images, "held_out" (over crops anywhere).
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
    progress: Progress = silent,
    checkpoint_path: str | None = None,
    device: torch.device = _CPU,
) -> TrainedStudents:
    """Train M students on the images `indices` of `source`; the loss is Eq. 7.

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
        progress: told "Students, p = 33", the step, the "loss" per student and the "held-out" loss.
        checkpoint_path: file to resume from and save to; kept when training is complete.
        device: where to train; what is returned is on the CPU.

    Raises:
        DataError, ModelFileError, OutputError, StadxError: as their messages say.
    """
    p = teacher.patch_size
    generator = torch.Generator().manual_seed(1000 * settings.seed + p)
    with drawn_apart():  # these initial weights are drawn in vain
        students = [PatchNetwork(**teacher.settings) for _ in range(settings.students)]  # type: ignore[arg-type]
    modules: dict[str, nn.Module] = {f"student{i}": s for i, s in enumerate(students)}
    key: dict[str, Any] = {name: getattr(settings, name) for name in TRAINING}
    key |= {"images": source.fingerprint(), "held_in": list(indices), "teacher": _weights_hash(teacher)}
    key["roi"] = source.roi_fingerprint()
    key["value_range"] = None if source.value_range.is_plain else source.value_range.to_json()
    inside = settings.border == "inside"
    # other borders are among the teacher's settings; None is what checkpoints of previous versions have
    key |= {"border": "inside" if inside else None, "folds": [list(part) for part in folds] or None}
    key |= {"start": start and [_weights_hash(s) for s in start.students], "repeats": list(repeats) or None}
    checkpoint = Checkpoint(checkpoint_path, key, arithmetic(settings.precision, device))
    for network in (teacher, *students):
        channels_last(network)
    teacher.to(device)
    # going on takes few crops: describing all of an image would cost more than them
    targets = TeacherTargets(teacher, source, indices, 0 if start else None, inside)
    saved = checkpoint.load()
    if saved is None:
        step, loss_average, best = 0, math.nan, _Best()
        history: list[dict[str, float]] = []
        if start is None:
            mean, std = targets.statistics(progress)
            patches = _random_patches(source, indices, p, settings)
            for student in students:
                student.init_from_data(patches, generator)
        else:
            mean, std = start.mean.to(device), start.std.to(device)
            for student, learned in zip(students, start.students, strict=True):
                student.load_state_dict(learned.state_dict())
    for student in students:
        student.to(device)
    weights = [w for s in students for w in s.parameters()]
    optimizer = make_optimizer(
        settings.optimizer, weights, settings.learning_rate, settings.weight_decay, settings.precision
    )
    learning_rate = float(optimizer.defaults["lr"])
    if saved is not None:
        state, tensors = saved
        step, loss_average, history = state["step"], state["loss"], state["history"]
        mean, std = tensors["mean"].to(device), tensors["std"].to(device)
        best = _Best.restored(state["best"], tensors)
        restore_training_state(modules, optimizer, tensors)
    batches = Batches(targets, settings, mean, std, folds, repeats)
    if saved is not None:
        batches.focus.losses = saved[1]["focus"]

    def save() -> None:
        tensors = {"mean": mean, "std": std, "focus": batches.focus.losses, **best.tensors}
        tensors.update(training_state(modules, optimizer))
        checkpoint.save({"step": step, "loss": loss_average, "history": history, "best": best.state}, tensors)

    parts = folds or ([held_out] * len(students) if held_out else [])
    watched = [  # with fewer images than students some leave none out
        (student, batches.held_out(TeacherTargets(teacher, source, part, 0, inside), part))
        for student, part in zip(students, parts, strict=False)
        if part
    ]

    def descend(part: Tensor, target: Tensor, learns: Tensor, weight: Tensor) -> Tensor:
        """Losses of a step, [B, h', w'], of the students that learn [M, B] from an image; they take it."""
        optimizer.zero_grad()
        losses = torch.zeros_like(target[:, 0])
        count = learns.sum(0)[:, None, None]
        for student, mine in zip(students, learns, strict=True):  # one at a time: less memory
            rows: Any = ...
            if folds and not part.is_cuda:  # a recorded step cannot leave images out, nor ask whether to
                rows = mine.nonzero()[:, 0]
                if len(rows) == 0:
                    continue
            loss, mine = batches.loss(student, part[rows], target[rows]), mine[rows]
            if weight.numel():
                mean = mean_inside(loss, weight[rows] * mine[:, None, None])
            else:
                mean = (loss.mean((1, 2)) * mine).sum() / mine.sum().clamp_min(1) if folds else loss.mean()
            mean.backward()  # type: ignore[no-untyped-call]
            losses[rows] += loss.detach() * mine[:, None, None] / count[rows]
        optimizer.step()
        return losses

    take_step = GraphedStep(descend)
    while step < settings.steps and not best.is_over(settings.patience):
        set_learning_rate(optimizer, learning_rate * learning_rate_factor(step, settings.steps, settings.schedule))
        batch = batches.of_step(step)
        losses = take_step(batch.part, batch.target, batch.learns.to(device), batch.weight)
        total = mean_inside(losses, batch.weight).item()
        check_finite(total, step + 1, checkpoint)
        batches.seen(batch, losses)
        step += 1
        loss_average = total if math.isnan(loss_average) else loss_average + 0.02 * (total - loss_average)
        if step % max(1, settings.steps // _CHECKS) == 0:
            history.append({"step": step, "loss": round(loss_average, 4)})
            if watched:
                with torch.no_grad():
                    held = [mean_inside(batches.loss(s, x.part, x.target), x.weight).item() for s, x in watched]
                history[-1]["held_out"] = round(sum(held) / len(held), 4)
                if settings.patience:
                    best.update(history[-1]["held_out"], modules)
        progress(f"Students, p = {p}", step, settings.steps, _figures(loss_average, history))
        if checkpoint.due():
            save()
    save()
    best.put_back(modules)
    for student in students:
        student.eval().requires_grad_(False)
    for network in (teacher, *students):
        network.cpu()
    return TrainedStudents(Ensemble(teacher, students, mean.cpu(), std.cpu(), inside), history)


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
) -> tuple[list[Ensemble], list[list[dict[str, float]]]]:
    """Ensembles and histories of all scales: `train_students` one after the other.

    Args:
        teachers, files, starts: of every scale; `checkpoint_path` and `start` there.
        division: of the images of `source`.
    """
    trained = [
        train_students(
            teacher,
            source,
            division.learned,
            settings,
            held_out=division.held_out,
            folds=division.folds,
            start=start,
            repeats=repeats,
            progress=progress,
            checkpoint_path=file,
            device=device,
        )
        for teacher, file, start in zip(teachers, files, starts or [None] * len(teachers), strict=True)
    ]
    return [scale.ensemble for scale in trained], [scale.history for scale in trained]


def _figures(loss: float, history: list[dict[str, float]]) -> dict[str, float]:
    figures = {"loss": loss}
    if history and "held_out" in history[-1]:
        figures["held-out"] = history[-1]["held_out"]
    return figures


class _Best:
    """The students of the lowest loss on held-out images so far."""

    def __init__(self) -> None:
        self.state: dict[str, float] = {"loss": math.inf, "since": 0}
        self.tensors: dict[str, Tensor] = {}

    @staticmethod
    def restored(state: dict[str, float], tensors: dict[str, Tensor]) -> _Best:
        """From a checkpoint."""
        best = _Best()
        best.state = {"loss": float(state["loss"]), "since": state["since"]}
        best.tensors = {k: v for k, v in tensors.items() if k.startswith("best.")}
        return best

    def update(self, loss: float, modules: dict[str, nn.Module]) -> None:
        self.state["since"] += 1
        if loss < self.state["loss"]:
            self.state = {"loss": loss, "since": 0}
            self.tensors = {f"best.{n}.{k}": v.clone() for n, m in modules.items() for k, v in m.state_dict().items()}

    def is_over(self, patience: int) -> bool:
        """Whether the loss has not fallen at the last `patience` looks."""
        return 0 < patience <= self.state["since"]

    def put_back(self, modules: dict[str, nn.Module]) -> None:
        if self.tensors:
            for name, module in modules.items():
                module.load_state_dict({k: self.tensors[f"best.{name}.{k}"] for k in module.state_dict()})


def _weights_hash(network: PatchNetwork) -> str:
    digest = hashlib.sha256(repr(network.settings).encode())
    for tensor in network.state_dict().values():
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _random_patches(source: ImageSource, indices: Sequence[int], p: int, settings: DetectorSettings) -> Tensor:
    """Normalised patches [256, 3, p, p] from random places of random images, to initialise on."""
    rng = np.random.default_rng([settings.seed, 2])
    patches = []
    for index in rng.choice(len(indices), _INIT_PATCHES):
        image = source[indices[int(index)]]
        computed = computed_pixels(image.shape[1], image.shape[2], p, settings.border == "inside")
        mask = source.inside(indices[int(index)])
        if mask is None:
            top, left = (int(rng.integers(span.begin, span.end)) for span in computed)
        else:
            places = computed.of(mask).nonzero()
            place = places[int(rng.integers(len(places)))].tolist()
            top, left = (span.begin + at for span, at in zip(computed, place, strict=True))
        window = padded_window(TensorRows(image), (top, top + p), (left, left + p), p // 2, "reflect")
        patches.append(window.permute(2, 0, 1))
    return torch.stack(patches).contiguous()
