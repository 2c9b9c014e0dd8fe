"""One class is good, the others are not: whole small images as patches (Bergmann et al. 2020, Tables 2, 6 and 7)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stadx import ops
from stadx.core.devices import usable_device
from stadx.core.errors import DataError
from stadx.core.files import check_writable, file_hash, write_bytes
from stadx.core.progress import Progress, silent
from stadx.core.version import versions
from stadx.data.labeled import LabeledSet, read_labeled
from stadx.detectors.student_teacher.normalization import Normalization
from stadx.detectors.student_teacher.targets import usable_deviations
from stadx.detectors.thresholds import split
from stadx.metrics import auroc
from stadx.networks.graphed_step import GraphedStep
from stadx.networks.patch_network import PatchNetwork, channels_last, normalize_images
from stadx.networks.training import (
    autocast,
    check_finite,
    learning_rate_factor,
    make_optimizer,
    set_learning_rate,
)
from stadx.networks.winograd import run_layers
from stadx.teachers.teacher_files import load_teachers, shipped_teacher

from .settings import OneClassSettings

_AT_ONCE = 256
_INIT_PATCHES = 256


@dataclass(frozen=True)
class OneClassResult:
    """AUROC over the test set with one class as good, of the error, the variance, and both (Eq. 11).

    `note` is that of the `LabeledSet`.
    """

    normal: str
    e: float
    v: float
    both: float
    note: str = ""


class OneClassEnsemble:
    """Students of one class of images, each image one patch.

    Args:
        teacher: the patch network T̂.
        settings: see `OneClassSettings`.
        device: where to train and score.
    """

    def __init__(self, teacher: PatchNetwork, settings: OneClassSettings, device: torch.device) -> None:
        self.settings = settings
        self.device = device
        self.teacher = teacher.to(device)
        channels_last(self.teacher)
        self.students = [PatchNetwork(**teacher.settings) for _ in range(settings.students)]  # type: ignore[arg-type]

    def fit(self, patches: Tensor, progress: Progress = silent, label: str = "Students") -> OneClassEnsemble:
        """Learn from patches uint8 [N, 3, p, p] of the class."""
        s = self.settings
        held_in, held_out = split(len(patches), s.held_out, s.seed)
        rest, patches = patches[held_out], patches[held_in]
        targets = self._described([self.teacher], patches, progress, f"{label}, teacher's descriptors")[0]
        std, self.mean = torch.std_mean(targets.double(), dim=0, correction=0)
        self.mean, self.std = self.mean.float(), usable_deviations(std).float()
        targets = (targets - self.mean) / self.std
        generator = torch.Generator().manual_seed(s.seed)
        first = np.random.default_rng([s.seed, 1]).choice(len(patches), min(_INIT_PATCHES, len(patches)), replace=False)
        for student in self.students:
            student.init_from_data(normalize_images(patches[torch.from_numpy(first)]), generator)
            student.to(self.device)
            channels_last(student)
        weights = [w for student in self.students for w in student.parameters()]
        optimizer = make_optimizer(s.optimizer, weights, s.learning_rate, s.weight_decay, s.precision)
        rate, shown = float(optimizer.defaults["lr"]), float("nan")

        def descend(x: Tensor, target: Tensor) -> Tensor:
            """The loss of a step, the mean over the students; they take it."""
            optimizer.zero_grad()
            total = torch.zeros((), device=self.device)
            for student in self.students:
                with autocast(s.precision, self.device):
                    predicted = run_layers(student.layers, x).flatten(1)
                loss = (predicted.float() - target).square().sum(1).mean()
                loss.backward()  # type: ignore[no-untyped-call]
                total = total + loss.detach() / s.students
            optimizer.step()
            return total

        take_step = GraphedStep(descend)
        for step in range(s.steps):
            set_learning_rate(optimizer, rate * learning_rate_factor(step, s.steps, s.schedule))
            chosen = torch.from_numpy(_batch(len(patches), s.batch, s.seed, step))
            total = take_step(self._ready(patches[chosen]), targets[chosen.to(self.device)]).item()
            check_finite(total, step + 1)
            shown = total if step == 0 else shown + 0.05 * (total - shown)
            progress(label, step + 1, s.steps, {"loss": shown})
        for student in self.students:
            student.eval().requires_grad_(False)
        self.normalization = Normalization.of([self.error_and_variance(rest, progress, f"{label}, held-out images")])
        return self

    def error_and_variance(
        self, patches: Tensor, progress: Progress = silent, label: str = "Test images"
    ) -> tuple[Tensor, Tensor]:
        """e and v (Eqs. 9 and 10) of patches uint8 [N, 3, p, p]: float32 [N] each, on the CPU."""
        maps = self._described([self.teacher, *self.students], patches, progress, label)[..., None, None]
        e, v = ops.ensemble_score(maps[1:], maps[0], self.mean, self.std)
        return e.flatten().cpu(), v.flatten().cpu()

    def descriptors(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's descriptors as the students learn them, ŷ [N, d], and the students' own [M, N, d]; float32."""
        described = self._described([self.teacher, *self.students], patches)
        return ((described[0] - self.mean) / self.std).cpu(), described[1:].cpu()

    @torch.no_grad()
    def _described(
        self, networks: Sequence[PatchNetwork], patches: Tensor, progress: Progress = silent, label: str = ""
    ) -> Tensor:
        """Descriptors [networks, N, d] on the device."""
        pieces = torch.split(patches, _AT_ONCE)
        found: list[list[Tensor]] = [[] for _ in networks]
        for done, piece in enumerate(pieces, 1):
            x = self._ready(piece)
            for network, parts in zip(networks, found, strict=True):
                parts.append(run_layers(network.layers, x).flatten(1))
            progress(label, done, len(pieces), {})
        return torch.stack([torch.cat(parts) for parts in found])

    def _ready(self, patches: Tensor) -> Tensor:
        return normalize_images(patches.to(self.device)).contiguous(memory_format=torch.channels_last)


