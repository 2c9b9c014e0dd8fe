"""The dense engine's operators against their plain-PyTorch references, on every instruction set."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from rounding import UNIT, rounded, winograd_gain
from torch import Tensor

from stadx import ops
from stadx.ops import reference

pytestmark = pytest.mark.arithmetic


WINOGRAD = [(5, 10), (4, 10), (2, 8)]  # kernel, tile
DIRECT = [(1, 0), (5, 0), (6, 0), (4, 0)]


def limit_of(weight: Tensor, tile: int) -> float:
    """Of the error in float32, beside the largest output."""
    _, channels, kernel, _ = weight.shape
    if tile == 0:
        return rounded(channels * kernel**2)
    return rounded(channels + 4 * tile, winograd_gain(tile, kernel))  # transforms there and back, rows and columns


def random_layer(
    kernel: int, phases: int, rows: int, columns: int, channels: int, outputs: int, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(phases, phases, rows, columns, channels, generator=generator)
    weight = torch.randn(outputs, channels, kernel, kernel, generator=generator) / (channels * kernel**2) ** 0.5
    return x, weight, torch.randn(outputs, generator=generator)


def padded_bias(bias: Tensor) -> Tensor:
    return torch.nn.functional.pad(bias, (0, -len(bias) % 16))


def settings(**changes: Any) -> dict[str, Any]:
    return {"pool_shifts": 0, "step": 1, "offset": (0, 0), "slope": 5e-3, **changes}


def compare(x: Tensor, weight: Tensor, bias: Tensor, tile: int, **arguments: Any) -> None:
    packed = ops.pack_weights(weight, tile, x.shape[-1])
    found = ops.dense_layer(x, packed, padded_bias(bias), kernel=weight.shape[2], tile=tile, **arguments)
    wanted = reference.dense_layer(x.double(), weight.double(), bias.double(), **arguments)
    outputs = len(bias)
    assert found.shape == (*wanted.shape[:-1], outputs + -outputs % 16)
    assert (found[..., outputs:] == 0).all()
    error = (found[..., :outputs] - wanted).abs().max() / wanted.abs().max()
    assert error < limit_of(weight, tile)


@pytest.mark.parametrize("outputs", [1, 16, 70, 128])
@pytest.mark.parametrize("kernel, tile", [*WINOGRAD, *DIRECT])
def test_any_number_of_outputs(instruction_set: str, kernel: int, tile: int, outputs: int) -> None:
    x, weight, bias = random_layer(kernel, 1, 23, 31, 16, outputs)
    compare(x, weight, bias, tile, **settings(size=(23 - kernel + 1, 31 - kernel + 1)))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (7, 5), (13, 14)], ids=str)
@pytest.mark.parametrize("kernel, tile", WINOGRAD)
def test_odd_sizes_and_zeros_beyond_the_end(
    instruction_set: str, kernel: int, tile: int, size: tuple[int, int]
) -> None:
    # inputs end anywhere within the last tile's window, or before it begins
    for cut in (0, 1, 5):
        rows, columns = max(size[0] + kernel - 1 - cut, 1), max(size[1] + kernel - 1 - cut, 1)
        x, weight, bias = random_layer(kernel, 2, rows, columns, 32, 20)
        compare(x, weight, bias, tile, **settings(size=size))


@pytest.mark.parametrize("pool_shifts", [1, 2])
@pytest.mark.parametrize("kernel, tile", WINOGRAD)
def test_pooled_input(instruction_set: str, kernel: int, tile: int, pool_shifts: int) -> None:
    x, weight, bias = random_layer(kernel, 2, 33, 36, 16, 24)
    compare(x, weight, bias, tile, **settings(pool_shifts=pool_shifts, offset=(0, 3), size=(12, 9)))
    compare(x, weight, bias, tile, **settings(pool_shifts=pool_shifts, offset=(2, 0), size=(15, 20), slope=1.0))


@pytest.mark.parametrize("kernel, tile", [*WINOGRAD, *DIRECT])
def test_interleaving_the_phases(instruction_set: str, kernel: int, tile: int) -> None:
    x, weight, bias = random_layer(kernel, 3, 14, 15, 16, 24)
    compare(x, weight, bias, tile, **settings(size=(8, 9), image=(24, 27)))
    compare(x, weight, bias, tile, **settings(size=(8, 9), image=(22, 20)))


@pytest.mark.parametrize("channels", [3, 16])
@pytest.mark.parametrize("step", [1, 2, 4])
def test_direct_convolution_with_steps(instruction_set: str, step: int, channels: int) -> None:
    x, weight, bias = random_layer(4, 2, 30, 41, channels, 40)
    compare(x, weight, bias, 0, **settings(step=step, offset=(1, 0), size=(26 // step, 38 // step)))


@pytest.mark.parametrize("columns", range(1, 14))
def test_any_number_of_rows_in_the_matrix_product(instruction_set: str, columns: int) -> None:
    # six rows at a time and what is left over
    x, weight, bias = random_layer(1, 1, 2, columns, 16, 70)
    compare(x, weight, bias, 0, **settings(size=(2, columns)))
    x, weight, bias = random_layer(2, 1, 8, 7 * columns + 1, 16, 20)
    compare(x, weight, bias, 8, **settings(size=(7, 7 * columns)))


@pytest.mark.parametrize("tile", [8, 10])
def test_points_give_the_exact_convolution(tile: int) -> None:
    generator = torch.Generator().manual_seed(0)
    for kernel in (2, 4, 5):
        bt, g, at = reference.winograd_matrices(tile, kernel)
        d, w = (torch.randn(n, dtype=torch.float64, generator=generator) for n in (tile, kernel))
        wanted = d.unfold(0, kernel, 1) @ w
        torch.testing.assert_close(at @ ((g @ w) * (bt @ d)), wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kernel, tile", WINOGRAD)
@pytest.mark.usefixtures("instruction_set")
def test_weights_are_transformed_in_float64(kernel: int, tile: int) -> None:
    _, weight, _ = random_layer(kernel, 1, 1, 1, 5, 70)
    packed = ops.pack_weights(weight, tile, 16)
    _, g, _ = reference.winograd_matrices(tile, kernel)
    wanted = torch.zeros(tile * tile, 16, 128, dtype=torch.float64)
    wanted[:, :5, :70] = torch.einsum("ki,lj,ocij->klco", g, g, weight.double()).flatten(0, 1)
    width = ops.weight_width()
    wanted = wanted.unflatten(2, (2, 64 // width, width)).permute(2, 0, 3, 1, 4)
    assert packed.shape == (2, tile * tile, 64 // width, 16, width)
    torch.testing.assert_close(packed.double(), wanted, rtol=1.01 * UNIT, atol=1e-12)  # rounded once


def test_results_do_not_depend_on_threads_or_neighbours(instruction_set: str) -> None:
    before = torch.get_num_threads()
    x, weight, bias = random_layer(5, 2, 70, 61, 16, 24)
    packed = ops.pack_weights(weight, 10, 16)
    arguments = settings(kernel=5, tile=10, size=(66, 57))
    try:
        torch.set_num_threads(1)
        single = ops.dense_layer(x, packed, padded_bias(bias), **arguments)
        torch.set_num_threads(3)
        several = ops.dense_layer(x, packed, padded_bias(bias), **arguments)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(single, several)
    # whole tiles computed apart from the rest, with the rest of their window
    part = ops.dense_layer(x[:, :, 12:40].contiguous(), packed, padded_bias(bias), **{**arguments, "size": (24, 57)})
    assert torch.equal(part, single[:, :, 12:36])


@pytest.mark.parametrize("students", [1, 3, 4])
@pytest.mark.parametrize(
    "kernel, tile, pool_shifts", [(4, 10, 0), (4, 10, 2), (5, 10, 0), (2, 8, 1), (1, 0, 0), (4, 0, 0)]
)
def test_score(instruction_set: str, kernel: int, tile: int, pool_shifts: int, students: int) -> None:
    layers = [random_layer(kernel, 2, 25, 29, 16, 20, seed) for seed in range(students + 1)]
    generator = torch.Generator().manual_seed(9)
    mean, std = torch.randn(20, generator=generator), torch.rand(20, generator=generator) + 0.5
    size = (9, 11) if pool_shifts else (20, 21)
    phases = 2 * max(pool_shifts, 1)
    arguments = settings(pool_shifts=pool_shifts, size=size, slope=1.0, image=(size[0] * phases - 1, size[1] * phases))
    e, v = ops.dense_score(
        [x for x, _, _ in layers],
        [ops.pack_weights(w, tile, 16) for _, w, _ in layers],
        [padded_bias(b) for _, _, b in layers],
        padded_bias(mean),
        torch.nn.functional.pad(std, (0, 12), value=1.0),
        kernel=kernel,
        tile=tile,
        **arguments,
    )
    columns = [[t.double() for t in column] for column in zip(*layers, strict=True)]
    wanted_e, wanted_v = reference.dense_score(*columns, mean.double(), std.double(), **arguments)
    limit = 4 * limit_of(layers[0][1], tile)  # of a difference between two outputs, then of its square
    assert (e - wanted_e).abs().max() < limit * wanted_e.max()
    assert (v - wanted_v).abs().max() < limit * wanted_v.max() or (students == 1 and (v == 0).all())


def test_score_is_layer_and_ensemble_score() -> None:
    layers = [random_layer(4, 2, 17, 19, 16, 32, seed) for seed in range(4)]
    packed = [(x, ops.pack_weights(w, 10, 16), b) for x, w, b in layers]
    arguments = settings(kernel=4, tile=10, size=(14, 16), slope=1.0, image=(28, 32))
    mean, std = torch.randn(32), torch.rand(32) + 0.5
    e, v = ops.dense_score(*(list(column) for column in zip(*packed, strict=True)), mean, std, **arguments)
    maps = [ops.dense_layer(*layer, **arguments).permute(2, 0, 1)[None] for layer in packed]
    block = torch.stack(maps[1:])
    wanted_e, wanted_v = ops.ensemble_score(block, maps[0], mean, std)
    limit = rounded(3 * 32)  # the same outputs, their squares summed over students and channels in another order
    torch.testing.assert_close(e, wanted_e[0], rtol=limit, atol=limit)
    torch.testing.assert_close(v, wanted_v[0], rtol=limit, atol=limit)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_shows(instruction_set: str, value: float) -> None:
    x, weight, bias = random_layer(5, 1, 30, 30, 16, 16)
    x[0, 0, 12, 13, 4] = value
    y = ops.dense_layer(x, ops.pack_weights(weight, 10, 16), bias, **settings(kernel=5, tile=10, size=(26, 26)))
    assert not torch.isfinite(y[0, 0, 8:13, 9:14]).any()
    assert torch.isfinite(y[0, 0, 20:, 20:]).all()  # tiles that do not read it


def test_huge_values(instruction_set: str) -> None:
    x, weight, bias = random_layer(4, 1, 20, 20, 16, 16)
    compare(x * 1e25, weight, bias, 10, **settings(size=(17, 17)))
    compare(x * 1e-25, weight, bias * 0, 10, **settings(size=(17, 17)))


def test_opcheck() -> None:
    x, weight, bias = random_layer(5, 1, 20, 20, 16, 16)
    packed = ops.pack_weights(weight, 10, 16)
    torch.library.opcheck(torch.ops.stadx.pack_weights.default, (weight, 10, 16))
    rest = (5, 10, 2, 1, (0, 0), (5, 4), 5e-3)
    torch.library.opcheck(
        torch.ops.stadx.dense_layer.default, (x, packed, bias, *rest, (), torch.empty(2, 2, 5, 4, 16))
    )
    torch.library.opcheck(
        torch.ops.stadx.dense_layer.default, (x, packed, bias, *rest, (10, 7), torch.empty(10, 7, 16))
    )
    score = ([x, x], [packed, packed], [bias, bias], bias, bias, *rest, (10, 7))
    torch.library.opcheck(torch.ops.stadx.dense_score.default, score)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"x": torch.zeros(1, 1, 9, 9, 15)}, "channels in multiples of 16"),
        ({"x": torch.zeros(1, 1, 9, 9, 16, dtype=torch.float64)}, "float32"),
        ({"x": torch.zeros(1, 1, 9, 9, 32)[..., ::2]}, "contiguous"),
        ({"x": torch.zeros(1, 2, 9, 9, 16)}, "phases"),
        ({"x": torch.zeros(1, 1, 9, 9, 32)}, "not packed"),
        ({"tile": 8}, "Winograd has tile 10"),
        ({"tile": 0}, "not packed"),
        ({"kernel": 3}, "Winograd has tile 10"),
        ({"step": 2}, "step 1"),
        ({"pool_shifts": 3}, "pool_shifts"),
        ({"offset": (-1, 0)}, "offset"),
        ({"size": (0, 4)}, "size"),
        ({"size": (4,)}, "size"),
        ({"slope": 2.0}, "slope"),
        ({"image": (6, 5)}, "image"),
        ({"image": (3,)}, "image"),
        ({"out": torch.zeros(1, 1, 5, 5, 32)}, "out has size 32"),
        ({"out": torch.zeros(1, 1, 5, 5, 32)[..., ::2]}, "out must be a contiguous"),
        ({"out": torch.zeros(401)[1:].view(1, 1, 5, 5, 16)}, "64 bytes"),
        ({"bias": torch.zeros(20)}, "bias"),
        ({"bias": torch.zeros(80)}, "bias"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    x, weight, bias = random_layer(5, 1, 9, 9, 16, 16)
    arguments = settings(x=x, weights=ops.pack_weights(weight, 10, 16), bias=bias, kernel=5, tile=10, size=(5, 5))
    with pytest.raises(RuntimeError, match=message):
        ops.dense_layer(**{**arguments, **change})


def test_a_direct_window_must_lie_inside() -> None:
    x, weight, bias = random_layer(4, 1, 9, 9, 3, 16)
    packed = ops.pack_weights(weight, 0, 3)
    with pytest.raises(RuntimeError, match="too small"):
        ops.dense_layer(x, packed, bias, **settings(kernel=4, tile=0, size=(7, 6)))
    with pytest.raises(RuntimeError, match="tile"):
        ops.pack_weights(weight, 6, 3)
    with pytest.raises(RuntimeError, match="channels"):
        ops.pack_weights(weight, 0, 2)


def test_score_wants_networks_that_fit_together() -> None:
    x, weight, bias = random_layer(5, 1, 9, 9, 16, 16)
    packed = ops.pack_weights(weight, 10, 16)
    arguments = settings(kernel=5, tile=10, size=(5, 5), image=(5, 5))
    with pytest.raises(RuntimeError, match="at least one student"):
        ops.dense_score([x], [packed], [bias], bias, bias, **arguments)
    with pytest.raises(RuntimeError, match="differ in shape"):
        ops.dense_score([x, x[:, :, 1:].contiguous()], [packed] * 2, [bias] * 2, bias, bias, **arguments)
    with pytest.raises(RuntimeError, match="mean and std"):
        ops.dense_score([x, x], [packed] * 2, [bias] * 2, bias[:8], bias, **arguments)
