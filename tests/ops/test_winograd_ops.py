"""What training by Winograd's method is made of, against plain-PyTorch references, on every instruction set."""

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
    assert found.shape == wanted.shape and found[0].is_contiguous()
    error = (found.double() - wanted).abs().max() / wanted.abs().max()
    assert error < rounded(4 * 10)  # sums of up to 10 terms along rows, then columns, of rounded coefficients


def random(*size: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(sum(size)))


def apart(matrices: Tensor) -> Tensor:
    """The same, with numbers between one matrix and the next that are not to be read."""
    count, rows, columns = matrices.shape
    room = torch.full((count, rows * columns + 5), torch.nan)
    room[:, : rows * columns] = matrices.flatten(1)
    return room[:, : rows * columns].view(count, rows, columns)


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


@pytest.mark.parametrize("channels, outputs", [(16, 1), (48, 3), (128, 16)])
@pytest.mark.parametrize("tile, kernel", CASES)
def test_weights_and_back(instruction_set: str, tile: int, kernel: int, channels: int, outputs: int) -> None:
    w = random(outputs, kernel, kernel, channels)
    u = ops.winograd_weights(w, tile, kernel)
    close(u, reference.winograd_weights(w.double(), tile, kernel, False))
    values = random(*u.shape)
    for given in (values, apart(values)):
        back = ops.winograd_weights(given, tile, kernel, transposed=True)
        close(back, reference.winograd_weights(values.double(), tile, kernel, True))


# n, R, K, C: one row, one more than the kernel's six, one less; a part of a panel and of a block to transpose
PRODUCTS = [(1, 1, 1, 16), (3, 7, 5, 48), (2, 6, 33, 64), (2, 11, 16, 80), (1, 40, 100, 256), (100, 2, 3, 128)]


@pytest.mark.parametrize("size", PRODUCTS, ids=str)
@pytest.mark.parametrize("left_transposed", [False, True])
@pytest.mark.parametrize("right_transposed", [False, True])
def test_products(
    instruction_set: str, left_transposed: bool, right_transposed: bool, size: tuple[int, int, int, int]
) -> None:
    count, rows, depth, columns = size
    left = random(count, *((depth, rows) if left_transposed else (rows, depth)))
    right = random(count, *((columns, depth) if right_transposed else (depth, columns)))
    both = {"left_transposed": left_transposed, "right_transposed": right_transposed}
    wanted = reference.matrix_products(left.double(), right.double(), left_transposed, right_transposed)
    found = ops.matrix_products(left, right, **both)
    # of the sum of magnitudes, whatever order the depth's products are added in
    sizes = reference.matrix_products(left.abs().double(), right.abs().double(), left_transposed, right_transposed)
    assert found.shape == wanted.shape and ((found - wanted).abs() <= rounded(depth) * sizes).all()
    assert torch.equal(ops.matrix_products(apart(left), apart(right), **both), found)


def test_matrices_of_one_row_may_have_any_stride(instruction_set: str) -> None:
    left, right = random(2, 4, 1), random(2, 16, 1)  # their transposes are contiguous, too
    assert torch.equal(ops.matrix_products(left.mT, random(2, 4, 16).zero_()), torch.zeros(2, 1, 16))
    torch.testing.assert_close(ops.matrix_products(random(2, 3, 1).fill_(2), right.mT), 2 * right.mT.expand(2, 3, 16))


def test_products_of_nothing(instruction_set: str) -> None:
    assert ops.matrix_products(random(0, 3, 4), random(0, 4, 16)).shape == (0, 3, 16)
    assert ops.matrix_products(random(2, 0, 4), random(2, 4, 16)).shape == (2, 0, 16)
    assert ops.matrix_products(random(2, 3, 4), random(2, 4, 0)).shape == (2, 3, 0)
    assert torch.equal(ops.matrix_products(random(2, 3, 0), random(2, 0, 16)), torch.zeros(2, 3, 16))


def test_products_of_huge_values_and_no_numbers(instruction_set: str) -> None:
    left, right = random(2, 9, 20), random(2, 20, 32)
    left[0] *= 1e30
    left[1, 4, 7], right[1, 3, 5] = torch.inf, torch.nan
    found, wanted = ops.matrix_products(left, right), reference.matrix_products(left, right, False, False)
    torch.testing.assert_close(found, wanted, equal_nan=True, rtol=1e-4, atol=1e-4)
    assert found[1, 4].isinf().sum() == 31 and found[1, :, 5].isnan().all()


def test_products_are_the_same_bits_whatever_the_number_of_threads(instruction_set: str) -> None:
    left, right, threads = random(7, 13, 50), random(7, 50, 144), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = ops.matrix_products(left, right)
        torch.set_num_threads(4)
        assert torch.equal(ops.matrix_products(left, right), alone)
    finally:
        torch.set_num_threads(threads)


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
    torch.library.opcheck(torch.ops.stadx.winograd_weights.default, (random(3, 4, 4, 16), 8, 4, False))
    torch.library.opcheck(torch.ops.stadx.winograd_weights.default, (random(64, 3, 16), 8, 4, True))
    for left, right, *both in (
        (random(2, 3, 4), random(2, 4, 16), False, False),
        (random(2, 4, 3), random(2, 16, 4), True, True),
    ):
        torch.library.opcheck(torch.ops.stadx.matrix_products.default, (left, right, *both))


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
    with pytest.raises(RuntimeError, match="tiles must be contiguous in its last two dimensions"):
        ops.winograd_map(tiles.transpose(1, 2).contiguous().transpose(1, 2), (1, 12, 12), 10, 5)


def test_wrong_arguments_of_products_and_weights_are_named() -> None:
    left, right = random(2, 3, 4), random(2, 4, 16)
    with pytest.raises(RuntimeError, match="left and right do not fit together"):
        ops.matrix_products(left, right[:1])
    with pytest.raises(RuntimeError, match="left and right do not fit together"):
        ops.matrix_products(left, right, left_transposed=True)
    with pytest.raises(RuntimeError, match="columns must be a multiple of 16, not 15"):
        ops.matrix_products(left, right[..., :15].contiguous())
    with pytest.raises(RuntimeError, match="right must be contiguous in its last two dimensions"):
        ops.matrix_products(left, random(2, 16, 4).transpose(1, 2))
    with pytest.raises(RuntimeError, match="left must be a float32 tensor of 3 dimensions"):
        ops.matrix_products(left.double(), right)
    with pytest.raises(RuntimeError, match=r"weights must be \[O, 5, 5, C\]"):
        ops.winograd_weights(random(3, 4, 4, 16), 10, 5)
    with pytest.raises(RuntimeError, match=r"weights must be \[64, O, C\]"):
        ops.winograd_weights(random(100, 4, 16), 8, 5, transposed=True)
    with pytest.raises(RuntimeError, match="channels must be a multiple of 16, not 24"):
        ops.winograd_weights(random(3, 4, 4, 24), 8, 4)
