"""From images to anomaly scores: ensemble error and variance, normalisation, fusion of scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from stadx import ops
from stadx.networks.dense import Method, check_stride, engine_serves
from stadx.networks.engine import Engine, Workspace, engine_for, pad_channels
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
    """

    teacher: PatchNetwork
    students: list[PatchNetwork]
    mean: Tensor
    std: Tensor

    @torch.no_grad()
    def error_and_variance(
        self, image: Tensor, *, stride: int = 1, method: Method = "auto", tile: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """e and v (Eqs. 9 and 10) at every pixel of one image, or at every stride-th.

        Args:
            image: RGB [1, 3, H, W], uint8 or floating in [0, 1].
            stride, method: as in `dense_features`.
            tile: pixels a side scored at once, which bounds memory; the engine gives the same bits whatever it is.

        Returns:
            e and v, float32 [⌈H / stride⌉, ⌈W / stride⌉] each.

        Raises:
            ValueError: for an unknown stride or method.
        """
        check_stride(stride)
        rows = TensorRows(image[0])
        tile = tile or self.tile_side(rows, stride)
        workspace = Workspace(self.buffer_sizes(rows, tile, stride))
        bands = [
            self.band(rows, begin, end, stride=stride, method=method, tile=tile, workspace=workspace)
            for begin, end in pieces(rows.height, tile, stride)
        ]
        return torch.cat([e for e, _ in bands]), torch.cat([v for _, v in bands])

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
    ) -> tuple[Tensor, Tensor]:
        """`error_and_variance` of the rows [begin, end) of an image; `begin` is a multiple of 8 and of `stride`."""
        check_stride(stride)
        networks = [self.teacher, *self.students]
        engines = [engine_for(net) for net in networks] if engine_serves(networks, None, method) else []
        image = LastRows(image)
        workspace = workspace or Workspace()
        tiles = [
            _score(self, engines, image, (begin, end), columns, stride, workspace)
            if engines
            else _score_directly(self, image, (begin, end), columns, stride)
            for columns in pieces(image.width, tile or self.tile_side(image, stride), stride)
        ]
        return torch.cat([e for e, _ in tiles], 1), torch.cat([v for _, v in tiles], 1)

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
        return buffer_sizes(layers_of(self.teacher), length, tile, stride, len(self.students) + 1)


