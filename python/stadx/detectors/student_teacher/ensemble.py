"""From images to anomaly scores: ensemble error and variance, normalisation, fusion of scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from stadx import ops
from stadx.networks.border import Computed, computed_pixels
from stadx.networks.dense import Method, check_stride, engines_for
from stadx.networks.engine import Engine, Workspace, pad_channels
from stadx.networks.patch_network import PatchNetwork, dense_features_padded
from stadx.networks.plan import buffer_sizes, layers_of, plan_axis
from stadx.networks.windows import ImageRows, LastRows, TensorRows, padded_window, pieces

_WHOLE_BYTES, _TILE_BYTES = 105e6, 95e6  # what maps may take per network: of a small image at once, of a tile


@dataclass
class Ensemble:
    """One scale: the teacher, its students, and the teacher's statistics on the training images.

    Attributes:
        teacher, students: patch networks of the same p.
        mean, std: µ and σ of the teacher's descriptors, float32 [d].
        inside: whether only pixels whose patch lies within the image are computed, see `computed_pixels`.
        channel_errors: mean squared error of each channel on images that a student did not see, float32 [d]; None: not
            measured.
        channel_power: that of the `channel_weights` by which the students' last layers and `std` are weighted; 0: they
            are as they were learned.
    """

    teacher: PatchNetwork
    students: list[PatchNetwork]
    mean: Tensor
    std: Tensor
    inside: bool = False
    channel_errors: Tensor | None = None
    channel_power: float = 0.0

    def computed(self, image: ImageRows, stride: int = 1) -> Computed:
        """The pixels of an image that are computed."""
        return computed_pixels(image.height, image.width, self.teacher.patch_size, self.inside, stride)

    def error_and_variance(
        self,
        image: Tensor,
        *,
        stride: int = 1,
        method: Method = "auto",
        tile: int | None = None,
        alone: int | None = None,
    ) -> tuple[Tensor, ...]:
        """e and v (Eqs. 9 and 10) at the computed pixels of one image, or at every stride-th.

        Args:
            image: RGB [1, 3, H, W], uint8 or floating in [0, 1].
            stride, method: as in `dense_features`.
            tile: pixels a side scored at once, which bounds memory; the engine gives the same bits whatever it is.
            alone: number of a student whose own error is asked for.

        Returns:
            e, v and, if asked for, the e that the student `alone` would have as the only one; float32
            [⌈H / stride⌉, ⌈W / stride⌉] each, or fewer, see `computed_pixels`.

        Raises:
            ValueError: for an unknown stride or method.
        """
        check_stride(stride)
        rows = TensorRows(image[0])
        tile = tile or self.tile_side(rows, stride)
        workspace = Workspace(self.buffer_sizes(rows, tile, stride))
        return self.whole(rows, stride=stride, method=method, tile=tile, workspace=workspace, alone=alone)

    def whole(
        self,
        image: ImageRows,
        *,
        stride: int,
        method: Method,
        tile: int,
        workspace: Workspace,
        alone: int | None = None,
    ) -> tuple[Tensor, ...]:
        """`error_and_variance`, in memory of others."""
        rows = self.computed(image, stride).rows
        bands = [
            self.band(image, *piece, stride=stride, method=method, tile=tile, workspace=workspace, alone=alone)
            for piece in pieces(rows.begin, rows.end, tile, stride)
        ]
        return tuple(torch.cat(parts) for parts in zip(*bands, strict=True))

    @torch.no_grad()
    def band(
        self,
        image: ImageRows,
        begin: int,
        end: int,
        *,
        stride: int = 1,
        method: Method = "auto",
        tile: int | None = None,
        workspace: Workspace | None = None,
        alone: int | None = None,
    ) -> tuple[Tensor, ...]:
        """`error_and_variance` of the rows [begin, end) of an image, which are computed ones.

        `begin` is a multiple of 8 and of `stride`.
        """
        check_stride(stride)
        networks = [self.teacher, *self.students]
        engines = engines_for(networks, None, method)
        image = LastRows(image)
        workspace = workspace or Workspace()
        wide = self.computed(image, stride).columns
        tiles = [
            _score(self, engines, image, (begin, end), columns, stride, workspace, alone)
            if engines
            else _score_directly(self, image, (begin, end), columns, stride, alone)
            for columns in pieces(wide.begin, wide.end, tile or self.tile_side(image, stride), stride)
        ]
        return tuple(torch.cat(parts, 1) for parts in zip(*tiles, strict=True))

    def tile_side(self, image: ImageRows, stride: int) -> int:
        """Pixels a side of the largest equal tiles of an image whose maps keep within memory."""
        length, networks = max(image.height, image.width), len(self.students) + 1
        for parts in count(1):
            side = -(-length // (parts * 8)) * 8
            limit = (_WHOLE_BYTES if parts == 1 else _TILE_BYTES) * networks
            if side == 8 or 4 * sum(self.buffer_sizes(image, side, stride).values()) <= limit:
                return side
        raise AssertionError

    def buffer_sizes(self, image: ImageRows, tile: int, stride: int) -> dict[str, int]:
        """What a `Workspace` needs for tiles of that side."""
        length = max(image.height, image.width)
        pixels = max(self.computed(image, stride), key=lambda span: span.end)
        return buffer_sizes(layers_of(self.teacher), length, pixels, tile, len(self.students) + 1)


def _score(
    ensemble: Ensemble,
    engines: Sequence[Engine],
    image: ImageRows,
    rows: tuple[int, int],
    columns: tuple[int, int],
    stride: int,
    workspace: Workspace,
    alone: int | None,
) -> tuple[Tensor, ...]:
    """e and v of one tile, by the engines: all networks up to their last layers, then these together."""
    layers, margin = engines[0].layers, ensemble.teacher.patch_size // 2
    row_plan = plan_axis(layers, image.height, *rows, stride)
    column_plan = plan_axis(layers, image.width, *columns, stride)
    window = padded_window(
        image, (row_plan.begin, row_plan.end), (column_plan.begin, column_plan.end), margin, ensemble.teacher.padding
    )
    xs = [engine.before_last(window, row_plan, column_plan, workspace, i) for i, engine in enumerate(engines)]
    last = [engine.arguments(len(layers) - 1, row_plan, column_plan) for engine in engines]

    def score(chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
        return ops.dense_score(
            [xs[i] for i in chosen],
            [last[i][0] for i in chosen],
            [last[i][1] for i in chosen],
            pad_channels(ensemble.mean),
            pad_channels(ensemble.std, fill=1.0),  # the padded channels are zero in every network
            **last[0][2],
            image=(row_plan.size, column_plan.size),
        )

    maps: tuple[Tensor, ...] = score(range(len(xs)))
    if alone is not None:
        maps = *maps, score((0, 1 + alone))[0]
    return tuple(values[row_plan.wanted, column_plan.wanted] for values in maps)


def _score_directly(
    ensemble: Ensemble,
    image: ImageRows,
    rows: tuple[int, int],
    columns: tuple[int, int],
    stride: int,
    alone: int | None,
) -> tuple[Tensor, ...]:
    """e and v of one tile, composed of PyTorch's convolutions."""
    reach = ensemble.teacher.patch_size - 1
    window = padded_window(
        image,
        (rows[0], rows[1] + reach),
        (columns[0], columns[1] + reach),
        ensemble.teacher.patch_size // 2,
        ensemble.teacher.padding,
    )
    part = window.permute(2, 0, 1)[None]
    teacher = dense_features_padded(ensemble.teacher, part)[:, :, ::stride, ::stride]
    students = torch.stack([dense_features_padded(s, part)[:, :, ::stride, ::stride] for s in ensemble.students])
    maps: tuple[Tensor, ...] = ops.ensemble_score(students, teacher, ensemble.mean, ensemble.std)
    if alone is not None:
        maps = *maps, ops.ensemble_score(students[alone, None], teacher, ensemble.mean, ensemble.std)[0]
    return tuple(values[0] for values in maps)
