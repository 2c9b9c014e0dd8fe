"""What students learn: the teacher's descriptors of the training images, computed once where there is room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from stadx.core.errors import DataError
from stadx.core.progress import Progress, silent
from stadx.data.source import ImageSource
from stadx.networks.border import Computed, Span, computed_pixels
from stadx.networks.dense import describe, engine_serves
from stadx.networks.engine import Engine, Workspace, engine_for
from stadx.networks.patch_network import PatchNetwork, dense_features_padded
from stadx.networks.plan import buffer_sizes, layers_of
from stadx.networks.windows import TensorRows, pieces
from stadx.networks.winograd import training_grid

from .crops import Crop
from .sharing import Share

_WHOLE_PIXELS = 1 << 20  # of images whose statistics are taken at once, those of larger ones tile by tile
_TILE = 384  # pixels a side
_CACHE_BYTES, _GPU_CACHE_BYTES = 512 << 20, 4 << 30  # a GPU's own memory has no other use in a training
_LEAST_STD = 1e-2  # of a channel, in units of the median; real teachers' are all of one order


class TeacherTargets:
    """The teacher's descriptors of crops of training images.

    Whole maps of the first images are kept, as float16, as far as they fit; the crops of the others are computed when
    asked for, which is a small part of a training step. Which are kept depends on the images alone, so that a resumed
    training sees the same values.

    Args:
        teacher: the frozen teacher T; descriptors are computed, kept and returned on its device.
        source: training images.
        indices: those in use.
        cache_bytes: memory for kept maps, two bytes a number: 128 · H · W · 2 an image. None: 512 MiB, on a GPU 4 GiB.
        inside: whether only pixels whose patch lies within the image are in use, see `computed_pixels`.

    Attributes:
        sizes: height and width of each image in use, without the pixels that are not.
    """

    def __init__(
        self,
        teacher: PatchNetwork,
        source: ImageSource,
        indices: Sequence[int],
        cache_bytes: int | None = None,
        inside: bool = False,
    ) -> None:
        self.teacher = teacher
        self.source = source
        self.indices = list(indices)
        self._device = next(teacher.parameters()).device
        if cache_bytes is None:
            cache_bytes = _CACHE_BYTES if self._device.type == "cpu" else _GPU_CACHE_BYTES
        self._workspace = Workspace()  # of crops
        self._maps: dict[int, Tensor] = {}
        self._places: dict[int, int] = {}  # of kept maps, in numbers from the start of the room for all
        self._size = 0
        pixels = {index: self._computed(source[index], inside) for index in self.indices}
        self._pixels = pixels
        self._begins = {index: (rows.begin, columns.begin) for index, (rows, columns) in pixels.items()}
        self.sizes = {index: (rows.count, columns.count) for index, (rows, columns) in pixels.items()}
        for index, (height, width) in self.sizes.items():
            size = teacher.descriptor_size * height * width
            if 2 * (self._size + size) > cache_bytes:
                break
            self._places[index] = self._size
            self._size += size

    def _computed(self, image: Tensor, inside: bool) -> Computed:
        return computed_pixels(image.shape[1], image.shape[2], self.teacher.patch_size, inside)

    def inside(self, index: int) -> Tensor | None:
        """Which pixels in use of an image are looked at, bool [h, w]; None: all."""
        mask = self.source.inside(index)
        return None if mask is None else self._pixels[index].of(mask)

    def receptive_field(self, index: int, crop: Crop) -> Tensor:
        """What a network needs to describe a crop of an image, see `Crop.receptive_field`."""
        return crop.receptive_field(self.source[index], self.teacher, self._begins[index] > (0, 0))

    def _parts(self, index: int) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
        """Places and descriptors [h, w, d] of an image's parts, float32, the caller's to change; kept if they fit."""
        height, width = self.sizes[index]
        side = max(height, width) if height * width <= _WHOLE_PIXELS else _TILE
        kept = self._room_of(index) if index in self._places and index not in self._maps else None
        image = TensorRows(self.source[index])
        # one for all tiles: memory that comes and goes leaves holes
        top, left = self._begins[index]
        longest = max(image.height, image.width)
        workspace = Workspace(
            buffer_sizes(layers_of(self.teacher), longest, Span(top, top + max(height, width)), _TILE, 1)
        )
        for rows in pieces(0, height, side, 1):
            for columns in pieces(0, width, side, 1):
                on_image = (rows[0] + top, rows[1] + top), (columns[0] + left, columns[1] + left)
                part = self._described(image, *on_image, workspace)
                place = slice(*rows), slice(*columns)
                if kept is not None:
                    kept[place] = part
                yield place, part
        if kept is not None:
            self._maps[index] = kept

    def _described(
        self, image: TensorRows, rows: tuple[int, int], columns: tuple[int, int], workspace: Workspace
    ) -> Tensor:
        """Descriptors [h, w, d] of a part of an image; what the engine needs beside them does not grow with it."""
        height, width = rows[1] - rows[0], columns[1] - columns[0]
        # PyTorch's convolutions may round otherwise in tiles
        if max(height, width) <= _TILE or not engine_serves([self.teacher], None, "auto"):
            return describe(self.teacher, image, rows, columns, workspace)
        descriptors = torch.empty(height, width, self.teacher.descriptor_size)
        for top, bottom in pieces(0, height, _TILE, 1):
            for left, right in pieces(0, width, _TILE, 1):
                tile = (rows[0] + top, rows[0] + bottom), (columns[0] + left, columns[0] + right)
                descriptors[top:bottom, left:right] = describe(self.teacher, image, *tile, workspace)
        return descriptors

    @torch.no_grad()
    def whole(self, index: int) -> Tensor:
        """Descriptors [h, w, d] of an image's pixels that are in use, float16."""
        if index not in self._maps:
            found = torch.empty(*self.sizes[index], self.teacher.descriptor_size, dtype=torch.float16)
            for place, part in self._parts(index):
                found[place] = part
            return self._maps.get(index, found.to(self._device))
        return self._maps[index]

    @cached_property
    def _engine(self) -> Engine | None:
        """The teacher's, if one serves; looked for once: whether it is still the teacher's takes a millisecond."""
        return engine_for(self.teacher) if engine_serves([self.teacher], None, "auto") else None

    @cached_property
    def _room(self) -> Tensor:
        # one block: maps of their own, between all that comes and goes, would leave holes of several times their size
        return torch.empty(self._size, dtype=torch.float16, device=self._device)

    def _room_of(self, index: int) -> Tensor:
        """Where an image's kept map [h, w, d] is, or is to be."""
        height, width = self.sizes[index]
        start, size = self._places[index], height * width * self.teacher.descriptor_size
        return self._room[start : start + size].view(height, width, -1)

    @torch.no_grad()
    def crop(self, index: int, crop: Crop, part: Tensor | None = None) -> Tensor:
        """Descriptors of a crop of an image, float32 [1, d, h, w], rounded to float16.

        Args:
            part: the crop's receptive field, where it is known: the image may have to be read for it.
        """
        if index in self._places:
            if index not in self._maps:
                for _ in self._parts(index):
                    pass
            return crop.of(self._maps[index]).permute(2, 0, 1)[None].float()
        if part is None:
            part = self.receptive_field(index, crop)
        if self._engine is not None:
            found = self._engine.of_padded(part[0], self.teacher.patch_size, crop.stride, self._workspace)
            found = found.permute(2, 0, 1)[None]
        elif crop.stride > 1:
            found = training_grid(self.teacher, part, crop.stride)
        else:
            found = dense_features_padded(self.teacher, part)
        return found.half().float()

    @torch.no_grad()
    def statistics(self, progress: Progress = silent, share: Share | None = None) -> tuple[Tensor, Tensor]:
        """µ and σ [d]: mean and deviation per channel over every pixel of every image, summed in float64.

        Pixels that are not looked at do not count.

        A σ far below the other channels' is raised: dividing by it would blow up the rounding of the kept descriptors.

        Args:
            share: whose processes take the images in turn; all of them must call it. None: this one takes all.

        Raises:
            DataError: if all pixels of all images are the same, or the teacher's descriptors of them.
        """
        colours = self.source[self.indices[0]][:, :1, :1]
        if not any(bool((self.source[index] != colours).any()) for index in self.indices):
            raise DataError(
                f"{self.source.name}: the training images are all one colour, there is nothing to learn from; "
                "check the folder"
            )
        share = share or Share(1)
        stage, total = f"Teacher's descriptors, p = {self.teacher.patch_size}", len(self.indices)
        figures = share.each(
            total,
            lambda place: self._figures(self.indices[place]),
            lambda done: progress(stage, done, total, {}),
        )
        # all need every kept map, and sending takes a fraction of describing; on a GPU `crop` makes them
        if self._device.type == "cpu":
            for place, index in enumerate(self.indices):
                if index in self._places:
                    share.send(self._room_of(index), place)
                    self._maps[index] = self._room_of(index)
        count = 0
        mean = square = torch.zeros(self.teacher.descriptor_size, dtype=torch.float64)
        for n, here, deviation in (part for place in range(total) for part in figures[place]):
            shift = here - mean
            square = square + deviation + shift.square() * (count * n / (count + n))  # Chan et al. 1983
            mean = mean + shift * (n / (count + n))
            count += n
        std = (square / count).sqrt()
        if std.max() == 0:
            raise DataError(
                f"{self.source.name}: the teacher of p = {self.teacher.patch_size} sees no difference between any two "
                "places of the training images; check them, or take another teacher"
            )
        return mean.float().to(self._device), usable_deviations(std).float().to(self._device)

    def _figures(self, index: int) -> list[tuple[int, Tensor, Tensor]]:
        """Of an image's parts: how many pixels count, their mean and squared deviations [d], float64, on the CPU."""
        inside = self.inside(index)
        found = []
        for place, descriptors in self._parts(index):
            n = descriptors.shape[0] * descriptors.shape[1]
            weight = None if inside is None else inside[place][..., None].to(descriptors)
            if weight is not None:
                n = int(weight.sum())
                descriptors.mul_(weight)
            if not n:
                continue
            # float32 along a row only: exact enough, and five times faster than float64
            here = descriptors.sum(1).double().sum(0) / n
            descriptors.sub_(here.float())
            if weight is not None:
                descriptors.mul_(weight)
            deviation = descriptors.square_().sum(1).double().sum(0)
            found.append((n, here.cpu(), deviation.cpu()))
        return found


def usable_deviations(std: Tensor) -> Tensor:
    """What channels [d] are divided by: their deviation, but at least a hundredth of the median one's.

    By its own a channel that hardly varies would drown the others. Where none varies at all: 1.
    """
    alive = std[std > 1e-4 * std.max()]
    return std.clamp_min(_LEAST_STD * float(alive.median())) if len(alive) else torch.ones_like(std)
