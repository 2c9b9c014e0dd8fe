"""From the scores of several scales to one map (Eq. 12)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from stadx.networks.border import Computed


class Fused:
    """The mean over the scales (Eq. 12), at each pixel of those that compute it; what none computes is continued.

    Near the border a small patch still lies within the image where a large one does not. The pixels that one scale
    computes hold those of each that computes fewer.

    Args:
        scores: of the first scale, [..., h, w] at its computed pixels.
        place: which these are, of an image or a band of it.
    """

    def __init__(self, scores: Tensor, place: Computed) -> None:
        self._total, self._widest, self._places = scores, place, [place]

    def add(self, scores: Tensor, place: Computed) -> None:
        """Take another scale."""
        widest = widest_of([self._widest, place])
        self._total = self._widest.widened(self._total, widest) + place.widened(scores, widest)
        self._widest = widest
        self._places.append(place)

    def mean(self) -> Tensor:
        """The map, [..., ⌈H / stride⌉, ⌈W / stride⌉]."""
        if all(place == self._widest for place in self._places):
            return self._widest.continued(self._total / len(self._places))
        count = self._total.new_zeros(self._total.shape[-2:])
        for place in self._places:
            ones = count.new_ones(place.rows.count, place.columns.count)
            count = count + place.widened(ones, self._widest)
        return self._widest.continued(self._total / count)


def fuse(scores: Sequence[Tensor], places: Sequence[Computed]) -> Tensor:
    """`Fused` of all scales at once."""
    fused = Fused(scores[0], places[0])
    for values, place in zip(scores[1:], places[1:], strict=True):
        fused.add(values, place)
    return fused.mean()


def widest_of(places: Sequence[Computed]) -> Computed:
    """The one with the most pixels."""
    return max(places, key=lambda place: place.rows.count * place.columns.count)


def mean_of(parts: Sequence[Tensor]) -> Tensor:
    """Of tensors of one shape, the same."""
    return parts[0] if len(parts) == 1 else sum(parts[1:], parts[0]) / len(parts)
