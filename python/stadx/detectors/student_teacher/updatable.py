"""A detector whose students learn further good images, and that knows where it comes from."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from stadx.core.errors import DataError, DataWarning
from stadx.core.memory import keep_freed_memory
from stadx.core.progress import Progress, silent
from stadx.core.settings import check
from stadx.core.torch_state import usual_torch
from stadx.data.frames import Channels
from stadx.data.roi import Roi, RoiInput
from stadx.data.source import ImageInput, ImageSource
from stadx.data.value_range import BYTES
from stadx.networks.choices import Padding
from stadx.networks.dense import check_stride

from ..lineage import Entry, new_entry
from ..thresholds import HeldOutScores
from .calibration import check_region
from .channel_weights import weighted
from .division import Division
from .kinds import kinds_apart
from .known_images import UNLEARNED, KnownImages, left_out_of
from .memory import Memory
from .model_file import model_hash
from .on_device import DetectorOnDevice
from .ranking import Looks, Ranked, Ranking, chosen, worth
from .settings import DetectorSettings
from .update import OWN_THRESHOLD, STEPS, Gathered, Updated, gather, proven, region_for_update, updated

Self = TypeVar("Self", bound="UpdatableDetector")


class UpdatableDetector(DetectorOnDevice):
    """What `Detector` has beside training and scoring: updates, and where it comes from.

    Attributes:
        lineage_: its training and each update, oldest first; empty for files of previous versions.
        known_: the images of all of them, by their hashes.
        memory_: images that are kept, see `memory_bytes`.
    """

    history_: list[list[dict[str, float]]]
    lineage_: list[Entry]
    known_: KnownImages
    memory_: Memory

    def __post_init__(self, padding: Padding | None) -> None:
        super().__post_init__(padding)
        self._checkpoints: list[Path] = []
        self.lineage_, self.known_, self.memory_ = [], KnownImages(), Memory()

    def _checkpoint_files(self, prefix: str | os.PathLike[str] | None) -> list[str | None]:
        """Where the training of each scale is resumed from."""
        return [None if prefix is None else f"{os.fspath(prefix)}-p{p}" for p in self.scales]

    def _learned(self: Self, files: Sequence[str | None]) -> Self:
        """Itself, whose `save` removes these files."""
        self._checkpoints = [Path(file) for file in files if file is not None]
        return self

    @usual_torch(learns=True)
    def update(
        self: Self,
        data: ImageInput,
        *,
        old: ImageInput | None = None,
        steps: int | None = None,
        progress: Progress = silent,
        checkpoint: str | os.PathLike[str] | None = None,
        roi: RoiInput | Roi | None = None,
        channels: Channels = "rgb",
    ) -> Self:
        """Learn further good images without forgetting the old ones.

        Students go on from where they are, with new and old images in equal shares; µ and σ stay. Statistics and
        thresholds follow anew from old and new images, each judged by a student that never learned from it. Without
        old images students would forget them: then they stay as they are, and thresholds alone follow, from the scores
        of the old images, which the model has, and of the new ones.

        Args:
            data: further good images, as in `fit`; those that the model knows count as old.
            old: those of the training and of previous updates, or some of them, beside those in `memory_`.
            steps: of the optimiser, per scale; None: a tenth of those of the training.
            progress, checkpoint, channels: as in `fit`.
            roi: as in `fit`, but masks of each image come from a folder; None: `roi_`.

        Returns:
            The detector itself, with another entry in `lineage_`. If it fails, the detector is as it was.

        Raises:
            DataError, ModelFileError, OutputError: as their messages say.
            ValueError: for steps that cannot be.
        """
        self.check_fitted()
        settings = copy.copy(self)
        settings.steps = max(1, round(STEPS * self.steps)) if steps is None else steps
        settings.seed = (self.seed + len(self.lineage_)) % 2**32
        check(settings)
        of_each = bool(self.lineage_) and self.lineage_[-1].get("roi") == "each"
        region = region_for_update(roi, self.roi_, of_each, self.memory_bytes)
        gathered = self._gather(data, old, region, channels, progress)
        check_region(gathered.source, self)
        files = self._checkpoint_files(checkpoint)
        parts = self.ensembles_, self.normalizations_, self.mean_map_, self._held_out_scores()
        result = updated(*parts, gathered, settings, files, progress, self.device, self.gpu_precision)
        kept = [student != UNLEARNED for student in result.left_out]
        memory = Memory.of(gathered.source, gathered.hashes, kept, self.memory_bytes)
        self._take(result, gathered, settings, region, memory)
        return self._learned(files)

    @keep_freed_memory()
    @usual_torch()
    def rank(
        self,
        data: ImageInput,
        *,
        channels: Channels = "rgb",
        roi: RoiInput | Roi | None = None,
        stride: int | None = None,
        top: int | None = None,
        progress: Progress = silent,
    ) -> Ranking:
        """Order images by what `update` would gain if a person looked at them and the good ones were learned.

        First come those that may be false alarms: near or above the image threshold, and unlike what was learned
        everywhere, rather than at a spot as a defect is. Each kind comes once before more of the same. Images that the
        model has learned from are left out. One image is held at a time.

        Args:
            data, channels: as in `fit`; nobody needs to know whether these images are good. One that cannot be read
                does not stop the others.
            top: how many are wanted; None: all, in order.
            stride: as in `score`.
            progress: told how far it is.
            roi: as in `fit`; None: `roi_`.

        Returns:
            The images in that order, and those that could not be read.

        Raises:
            DataError: if there are no images.
            ValueError: for an unknown stride, or `top` below 1.
        """
        self.check_fitted()
        if top is not None and top < 1:
            raise ValueError(f"top is {top}; give 1 or more")
        stride = self._stride(stride)
        check_stride(stride)
        given = self.roi_ if roi is None else roi
        region = given if given is None or isinstance(given, Roi) else Roi(given)
        source = ImageSource(data, None, 0, region, channels, self.value_range_ or BYTES)
        scorer = self._scorer_on(self.device, "auto")
        plain = [weighted(ensemble, 0.0) for ensemble in self.ensembles_]  # σ as it was measured
        how = self.working_size, stride, self.smoothing, self.top_share, self.mean_map_
        looks = Looks(scorer, plain, self.normalizations_, *how)
        known, failures = set(self.known_.hashes), dict[int, str]()
        numbers: list[int] = []
        found: list[tuple[list[float], NDArray[np.float32]]] = []
        for index in range(len(source)):
            try:
                image = source[index]  # before its hash, so that it is read once
                if source.hash_of(index) not in known:
                    found.append(looks(image, source.inside(index)))
                    numbers.append(index)
            except DataError as error:
                failures[index] = str(error)
            progress("Images", index + 1, len(source), {})
        images: list[Ranked] = []
        if found:
            figures = np.array([each for each, _ in found])
            threshold = self.image_threshold(stride)
            worths = worth(figures[:, 0], figures[:, 3], threshold, self.judged_scores(stride))
            for place, gain in chosen(worths, np.stack([each for _, each in found]), top):
                score, e, v, everywhere, novelty = figures[place].tolist()
                name, above = source.name_of(numbers[place]), score > threshold
                images.append(Ranked(numbers[place], name, score, above, e, v, everywhere, novelty, gain))
        left_out = len(source) - len(found) - len(failures)
        return Ranking(images, left_out if self.known_.has_learned else None, failures)

    def _gather(
        self, data: ImageInput, old: ImageInput | None, region: Roi | None, channels: Channels, progress: Progress
    ) -> Gathered:
        read: dict[str, Any] = {"size": self.working_size, "value_range": self.value_range_ or BYTES}
        new = ImageSource(data, roi=region, channels=channels, **read)
        known = self.known_.by_hash()
        sources: list[tuple[ImageSource, Sequence[str]]] = []
        if old is not None:
            given = ImageSource(old, roi=region, channels=channels, **read)
            hashes = [given.hash_of(index) for index in range(len(given))]
            parts = self.ensembles_, self.normalizations_, self, self._held_out_scores()
            known = known or proven(*parts, given, hashes, progress)
            sources.append((given, hashes))
        if self.memory_.files:
            own = None if self.roi_ is None else Roi(self.roi_)
            sources.append((ImageSource(self.memory_.images(), roi=own, **read), self.memory_.hashes))
        return gather(sources, new, known)

    def _take(
        self, result: Updated, gathered: Gathered, settings: DetectorSettings, region: Roi | None, memory: Memory
    ) -> None:
        """Become what an update made, and note it."""
        parent, before = self.model_hash(), {"pixel": self.threshold_, "image": self.image_threshold()}
        notes = result.notes + ([OWN_THRESHOLD] if self._own_image_threshold is not None else [])
        self.ensembles_, self.normalizations_, self.mean_map_ = result.ensembles, result.normalizations, result.mean_map
        self.memory_ = memory
        self._drop_scorer()
        self._calibrate(result.scores)
        self.history_ = result.history
        self.known_ = self.known_.with_images(gathered.hashes, result.left_out, len(self.lineage_))
        if region is not None:
            self.roi_ = None if region.share == 1 else region.mask
        scores, threshold = self.judged_scores(self.stride), self.image_threshold()
        kept = [False] * (len(scores) - len(result.judged))
        is_new = np.array(kept + [index >= gathered.old for index in result.judged], bool)
        apart = kinds_apart(scores, is_new, threshold, self.image_fpr, self._image_threshold_by)
        notes += [apart] if apart else []
        of_kind = {name: scores[is_new == kind] > threshold for name, kind in (("old", False), ("new", True))}
        entry = new_entry(
            "update" if result.learned else "thresholds",
            parent,
            images={"new": gathered.new, "old": gathered.old, "unknown": gathered.unknown},
            steps=settings.steps if result.learned else 0,
            seed=settings.seed,
            roi=_kind(region),
            judged={name: {"images": len(found), "flagged": int(found.sum())} for name, found in of_kind.items()},
            thresholds={"before": before, "after": {"pixel": self.threshold_, "image": threshold}},
            notes=notes,
        )
        self.lineage_ = [*self.lineage_, entry]
        for note in notes:
            warnings.warn(DataWarning(note), stacklevel=4)

    def _begin_lineage(self, source: ImageSource, division: Division, region: Roi | None) -> None:
        """Note a training."""
        hashes, left_out = [source.hash_of(index) for index in range(len(source))], left_out_of(division, len(source))
        self.known_ = KnownImages().with_images(hashes, left_out, 0)
        self.memory_ = Memory.of(source, hashes, [student != UNLEARNED for student in left_out], self.memory_bytes)
        images = {"new": len(source)}
        self.lineage_ = [new_entry("train", None, images=images, steps=self.steps, seed=self.seed, roi=_kind(region))]

    def model_hash(self) -> str:
        """SHA-256 of all that scores and thresholds follow from; the same however often the model is saved."""
        self.check_fitted()
        return model_hash(self.ensembles_, self.normalizations_, self._held_out_scores(), self.mean_map_)

    def origin(self) -> dict[str, Any]:
        """Where it comes from, as values that `json.dumps` takes: its hash, its lineage with the images' hashes."""
        lineage = [{**entry, "sha256": self.known_.of_entry(i)} for i, entry in enumerate(self.lineage_)]
        memory = {"images": len(self.memory_.files), "bytes": self.memory_.nbytes}
        return {"model": self.model_hash(), "lineage": lineage, "memory": memory}

    def _held_out_scores(self) -> HeldOutScores:
        return HeldOutScores(self.heldout_fprs_, self.heldout_scores_, self.heldout_image_scores_)


def _kind(region: Roi | None) -> str | None:
    """How many masks there are."""
    return None if region is None else "each" if region.mask is None else "one"
