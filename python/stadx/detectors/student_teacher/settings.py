"""The settings of the student–teacher detector, and the paper's own choice; imports no torch, `--help` reads it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass
from typing import Any, Literal

from stadx.core.settings import check, documented, like, papers, setting
from stadx.networks.choices import PATCH_SIZES, Border, OptimizerName, Padding, Precision, Schedule
from stadx.teachers.settings import PretrainSettings

Terms = Literal["both", "e", "v"]
PresetName = Literal["default", "paper"]


@documented
@dataclass(eq=False, repr=False)
class DetectorSettings:
    """The constructor of `Detector`.

    Raises:
        ValueError: naming a setting that cannot be, and what it must be.
    """

    scales: Sequence[int] = setting(
        (33,),
        "Receptive fields p in pixels, one or more of 17, 33 and 65; their scores are averaged (Eq. 12).",
        choices=PATCH_SIZES,
    )
    students: int = setting(3, "Students per scale.", at_least=1)
    image_size: int | tuple[int, int] | None = setting(
        256,
        "What images are resized to before scoring: a square's side in pixels, or (height, width).",
        none="they are kept as they are",
        at_least=1,
    )
    target_fpr: float = setting(
        0.001, "Share of the pixels of good images that the threshold may flag.", at_least=0, at_most=1
    )
    _: KW_ONLY
    keep_aspect: bool = setting(
        False,
        "Resize images to the largest size with their own shape that lies within the image size, instead of to just "
        "that size. Nothing is padded.",
    )
    image_fpr: float = setting(0.05, "Share of the good images that may count as anomalous.", at_least=0, at_most=1)
    cross: bool = setting(
        True,
        "All images count for score statistics and thresholds: each student leaves out another part of them, which "
        "tells how much higher images score that none saw. Off, or with one student: a share is held out.",
        paper=False,
    )
    held_out: float | None = setting(
        None,
        "That share, at least one image: none learns from them.",
        none="a tenth, of few images up to a third, as many as image_fpr needs",
        above=0,
        below=1,
    )
    judges: int = setting(
        1000,
        "At most so many images make score statistics and thresholds, which takes as long as scoring them; fewer make "
        "the promised share of false alarms less certain.",
        at_least=1,
    )
    steps: int = setting(
        1500,
        "Optimiser steps per scale, of p = 65 `steps_factor_65` times as many; in the paper 100 epochs.",
        at_least=1,
    )
    steps_factor_65: float = setting(
        2.0,
        "How many times as many steps p = 65 takes, which learns more slowly; 1: as many as the others, as in the "
        "paper.",
        above=0,
        at_most=100,
        paper=1.0,
    )
    batch: int = setting(3, "Images per step.", at_least=1, paper=1)
    crop: int | None = setting(
        64,
        "Side in pixels of the part of an image that a step sees, half of it for p = 17.",
        none="all of it",
        at_least=1,
        paper=None,
    )
    focus: float = setting(
        0.8,
        "Share of these parts that lie where the loss was high when last seen, the others anywhere.",
        at_least=0,
        at_most=1,
        paper=0.0,
    )
    hard_share: float | None = setting(
        None,
        "Share of a step's elements, squared differences of a pixel in a channel, that count: the highest ones. "
        "EfficientAD has 0.001.",
        none="all, as in the paper",
        above=0,
        below=1,
    )
    penalty: str | os.PathLike[str] | None = setting(
        None,
        "Folder of ordinary photos, or a .tar file: at each step students are penalised for what they say of one, as "
        "in EfficientAD, so that they do not follow the teacher where good images never go.",
        none="no photos",
    )
    optimizer: OptimizerName = setting("muon", "Muon gets further in as many steps.", paper="adam")
    learning_rate: float | None = setting(
        None, "Highest learning rate.", none="0.002 for muon, 0.001 for adam", above=0, paper=1e-4
    )
    weight_decay: float = like(PretrainSettings, "weight_decay")
    schedule: Schedule = like(PretrainSettings, "schedule", paper="constant")
    dense: bool = setting(
        False,
        "Train on every pixel of a part, as in the paper, instead of on one random phase of the pooling grid at each "
        "step: 6 to 10 times slower (no difference for p = 17, which has no pools).",
        paper=True,
    )
    patience: int = setting(
        0,
        "Stop when the loss on held-out images has not fallen at so many of the 20 looks at it, and keep the best "
        "students; 0: never.",
        at_least=0,
    )
    terms: Terms = setting(
        "e",
        "The score: the error e alone, which has the higher AU-PRO; the variance v alone; or both, normalised and "
        "added (Eq. 11).",
        paper="both",
    )
    smoothing: float = setting(
        0.0,
        "Standard deviation of a Gaussian that maps are smoothed with, in pixels at the image size; 0: none, as in "
        "the paper.",
        at_least=0,
        below=1000,
    )
    level: float = setting(
        1.0,
        "How much of an image's own level of error is taken out, since images differ in light; within `level_limit`, "
        "so that what is wrong all over still stands out.",
        at_least=0,
        at_most=1,
        paper=0.0,
    )
    level_limit: float = setting(
        2.0,
        "A level is taken for at most so many times the usual one, and at least so small a part of it; 10 in 0.1.",
        at_least=1,
    )
    channel_weight: float = setting(
        1.5,
        "How much more a channel of the descriptor counts, the better students predict it: its squared error is "
        "divided by what it is on good images, to this power; 0: all count alike, as in the paper.",
        at_least=0,
        at_most=2,
        paper=0.0,
    )
    scale_weight: float = setting(
        0.5,
        "How much more a scale counts in the mean of several, the better its students predict: its score is divided by "
        "their error on good images, to this power; 0: all count alike, as in the paper.",
        at_least=0,
        at_most=2,
        paper=0.0,
    )
    mean_map: float = setting(
        1.0,
        "How much of the good images' mean anomaly map is taken off each map, times the share of their scores' "
        "variance that it predicts: much where objects always lie alike, little where they lie anyhow; 0: none, as in "
        "the paper, and for images that are not resized to one size.",
        at_least=0,
        at_most=1,
        paper=0.0,
    )
    top_share: float = setting(
        0.001,
        "Share of an image's pixels, those of the highest scores, whose mean is the image score; 0: the highest alone.",
        at_least=0,
        at_most=1,
        paper=0.0,
    )
    stride: int = setting(
        4,
        "Every stride-th pixel of every stride-th row is scored, what lies between is interpolated. 4 is five times as "
        "fast as 1 for p = 33, a fifth faster for p = 17, and finds as much.",
        choices=(1, 2, 4, 8),
        paper=1,
    )
    border: Border = setting(
        "inside",
        "What becomes of pixels whose patch reaches beyond the image. inside: nothing is learned there, and they take "
        "the score of the nearest pixel whose patch does not; for p = 65 beside smaller scales, and where an image is "
        "smaller than the patch, it is reflected. Others: how the image is continued.",
        paper="reflect",
    )
    precision: Precision = setting(
        "auto", "Of training; auto: bfloat16 on GPUs, and on CPUs with AMX. On a CPU scoring is always float32."
    )
    value_range: tuple[float, float] | None = setting(
        None,
        "Black and white: the lowest and the highest value of image files, such as (0, 4095); what lies beyond is "
        "clipped.",
        none="what the training images' files say, or else their values",
    )
    memory_bytes: int = setting(
        0,
        "Bytes that the model file may use to keep a random sample of the training images, at the size they are "
        "resized to, from which `update` goes on without the old images; 0: no image is kept.",
        at_least=0,
    )
    teachers: Sequence[str | os.PathLike[str]] = setting(
        (), "Teacher files; scales without one use the teacher that comes with stadx."
    )
    seed: int = setting(0, "Of every random choice.", at_least=0, at_most=2**32 - 1)

    padding: InitVar[Padding | None] = None  # what `border` was called; until 0.4

    def __post_init__(self, padding: Padding | None) -> None:
        if padding is not None:
            warnings.warn(f"padding is now called border: give border={padding!r}", DeprecationWarning, stacklevel=4)
            self.border = padding
        check_penalty(self.penalty)
        check(self)
        if not self.scales or len(set(self.scales)) < len(self.scales):
            raise ValueError(f"scales is {self.scales}; give one or more of {PATCH_SIZES}, none twice")
        check_range(self.value_range)
        if self.students == 1 and self.terms == "v":
            raise ValueError("terms is 'v', and one student alone has no variance; choose 'e', or two students or more")

    def steps_of(self, p: int) -> int:
        """Optimiser steps of scale p, see `steps`."""
        return max(1, round(self.steps_factor_65 * self.steps)) if p == 65 else self.steps

    def is_inside(self, p: int) -> bool:
        """Whether scale p learns and computes only pixels whose patch lies within the image, see `border`.

        The patch of p = 65 lies within little more than half of an image of 256 x 256; where smaller ones see its
        border too, what it says there is of use, and does not alone decide.
        """
        return self.border == "inside" and (p < 65 or len(self.scales) == 1)


def check_range(value_range: tuple[float, float] | None) -> None:
    """Raise `ValueError` unless black is less than white."""
    if value_range is not None and not value_range[0] < value_range[1]:
        raise ValueError(f"value_range is {value_range}; the lowest value must be less than the highest")


def check_penalty(place: str | os.PathLike[str] | None) -> None:
    """Raise `ValueError` unless it may be a place of photos."""
    if place == "":  # an unset variable of a shell; as a path it would be the current folder
        raise ValueError("penalty is empty; give a folder of photos, or leave it out")
    if place is not None and not isinstance(place, str | os.PathLike):
        raise ValueError(f"penalty is {place!r}; give a folder of photos, a .tar file of them, or None for no photos")


TRAINING = (
    *("students", "steps", "batch", "crop", "focus", "hard_share", "optimizer", "learning_rate", "weight_decay"),
    *("schedule", "dense", "patience", "precision", "seed"),
)
"""The settings on which trained students depend, beside the photos of `penalty`: a checkpoint of others is refused."""

PRESETS: Mapping[PresetName, Mapping[str, Any]] = {
    "default": {},
    "paper": {"epochs": 100, "held_out": 0.1, **papers(DetectorSettings)},
}
"""Where settings that are not given come from; "epochs", which count images, stand for "steps"."""


def for_images(settings: Mapping[str, Any], images: int) -> dict[str, Any]:
    """Settings for so many training images: "epochs" turned into steps."""
    settings = dict(settings)
    if (epochs := settings.pop("epochs", None)) is not None:
        settings["steps"] = epochs * images
    return settings
