"""Whether old and new images of an update score so differently that one threshold for both hides defects."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stadx.metrics.intervals import independent_number, korn_graubard

from ..thresholds import FalseAlarms

APART = (
    "The {harder} images score higher than the {easier} ones, which alone would have set the image threshold at "
    "{alone:.4g}: {above} of the {images} {harder} images that judged exceed that. One threshold for both, {both:.4g}, "
    "hides defects of the {easier} kind that score between the two. If they are another kind of part or light, train a "
    "model of their own and leave this one as it was."
)


def kinds_apart(
    scores: NDArray[np.float32],
    is_new: NDArray[np.bool_],
    threshold: float,
    asked: float,
    threshold_of: Callable[[NDArray[np.float32]], float],
) -> str | None:
    """A sentence, if one kind is much harder than the other; else None.

    That is if of the harder kind more exceed the threshold that the other alone would set than can be said, with 95 %
    confidence each, of the latter's own good images.

    Args:
        scores: image scores [n] of the images that judged, in their order.
        is_new: which of them are new.
        threshold: of an image, as all of them set it.
        asked: the share of good images that may be flagged.
        threshold_of: the image threshold that scores [m] set.
    """
    named = {"old": scores[~is_new], "new": scores[is_new]}
    for easier, harder in (("old", "new"), ("new", "old")):
        mine, others = named[easier], named[harder]
        if not len(mine) or not len(others):
            continue
        alone = threshold_of(mine)
        above = int((others > alone).sum())
        low, _ = korn_graubard(above, len(others), independent_number(others))
        if alone < threshold and low > FalseAlarms.of(asked, alone, mine).high:
            told = {"harder": harder, "easier": easier, "above": above, "images": len(others)}
            return APART.format(**told, alone=alone, both=threshold)
    return None
