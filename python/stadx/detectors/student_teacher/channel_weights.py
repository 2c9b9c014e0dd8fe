"""How much each channel of a descriptor, and each scale, counts: the more, the better students predict it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from stadx.networks.patch_network import PatchNetwork

from .ensemble import Ensemble

_LEAST = 1e-3  # an error is taken for at least such a part of the mean one


def channel_weights(errors: Tensor, power: float) -> Tensor:
    """w [d], float32, of the weighted error e = Σ_c w_c (mean_i S_ic − ŷ_c)², Eq. 9 with w = 1.

    w_c is proportional to errors_c^−power. A defect that shifts all channels alike, of errors independent of each
    other, raises e by the most deviations of e on good images where w_c is 1 / variance of the channel's squared
    error: power 2, that variance being proportional to errors_c². Channels that err together ask for less.

    Args:
        errors: mean of (S − ŷ)² of each channel on good images that the student did not see, float [d].
        power: 0: all channels count alike, as in the paper.

    Returns:
        Weights whose geometric mean is 1, so that those of −`power` are their reciprocals.
    """
    logs = errors.double().clamp_min(float(errors.mean()) * _LEAST).log()
    if not logs.isfinite().all():  # of images that all say the same nothing is left to predict
        return torch.ones_like(errors, dtype=torch.float32)
    return (power * (logs.mean() - logs)).exp().float()


def weighted(ensemble: Ensemble, power: float) -> Ensemble:
    """The ensemble with its error weighted by `channel_weights` of that power, whatever it was weighted by before.

    What students say is multiplied by √w in their last layer and σ is divided by it, so that scoring costs and does
    nothing else, wherever it runs.

    Args:
        ensemble: one without `channel_errors` stays as it is.
        power: 0: as it was learned.
    """
    if ensemble.channel_errors is None or power == ensemble.channel_power:
        return ensemble
    roots = channel_weights(ensemble.channel_errors, power - ensemble.channel_power).sqrt()
    students = [_scaled(student, roots) for student in ensemble.students]
    return replace(ensemble, students=students, std=ensemble.std / roots, channel_power=power)


def scale_weights(ensembles: Sequence[Ensemble], channel_power: float, scale_power: float) -> list[float]:
    """How much the score of each scale counts in their mean (Eq. 12): as its error to the power of −`scale_power`.

    Its error is Σ_c w_c errors_c / Σ_c w_c, with `channel_weights` of `channel_power`. A score is in units of the
    deviation of e on good images, which a scale that has learned more exceeds by more.

    Returns:
        Weights whose mean is 1; all 1 if errors are not known of every scale.
    """
    known = [ensemble.channel_errors for ensemble in ensembles if ensemble.channel_errors is not None]
    if not known or len(known) < len(ensembles) or not scale_power:
        return [1.0] * len(ensembles)
    weights = [channel_weights(errors, channel_power) for errors in known]
    of_scales = torch.stack([(w * errors).sum() / w.sum() for w, errors in zip(weights, known, strict=True)])
    found = channel_weights(of_scales, scale_power)
    return [float(w) for w in found / found.mean()]


def mean_of_students(errors: Sequence[Tensor]) -> Tensor | None:
    """The mean over students of their channel errors; None if no student has any."""
    return torch.stack(list(errors)).mean(0) if errors else None


@torch.no_grad()
def _scaled(student: PatchNetwork, factors: Tensor) -> PatchNetwork:
    """A copy whose channels are multiplied by positive factors [d]; LeakyReLU, if it comes last, lets them through."""
    student = copy.deepcopy(student)
    last = [layer for layer in student.layers if isinstance(layer, nn.Conv2d)][-1]
    last.weight.mul_(factors[:, None, None, None])
    assert last.bias is not None
    last.bias.mul_(factors)
    return student
