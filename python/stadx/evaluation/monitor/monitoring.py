"""What is said of a line: level and share flagged against the images that judged, whether they differ, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stadx.core.errors import DataError
from stadx.metrics.intervals import independent_number, korn_graubard, percent

from ..monitor_settings import MonitorSettings
from .drift import FEWEST, Drift, DriftState, group_size

HEADINGS = ("images", "median", "middle half", "flagged", "95 % CI")
"""Of `Figures.cells`; so short that a terminal has room for them."""
_AT_ONCE = 5  # images, or groups, from the start
_DEFAULTS = MonitorSettings()
_ALIKE = 1.5  # images for one independent one, from which the test may be misled


@dataclass(frozen=True)
class Figures:
    """Of some images.

    Attributes:
        images: how many.
        median, lower, upper, high: score that 50 %, 25 %, 75 % and 90 % of them do not exceed.
        flagged: how many are above the image threshold.
        interval: the true share lies within it with 95 % confidence (Clopper–Pearson; Korn–Graubard).
    """

    images: int
    median: float
    lower: float
    upper: float
    high: float
    flagged: int
    interval: tuple[float, float]

    @classmethod
    def of(cls, scores: NDArray[np.floating], threshold: float) -> Figures:
        """Of scores [n] that follow each other."""
        lower, median, upper, high = (float(q) for q in np.quantile(scores, (0.25, 0.5, 0.75, 0.9)))
        flagged = int((scores > threshold).sum())
        low, high_share = korn_graubard(flagged, len(scores), independent_number(scores))
        return cls(len(scores), median, lower, upper, high, flagged, (round(low, 6), round(high_share, 6)))

    def cells(self) -> list[str]:
        """In words, in the order of `HEADINGS`."""
        return [
            str(self.images),
            f"{self.median:.3g}",
            f"{self.lower:.3g} … {self.upper:.3g}",
            f"{self.flagged}, {percent(self.flagged / self.images)}",
            " … ".join(map(percent, self.interval)),
        ]


@dataclass(frozen=True)
class Monitoring:
    """What `monitor` found.

    Attributes:
        names: of the images of the line, n.
        scores: theirs, float64 [n].
        reference: scores of the images they are compared with.
        threshold: of an image.
        settings: what was asked; the first `baseline` images are in the reference, the others are tested.
        group: so many images count as one, see `Drift`.
        state: after the last image; image numbers are those of the line.
        log10_level, log10_high: the two martingales after each image, float64 [n].
        log10_limit: what one must reach for a verdict.
        figures: of the reference, of all tested images, of the window, and of those since the change, by name.
        notes: what weakens the statement.
    """

    names: Sequence[str]
    scores: NDArray[np.float64]
    reference: NDArray[np.float64]
    threshold: float
    settings: MonitorSettings
    group: int
    state: DriftState
    log10_level: NDArray[np.float64]
    log10_high: NDArray[np.float64]
    log10_limit: float
    figures: dict[str, Figures]
    notes: list[str]

    @property
    def reference_name(self) -> str:
        return f"first {self.settings.baseline} images" if self.settings.baseline else "images that judged"

    def rows(self) -> dict[str, Figures]:
        """`figures` by what they are called in tables."""
        names = {
            "reference": f"first {self.settings.baseline}" if self.settings.baseline else "judged",
            "all": "the line",
            "now": f"last {self.figures['now'].images}",
            "since": f"since {self.state.since}",
        }
        return {names[part]: figures for part, figures in self.figures.items()}

    def sentence(self) -> str:
        """The verdict."""
        state, what = self.state, self.reference_name
        if state.said_at is None or state.since is None:
            return (
                f"No drift: the {len(self.scores) - self.settings.baseline} images score as the {what} do. (Of lines "
                f"without drift at most {percent(self.settings.alpha)} are ever said to have one, however often they "
                "are looked at.)"
            )
        when = (
            f"since about image {state.since} ({self.names[state.since - 1]}); told at image {state.said_at}, with a "
            f"false-alarm rate of {percent(self.settings.alpha)} over all time"
        )
        if state.verdict == "high":
            return (
                f"More images score high than of the {what}, {when}. Ordinary images score as before: defects or parts "
                "of another kind, rather than the camera."
            )
        return f"Drift: images score {'higher' if state.rises else 'lower'} than the {what}, {when}."

    def advice(self) -> str:
        """What to do."""
        if self.state.verdict == "none":
            return "Nothing to do."
        if self.state.verdict == "high":
            return (
                "Look at the flagged images (stadx review). If they are good, let the model learn them (stadx update). "
                "If they are defective, the model is right."
            )
        look = "Look at camera, light, focus and part first."
        if not self.state.rises:
            return (
                f"{look} If the change stays, defects may score lower too: set the threshold by known defects (stadx "
                "calibrate), or learn new good images (stadx update)."
            )
        promised, since = self.figures["reference"].interval, self.figures["since"].interval
        if since[0] > promised[1]:
            return (
                f"{look} If the change stays, too many good images are flagged: look through those that help most "
                "(stadx rank, stadx review) and let the model learn the good ones (stadx update)."
            )
        return (
            f"{look} If the change stays and defects still score above good images, a new threshold will do (stadx "
            "calibrate); else learn new good images (stadx update)."
        )

    def to_json(self) -> dict[str, Any]:
        state = self.state

        def image(number: int | None) -> dict[str, Any] | None:
            return None if number is None else {"number": number, "name": self.names[number - 1]}

        return {
            "verdict": state.verdict,
            "rises": state.rises,
            "told_at": image(state.said_at),
            "since": image(state.since),
            "sentence": self.sentence(),
            "advice": self.advice(),
            "images": len(self.scores),
            "reference": self.reference_name,
            "threshold": self.threshold,
            "alpha": self.settings.alpha,
            "group": self.group,
            "window": self.settings.window,
            "log10_level": state.log10_level,
            "log10_high": state.log10_high,
            "log10_limit": self.log10_limit,
            "figures": {name: vars(figures) for name, figures in self.figures.items()},
            "notes": self.notes,
        }


def monitor(
    names: Sequence[str],
    scores: NDArray[np.float64],
    reference: NDArray[np.floating],
    threshold: float,
    settings: MonitorSettings = _DEFAULTS,
) -> Monitoring:
    """Compare the scores [n] of a line, in their order, with those of good images.

    Args:
        names: of the images, for what is said.
        scores: theirs.
        reference: scores of the images that judged, in their order.
        threshold: of an image.
        settings: see there.

    Raises:
        DataError: if nothing is left to compare, or too little to compare with.
    """
    baseline = settings.baseline
    if baseline and len(scores) <= baseline:
        raise DataError(f"there are {len(scores)} images, and the first {baseline} are to compare with; wait for more")
    known = np.asarray(scores[:baseline] if baseline else reference, np.float64)
    if len(known) < FEWEST:
        more = "give a larger --baseline" if baseline else "give --baseline 100, if the first 100 are of a good time"
        raise DataError(f"{len(known)} images are too few to compare with, {FEWEST} are needed; {more}")
    size = group_size(known) if settings.group is None else settings.group
    if size > 0 and (groups := len(known) // size) < FEWEST:
        raise DataError(
            f"{len(known)} images to compare with are {groups} groups of {size}; {FEWEST} are needed: give a "
            f"smaller --group, or --baseline {2 * FEWEST * size}, if that many are of a good time"
        )
    drift = Drift(known, alpha=settings.alpha, group=size, defect_rate=settings.defect_rate, seed=settings.seed)
    states = [drift.update(float(score)) for score in scores[baseline:]]
    last = states[-1]
    said, since = (None if n is None else n + baseline for n in (last.said_at, last.since))
    state = DriftState(len(scores), last.verdict, last.rises, said, since, last.log10_level, last.log10_high)
    parts = {"reference": known, "all": scores[baseline:], "now": scores[baseline:][-settings.window :]}
    if since is not None:
        parts["since"] = scores[since - 1 :]
    levels, highs = (
        np.concatenate([np.zeros(baseline), [getattr(s, name) for s in states]])
        for name in ("log10_level", "log10_high")
    )
    return Monitoring(
        names=names,
        scores=scores,
        reference=known,
        threshold=threshold,
        settings=settings,
        group=drift.group,
        state=state,
        log10_level=levels,
        log10_high=highs,
        log10_limit=drift.log10_limit,
        figures={name: Figures.of(part, threshold) for name, part in parts.items()},
        notes=_notes_at_once(since is not None and since <= _AT_ONCE * drift.group and not baseline)
        + _notes_alike(
            known, scores[baseline : None if since is None else since - 1], drift.group, settings.group is None
        ),
    )


def _notes_at_once(is_so: bool) -> list[str]:
    """What a drift from the start may be."""
    if not is_so:
        return []
    return [
        "It differs from the first images on. If they are as they should be, the images that judged were others: "
        "compare with the line's own beginning (--baseline 100)."
    ]


def _notes_alike(known: NDArray[np.float64], before: NDArray[np.float64], group: int, is_found: bool) -> list[str]:
    """What weakens the statement: images that follow each other and score alike."""
    notes = []
    if is_found and group > 1:
        notes.append(
            f"Images that follow each other score alike: {group} count as one. Give --group if you know the number of "
            "photos of a part."
        )
    if len(before) >= 2 * group and (alike := _alike(before, group)) > _ALIKE:
        notes.append(
            f"Images of the line that follow each other score alike: {alike * group:.1f} say no more than one. So the "
            f"false-alarm rate may be higher; give --group {group_size(before)}, or the number of photos of a part."
        )
    elif is_found and group > 1 and _alike(known, group) > _ALIKE:
        notes.append("There are too few images to compare with for their likeness; give --group or --baseline.")
    return notes


def _alike(scores: NDArray[np.float64], group: int) -> float:
    """How many groups say as much as one that is independent."""
    middle = np.median(scores[: len(scores) // group * group].reshape(-1, group), axis=1)
    return len(middle) / independent_number(middle)