def _batch(count: int, batch: int, seed: int, step: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Which images a step sees: every one once before any comes again."""
    chosen: list[int] = []
    for number in range(step * batch, (step + 1) * batch):
        epoch, position = divmod(number, count)
        if position == 0 or not chosen:
            order = np.random.default_rng([seed, 0, epoch]).permutation(count)
        chosen.append(int(order[position]))
    return np.array(chosen, np.int64)


def zoomed(images: Tensor, side: int) -> Tensor:
    """Images uint8 [N, C, H, W] resized to side x side, uint8."""
    parts = [
        F.interpolate(x.float(), (side, side), mode="bilinear", antialias=True).round_().clamp_(0, 255).to(torch.uint8)
        for x in torch.split(images, 4096)
    ]
    return torch.cat(parts)


def run_one_class(
    place: str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: OneClassSettings | None = None,
    *,
    normal: Sequence[str] = (),
    teacher: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    progress: Progress = silent,
) -> list[OneClassResult]:
    """Take each class in turn as the good one, and measure how well the others are told from it.

    Every class is written to `out` when it is done; a run that was stopped goes on with the next.

    Args:
        place: data as `read_labeled` takes it.
        out: JSON file.
        settings: see `OneClassSettings`.
        normal: names of the classes to take; all by default.
        teacher: teacher file; None takes the one that comes with stadx.
        device: where to train and score.
        progress: told the class and the step.

    Raises:
        DataError, ModelFileError, OutputError, StadxError: as their messages say.
        ValueError: for a device that is not there.
    """
    settings = settings or OneClassSettings()
    where = usable_device(device)
    check_writable(out)
    file = Path(teacher or shipped_teacher(settings.patch_size))
    (network,) = load_teachers((settings.patch_size,), [file])
    data = read_labeled(place, progress)
    for name in normal:
        if name not in data.classes:
            raise DataError(f"{place}: has no class {name!r}; it has {', '.join(data.classes)}")
    key = {
        **asdict(settings),
        "teacher": file_hash(file),
        "data": fingerprint_labeled(data),
    }
    results = _read(out, key)
    test = zoomed(data.test.images, settings.patch_size)
    for name in normal or data.classes:
        if name in results:
            continue
        label = data.classes.index(name)
        ensemble = OneClassEnsemble(network, settings, where)
        train = zoomed(data.train.images[data.train.labels == label], settings.patch_size)
        if len(train) < 2:
            raise DataError(f"{place}: class {name!r} has {len(train)} training images; two or more are needed")
        ensemble.fit(train, progress, f"Class {name}")
        e, v = ensemble.error_and_variance(test, progress, f"Class {name}, test images")
        others = (data.test.labels != label).numpy()
        both = ensemble.normalization.score(e, v)
        of_e, of_v, of_both = (auroc(x.numpy(), others) for x in (e, v, both))
        results[name] = OneClassResult(name, of_e, of_v, of_both, data.note)
        content = {"settings": key, "versions": versions(), "results": [asdict(r) for r in results.values()]}
        write_bytes(out, (json.dumps(content, indent=2) + "\n").encode("ascii"))
    return [results[name] for name in normal or data.classes]


def fingerprint_labeled(data: LabeledSet) -> str:
    """Tells this data from other."""
    digest = hashlib.sha256()
    for part in (data.train, data.test):
        digest.update(part.images.numpy().tobytes())
        digest.update(part.labels.numpy().tobytes())
    return digest.hexdigest()


def _read(out: str | os.PathLike[str], key: dict[str, Any]) -> dict[str, OneClassResult]:
    """Results of the same settings that are there already."""
    if not os.path.exists(out):
        return {}
    try:
        content = json.loads(Path(out).read_bytes())
        if content["settings"] != key:
            other = [k for k in key if content["settings"].get(k) != key[k]]
            raise DataError(
                f"{out}: holds results of other settings ({', '.join(other)}); delete it, or name another file"
            )
        return {r["normal"]: OneClassResult(**r) for r in content["results"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{out}: is no file of results ({error}); delete it, or name another file") from error


def table(results: Sequence[OneClassResult]) -> str:
    """AUROC in Markdown, with the mean; below it what is to be known of the data."""
    lines = ["| good class | e | v | e and v |", "|---|---|---|---|"]
    for r in results:
        lines.append(f"| {r.normal} | {r.e:.4f} | {r.v:.4f} | {r.both:.4f} |")
    means = [sum(getattr(r, k) for r in results) / len(results) for k in ("e", "v", "both")]
    lines.append("| mean | " + " | ".join(f"{m:.4f}" for m in means) + " |")
    notes = sorted({f"\n{r.note}" for r in results if r.note})
    return "\n".join([*lines, *notes]) + "\n"