def _score(
    ensemble: Ensemble,
    engines: Sequence[Engine],
    image: ImageRows,
    rows: tuple[int, int],
    columns: tuple[int, int],
    stride: int,
    workspace: Workspace,
) -> tuple[Tensor, Tensor]:
    """e and v of one tile, by the engines: all networks up to their last layers, then these together."""
    layers, margin = engines[0].layers, ensemble.teacher.patch_size // 2
    row_plan = plan_axis(layers, image.height, *rows, stride)
    column_plan = plan_axis(layers, image.width, *columns, stride)
    window = padded_window(
        image, (row_plan.begin, row_plan.end), (column_plan.begin, column_plan.end), margin, ensemble.teacher.padding
    )
    xs = [engine.before_last(window, row_plan, column_plan, workspace, i) for i, engine in enumerate(engines)]
    last = [engine.arguments(len(layers) - 1, row_plan, column_plan) for engine in engines]
    e, v = ops.dense_score(
        xs,
        [weights for weights, _, _ in last],
        [bias for _, bias, _ in last],
        pad_channels(ensemble.mean),
        pad_channels(ensemble.std, fill=1.0),  # the padded channels are zero in every network
        **last[0][2],
        image=(row_plan.size, column_plan.size),
    )
    row = slice(rows[0] * row_plan.every // stride - row_plan.origin, None, row_plan.every)
    column = slice(columns[0] * column_plan.every // stride - column_plan.origin, None, column_plan.every)
    return e[row, column], v[row, column]


def _score_directly(
    ensemble: Ensemble, image: ImageRows, rows: tuple[int, int], columns: tuple[int, int], stride: int
) -> tuple[Tensor, Tensor]:
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
    e, v = ops.ensemble_score(students, teacher, ensemble.mean, ensemble.std)
    return e[0], v[0]


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of e and of v over all pixels of the held-out good images (Eq. 11).

    And what the paper has not: images differ in light, sharpness and noise, and with them the error everywhere in an
    image. Before Eq. 11, e and v are multiplied by (typical level / the image's level) to the power of `strength`.
    The level is the lower decile of e over every 8th pixel of every 8th row: a defect may cover most of the image. It
    is taken for a tenth to ten times the typical one.

    Attributes:
        e_mean, e_std, v_mean, v_std: as in Eq. 11.
        level: the typical one, the geometric mean over the held-out images.
        strength: 0, as in the paper, leaves e and v as they are; 1 takes the level out wholly.
    """

    e_mean: float
    e_std: float
    v_mean: float
    v_std: float
    level: float = 1.0
    strength: float = 0.0

    @staticmethod
    def of(maps: Sequence[tuple[Tensor, Tensor]], strength: float = 0.0) -> Normalization:
        """From the (e, v) maps of the held-out images, in float64."""
        level = 1.0
        if strength:
            levels = torch.stack([image_level(e) for e, _ in maps]).double().clamp_min(1e-30)
            level = float(levels.log().mean().exp())
        factors = [Normalization(0, 1, 0, 1, level, strength).factor(e) for e, _ in maps]
        figures: list[float] = []
        for i in (0, 1):
            count = 0
            mean = square = torch.zeros((), dtype=torch.float64)
            for pair, factor in zip(maps, factors, strict=True):  # image by image: together they may be gigabytes
                values = (pair[i] * factor).double()
                variance, here = torch.var_mean(values, correction=0)
                n, shift = values.numel(), here - mean
                square = square + variance * n + shift.square() * (count * n / (count + n))  # Chan et al. 1983
                mean = mean + shift * (n / (count + n))
                count += n
            std = (square / count).sqrt()
            # a constant score carries no information: any finite divisor serves
            figures += [float(mean), float(std) if std > 0 else 1.0]
        e_mean, e_std, v_mean, v_std = figures
        return Normalization(e_mean, e_std, v_mean, v_std, level, strength)

    def factor(self, e: Tensor, stride: int = 1) -> Tensor:
        """What e and v of images are multiplied by.

        Args:
            e: of all pixels of images, or of every stride-th, [..., h, w].

        Returns:
            [..., 1, 1].
        """
        if not self.strength:
            return torch.ones((), dtype=e.dtype, device=e.device)
        # an image that is hardly any trouble must not blow up, nor one with trouble all over be silenced
        level = image_level(e, stride).clamp(self.level / _LEVELS, self.level * _LEVELS)
        return (self.level / level).pow(self.strength)[..., None, None]

    def score(self, e: Tensor, v: Tensor, factor: Tensor | None = None) -> Tensor:
        """ẽ + ṽ of Eq. 11, float32, same shape. With one student v is 0 throughout and adds nothing.

        Args:
            e, v: of all of an image, at every pixel, or of any pixels with the image's `factor`.
        """
        if self.strength:
            factor = self.factor(e) if factor is None else factor
            e, v = e * factor, v * factor
        return (e - self.e_mean) / self.e_std + (v - self.v_mean) / self.v_std


LEVEL_STRIDE = 8
"""An image's level is that of every so many-th pixel of every so many-th row."""
_LOWEST = 0.1  # share of the pixels that an image's level is above
_LEVELS = 10  # a level is taken for at most so many times the typical one, and at least so small a part of it


def image_level(e: Tensor, stride: int = 1) -> Tensor:
    """The lower decile of the error of images [..., h, w] of which every stride-th pixel is given: [...]."""
    step = max(1, LEVEL_STRIDE // stride)
    values = e[..., ::step, ::step].flatten(-2).sort(-1).values  # NaN comes last
    return values[..., int(_LOWEST * (values.shape[-1] - 1))]


def fuse(scores: Sequence[Tensor]) -> Tensor:
    """The mean over the scales (Eq. 12)."""
    return torch.stack(list(scores)).mean(0)
