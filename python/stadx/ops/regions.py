"""Wrappers of the operators on connected regions of masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stadx import _C


def label_regions(mask: Tensor, connectivity: int = 8, *, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Connected regions of non-zero pixels, numbered per image in the raster order of their first pixels.

    On Linux the memory of the last freed labels of 32 to 128 MiB is kept for the next ones, as new memory takes longer
    to get than to fill. The system takes it back when it runs short, `release_kept_memory` at once. Such labels cannot
    grow by `Tensor.resize_`.

    Args:
        mask: [B, H, W], bool or integer, non-zero = inside.
        connectivity: 4 (edges) or 8 (edges and corners).
        out: labels to overwrite, [B, H, W] int32, contiguous, on the mask's device, of other memory than the mask's:
            saves the memory of new ones.

    Returns:
        labels [B, H, W] int32 (0 outside, regions from 1; `out` if that is given) and counts [B] int64.

    Raises:
        RuntimeError: wrong shape, dtype or connectivity, or `out` does not fit.
    """
    if out is not None:
        return out, torch.ops.stadx.label_regions_out(mask, connectivity, out)
    labels, counts = torch.ops.stadx.label_regions(mask, connectivity)
    return labels, counts


def release_kept_memory() -> int:
    """Give the memory that `label_regions` keeps for the next labels to the system: at most 128 MiB.

    Returns:
        how many bytes there were.
    """
    return _C.release_kept_memory()


def defect_pixels(
    maps: Sequence[Tensor], masks: Sequence[Tensor], connectivity: int = 8
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The scores of all non-zero mask pixels of a set of images, and the connected regions they lie in.

    Args:
        maps: anomaly scores, [H, W] each of any sizes, all float32 or all float64.
        masks: of the same sizes, bool or integer, non-zero = defect.
        connectivity: 4 (edges) or 8 (edges and corners).

    Returns:
        scores [n] of the maps' dtype, image by image and row by row; regions [n] int32, from 0 through the whole set;
        per region, by image and then in the raster order of their first pixels: areas [R] int64 and firsts [R] int64,
        the first pixel's index in its image; counts [N] int64, the regions of each image.

    Raises:
        RuntimeError: shapes, dtypes or connectivity are wrong, or there is no image.
    """
    scores, regions, areas, firsts, counts = torch.ops.stadx.defect_pixels(maps, masks, connectivity)
    return scores, regions, areas, firsts, counts


def region_sums(values: Tensor, at: Tensor, region: Tensor, regions: int) -> Tensor:
    """Sums of whole numbers over the pixels of every region: Σ values[at[i]] over all i with region[i] = r.

    Args:
        values: int64 [E].
        at: index into it of every pixel, int32 [n].
        region: of every pixel, int32 [n], below `regions`.
        regions: R.

    Returns:
        int64 [R].

    Raises:
        RuntimeError: shapes, dtypes or devices do not fit together.
    """
    sums: Tensor = torch.ops.stadx.region_sums(values, at, region, regions)
    return sums
