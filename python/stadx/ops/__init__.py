"""The native operators `torch.ops.stadx.*` as typed functions; importing this package registers them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stadx import _C

from . import fake_kernels, reference
from .counts import count_above, distinct_scores, score_cut
from .dense import (
    dense_layer,
    dense_score,
    matrix_products,
    pack_weights,
    winograd_map,
    winograd_tiles,
    winograd_weights,
)
from .ensemble import ensemble_score, phase_pool, phase_score
from .regions import defect_pixels, label_regions, region_sums, release_kept_memory

__all__ = [
    "build_info",
    "count_above",
    "defect_pixels",
    "dense_layer",
    "dense_score",
    "distinct_scores",
    "ensemble_score",
    "label_regions",
    "matrix_products",
    "pack_weights",
    "phase_pool",
    "phase_score",
    "region_sums",
    "release_kept_memory",
    "score_cut",
    "set_instruction_set",
    "weight_width",
    "winograd_map",
    "winograd_tiles",
    "winograd_weights",
]

build_info = _C.build_info
set_instruction_set = _C.set_instruction_set
weight_width = _C.weight_width


def _no_gradient(ctx: Any, *grads: Tensor) -> None:
    raise NotImplementedError(
        "stadx.ops.ensemble_score is for scoring and has no gradient; "
        "use stadx.ops.reference.ensemble_score to differentiate it"
    )


fake_kernels.register()
torch.library.register_autograd("stadx::ensemble_score", _no_gradient)

_TWINS = ("CUDA",) if not _C.build_info()["cuda_architectures"] else ()  # without kernels PyTorch serves the GPU
for _name in ("ensemble_score", "label_regions", "label_regions_out", "defect_pixels", "count_above", "region_sums"):
    for _key in _TWINS:
        torch.library.impl(f"stadx::{_name}", _key)(getattr(reference, _name))
for _name in ("phase_pool", "phase_score", "score_cut"):
    for _key in ("CPU", *_TWINS):
        torch.library.impl(f"stadx::{_name}", _key)(getattr(reference, _name))
torch.library.impl("stadx::distinct_scores", "CUDA")(reference.distinct_scores)  # a sort, which PyTorch does well
