"""Learning further good images: what is replayed, who judges, and how thresholds follow."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stadx.core.errors import DataError
from stadx.core.progress import Progress
from stadx.data.joined import JoinedSource
from stadx.data.photos.reading import Photo
from stadx.data.roi import Roi, RoiInput
from stadx.data.source import ImageSource

from ..thresholds import HeldOutScores, folds, joined_scores, split
from .calibration import calibrate, judges, unseen_errors
from .division import Division
from .ensemble import Ensemble
from .gpu_scorer import GpuPrecision
from .known_images import LEARNED, UNLEARNED, left_out_of
from .mean_map import MeanMap
from .normalization import Normalization
from .penalty_photos import photos_of
from .settings import DetectorSettings
from .students import train_scales

FORGETFUL = (
    "the model keeps no image that its students learned from, and none are given: they would forget them, so they stay "
    "as they are. Thresholds follow anew, from the old images' scores, which it has, and from these {images} images. "
    "To have them learned give the old images (old=, --old), or train with a memory (memory_bytes=, --memory 16MB)."
)
UNKNOWN = (
    "{images} of the old images are not known to the model, so any student may have learned from them: they are "
    "replayed, but do not judge. Thresholds, and what is said of false alarms, follow from the other images."
)
NO_PHOTOS = "{error}. The students go on without the penalty on photos that the model was trained with."
OWN_THRESHOLD = (
    "The image threshold that was chosen, as by stadx calibrate, belongs to the model before the update and is "
    "dropped; choose it again."
)
STEPS = 0.1
"""How many steps an update takes by default, as a share of those of a training."""
_SAME = 1e-2  # by how much image scores computed again may differ, in units of their deviation


class Gathered(NamedTuple):
    """All images that an update has, each once.

    Attributes:
        source: old ones first.
        hashes: of each.
        left_out: of each the student that left it out so far, `LEARNED` or `UNLEARNED`.
        old: how many are old; of those in the memory, given, or among the new ones.
        unknown: of how many old ones it is not known who left them out.
    """

    source: JoinedSource
    hashes: list[str]
    left_out: list[int]
    old: int
    unknown: int

    @property
    def new(self) -> int:
        """How many are new."""
        return len(self.hashes) - self.old


def gather(old: Sequence[tuple[ImageSource, Sequence[str]]], new: ImageSource, known: Mapping[str, int]) -> Gathered:
    """Put old and new images together.

    Args:
        old: sources of images that were learned from, with their hashes.
        new: images to learn from; those that are known count as old.
        known: who left an image out, by hash.

    Raises:
        DataError: if none is new.
    """
    picked: dict[str, tuple[ImageSource, int]] = {}
    for source, hashes in old:
        for index, key in enumerate(hashes):
            picked.setdefault(key, (source, index))
    fresh: dict[str, tuple[ImageSource, int]] = {}
    for index in range(len(new)):
        key = new.hash_of(index)
        if key not in picked:
            (picked if key in known else fresh)[key] = new, index
    if not fresh:
        raise DataError(f"{new.name}: the model knows all of these {len(new)} images already; give others")
    unknown = sum(key not in known for key in picked)
    left_out = [known.get(key, LEARNED) for key in picked] + [UNLEARNED] * len(fresh)
    together = {**picked, **fresh}
    source = JoinedSource(list(together.values()), new.value_range)
    return Gathered(source, list(together), left_out, len(picked), unknown)


def division_of(gathered: Gathered, settings: DetectorSettings) -> Division:
    """Which images students learn from and which judge, so that each judges by a student that never learned from it.

    An old image is left out by the student that left it out before. One that all may have learned from is replayed and
    does not judge.

    Raises:
        DataError: if none would judge.
    """
    left_out = gathered.left_out
    fresh = [index for index, student in enumerate(left_out) if student == UNLEARNED]
    every = range(len(left_out))
    if settings.cross and settings.students > 1:
        order = (
            np.random.default_rng([settings.seed, 5]).permutation(len(left_out)).tolist()
        )  # old and new judge in turn
        of_fresh = [{fresh[i] for i in part} for part in folds(len(fresh), settings.students, settings.seed)]
        parts = [[i for i in order if left_out[i] == k or i in part] for k, part in enumerate(of_fresh)]
        return Division(list(every), [], parts, settings.judges)
    new = [index for index in fresh if index >= gathered.old]
    judging = set(fresh) - set(new)
    if len(new) > 1:
        judging |= {new[i] for i in split(len(new), settings.held_out, settings.seed, settings.image_fpr)[1]}
    if not judging:
        raise DataError("one new image alone cannot both teach and judge; give two or more")
    turns = zip_longest([i for i in sorted(judging) if i < gathered.old], [i for i in sorted(judging) if i in new])
    held_out = [index for turn in turns for index in turn if index is not None]
    return Division([i for i in every if i not in judging], held_out, [], settings.judges)


def repeats_of(learned: Sequence[int], gathered: Gathered) -> list[int]:
    """How often each image that is learned from is seen in an epoch: new ones as often as old ones in all, about."""
    is_new = [gathered.left_out[index] == UNLEARNED for index in learned]
    new = sum(is_new)
    old = len(learned) - new
    of_new, of_old = max(1, round(old / max(new, 1))), max(1, round(new / max(old, 1)))
    return [of_new if fresh else of_old for fresh in is_new]


def proven(
    ensembles: Sequence[Ensemble],
    normalizations: Sequence[Normalization],
    settings: DetectorSettings,
    scores: HeldOutScores,
    old: ImageSource,
    hashes: Sequence[str],
    progress: Progress,
) -> dict[str, int]:
    """Who left out the images that a model of a previous version was trained on, by hash; nothing if these are others.

    Such a file does not name its images. But what judged them follows from their number and order, and the image
    scores that it keeps are those of just these images, or else not reproduced.
    """
    if len(old) < 2:
        return {}
    division = Division.of(settings, len(old))
    errors = unseen_errors(ensembles, old, division, settings.stride, progress)
    found = calibrate(errors, settings, known=normalizations)[1].image_scores  # another version's statistics differ
    kept = scores.image_scores
    if found.shape != kept.shape or not np.allclose(found, kept, rtol=_SAME, atol=_SAME * float(kept.std())):
        return {}
    return dict(zip(hashes, left_out_of(division, len(old)), strict=True))


def region_for_update(
    roi: RoiInput | Roi | None, own: NDArray[np.bool_] | None, of_each: bool, memory_bytes: int
) -> Roi | None:
    """Where the images of an update are looked at.

    Args:
        roi: as given; None: the detector's `own`.
        of_each: whether the images of the training had masks of their own.
        memory_bytes: the memory has no masks.

    Raises:
        DataError: if that cannot be, or is not known.
    """
    if roi is None:
        if own is None and of_each:
            raise DataError("the model was trained with a mask for each image; give the new and old images' (roi=)")
        return None if own is None else Roi(own)
    region = roi if isinstance(roi, Roi) else Roi(roi)
    if region.mask is None and not isinstance(roi, str | os.PathLike):
        raise DataError("roi has a mask for each image of an array; give a folder of masks, or one mask for all")
    check_memory(region, memory_bytes)
    return region


def check_memory(region: Roi | None, memory_bytes: int) -> None:
    """Raise `DataError` if images would be kept without their masks."""
    if region is not None and region.mask is None and memory_bytes:
        raise DataError(
            f"{region.name}: has a mask for each image, which the model's memory does not keep; give one mask for all "
            "images, or memory_bytes=0"
        )


class Updated(NamedTuple):
    """What an update makes of a detector.

    Attributes:
        ensembles, normalizations, mean_map, scores, history: of the detector.
        left_out: of every image, see `KnownImages`.
        judged: the images that judged, after those of which only scores are kept.
        learned: whether students learned.
        notes: what is to be known of it, in sentences.
    """

    ensembles: list[Ensemble]
    normalizations: list[Normalization]
    mean_map: MeanMap | None
    scores: HeldOutScores
    history: list[list[dict[str, float]]]
    left_out: list[int]
    judged: list[int]
    learned: bool
    notes: list[str]


def updated(
    ensembles: Sequence[Ensemble],
    normalizations: Sequence[Normalization],
    mean_map: MeanMap | None,
    scores: HeldOutScores,
    gathered: Gathered,
    settings: DetectorSettings,
    files: Sequence[str | None],
    progress: Progress,
    device: torch.device,
    precision: GpuPrecision,
) -> Updated:
    """Train students on, if there are old images that they do not forget so, and calibrate anew.

    Args:
        ensembles, normalizations, mean_map, scores: the detector's; they are not changed.
        gathered: its images.
        settings: with the steps and the seed of the update.
        files: checkpoints, of every scale.
        progress, device, precision: as of the detector.
    """
    source, stride = gathered.source, settings.stride
    where = stride, progress, device, precision
    if all(student == UNLEARNED for student in gathered.left_out):
        # of the others scores are kept
        division = Division([], list(range(gathered.old, len(source))), [], settings.judges)
        errors = unseen_errors(ensembles, source, division, *where)
        found = calibrate(errors, settings, known=normalizations, mean_map=mean_map)[1]
        judged = [index for _, index in judges(source, division, stride)]
        joined = joined_scores(scores, found)
        note = FORGETFUL.format(images=gathered.new)
        kept = [*ensembles], [*normalizations], mean_map
        return Updated(*kept, joined, [], gathered.left_out, judged, False, [note])
    division = division_of(gathered, settings)
    repeats = repeats_of(division.learned, gathered)
    notes = [UNKNOWN.format(images=gathered.unknown)] if gathered.unknown else []
    photos: list[Photo] = []
    try:
        photos = photos_of(settings, progress)
    except DataError as error:  # the model may be on another machine now
        notes.append(NO_PHOTOS.format(error=error))
    now, history = train_scales(
        [copy.deepcopy(ensemble.teacher) for ensemble in ensembles],
        source,
        division,
        settings,
        progress=progress,
        files=files,
        device=device,
        starts=ensembles,
        repeats=repeats,
        photos=photos,
    )
    statistics, found, mean_map = calibrate(unseen_errors(now, source, division, *where), settings, now)
    judged = [index for _, index in judges(source, division, stride)]
    left_out = left_out_of(division, len(source))
    return Updated(now, statistics, mean_map, found, history, left_out, judged, True, notes)
