"""Maps to Winograd's tiles and back, against their plain-PyTorch references, on every instruction set."""

from __future__ import annotations

import pytest
import torch
from rounding import rounded
from torch import Tensor

from stadx import ops
from stadx.ops import reference

pytestmark = pytest.mark.arithmetic


CASES = [(8, 2), (8, 4), (8, 5), (10, 2), (10, 4), (10, 5)]  # tile, kernel
SIZES = [(1, 9, 9, 16), (2, 20, 33, 32), (3, 5, 41, 16), (1, 30, 6, 80), (1, 5, 5, 128)]  # N, H, W, C


def close(found: Tensor, wanted: Tensor) -> None:
    assert found.shape == wanted.shape and found.is_contiguous()
    error = (found.double() - wanted).abs().max() / wanted.abs().max()
    assert error < rounded(4 * 10)  # sums of up to 10 terms along rows, then columns, of rounded coefficients


def random(*size: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(sum(size)))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("tile, kernel", CASES)
@pytest.mark.parametrize("output", [False, True])
def test_tiles_of_a_map_and_back(
    instruction_set: str, output: bool, tile: int, kernel: int, size: tuple[int, int, int, int]
) -> None:
    x = random(*size)
    tiles = ops.winograd_tiles(x, tile, kernel, output=output)
    close(tiles, reference.winograd_tiles(x.double(), tile, kernel, output=output))
    values, bias = random(*tiles.shape), random(size[3]) if output else None
    wanted = reference.winograd_map(
        values.double(), size[:3], tile, kernel, bias=None if bias is None else bias.double()
    )
    close(ops.winograd_map(values, size[:3], tile, kernel, bias=bias), wanted)


@pytest.mark.parametrize("tile, kernel", CASES)
def test_each_is_the_transpose_of_another(tile: int, kernel: int) -> None:
    """⟨L x, y⟩ = ⟨x, Lᵀ y⟩, for what is read and for what is given, as the reference has it."""
    size, outputs = (2, 23, 19), (2, 23 - kernel + 1, 19 - kernel + 1)
    x, y = random(*size, 16).double(), random(*outputs, 16).double()
    tiles = reference.winograd_tiles(x, tile, kernel)
    values = random(*tiles.shape).double()
    back = reference.winograd_map(values, size, tile, kernel)
    torch.testing.assert_close((tiles * values).sum(), (x * back).sum())
    given = reference.winograd_map(values, outputs, tile, kernel, bias=torch.zeros(16).double())
    spread = reference.winograd_tiles(y, tile, kernel, output=True)
    torch.testing.assert_close((given * y).sum(), (values * spread).sum())


def test_tiles_make_a_convolution() -> None:
    for tile, kernel in CASES:
        x, weight, bias = random(2, 17, 24, 16).double(), random(32, 16, kernel, kernel).double(), random(32).double()
        g = reference.winograd_matrices(tile, kernel)[1]
        u = torch.einsum("ki, lj, ocij -> klco", g, g, weight).flatten(0, 1)
        size = 2, 17 - kernel + 1, 24 - kernel + 1
        y = reference.winograd_map(reference.winograd_tiles(x, tile, kernel) @ u, size, tile, kernel, bias=bias)
        torch.testing.assert_close(
            y.permute(0, 3, 1, 2), torch.nn.functional.conv2d(x.permute(0, 3, 1, 2), weight, bias)
        )


def test_values_that_are_huge_or_no_numbers(instruction_set: str) -> None:
    x = random(1, 20, 20, 16)
    close(ops.winograd_tiles(1e30 * x, 10, 5), reference.winograd_tiles(1e30 * x.double(), 10, 5))
    x[0, 0, 0, 3] = torch.nan
    tiles = ops.winograd_tiles(x, 10, 5)
    assert tiles[:, 0, 3].isnan().any()  # the first tile alone holds that pixel, and channels do not meet
    tiles[:, 0, 3] = 0
    assert tiles.isfinite().all()


def test_opcheck() -> None:
    x, tiles = random(1, 12, 12, 16), random(100, 4, 16)
    torch.library.opcheck(torch.ops.stadx.winograd_tiles.default, (x, 10, 5, False))
    torch.library.opcheck(torch.ops.stadx.winograd_tiles.default, (x, 8, 4, True))
    torch.library.opcheck(torch.ops.stadx.winograd_map.default, (tiles, None, 1, 12, 12, 10, 5, False))
    torch.library.opcheck(torch.ops.stadx.winograd_map.default, (tiles, random(16), 1, 9, 9, 10, 5, True))


def test_wrong_arguments_are_named() -> None:
    x = random(1, 12, 12, 16)
    for tile, kernel in ((6, 2), (8, 3), (10, 6), (8, 8)):
        with pytest.raises(RuntimeError, match="tile must be 8 or 10, kernel 2, 4 or 5"):
            ops.winograd_tiles(x, tile, kernel)
    with pytest.raises(RuntimeError, match="channels must be a multiple of 16, not 8"):
        ops.winograd_tiles(x[..., :8].contiguous(), 10, 5)
    with pytest.raises(RuntimeError, match="map must be a contiguous float32 tensor of 4 dimensions"):
        ops.winograd_tiles(x.transpose(1, 2)[:, ::2], 10, 5)
    with pytest.raises(RuntimeError, match="map must be a contiguous float32"):
        ops.winograd_tiles(x.double(), 10, 5)
    with pytest.raises(RuntimeError, match="the map is too small"):
        ops.winograd_tiles(x[:, :4].contiguous(), 10, 5)
    with pytest.raises(RuntimeError, match="the map is too small"):
        ops.winograd_tiles(x[:0], 10, 5)
    tiles = random(100, 4, 16)
    with pytest.raises(RuntimeError, match=r"tiles must be \[100, 4, C\]"):
        ops.winograd_map(tiles[:, :3].contiguous(), (1, 12, 12), 10, 5)
    with pytest.raises(RuntimeError, match=r"bias must be \[C\]"):
        ops.winograd_map(tiles, (1, 9, 9), 10, 5, bias=random(32))
