"""The benchmarks compare like with like: their peers compute the same, and the figures mean what they say."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn
from typer.testing import CliRunner

from stadx import PatchNetwork, dense_features, ops
from stadx.metrics import au_pro
from stadx.networks.choices import PATCH_SIZES

# at the end: a module of the tests with the same name wins
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import pro
import pro_peers
import spro
from efficientad_shape import EfficientADShape
from peers import PEERS, laid_out, multiply_adds, patch_by_patch, peak_bytes, phase_split_channels_last
from run import app
from sections import Case, Peak, dense_competitors
from table import ratio_table, report, rows
from timing import Competitor, interleaved


def narrow_network(p: int, channels: int = 4) -> PatchNetwork:
    """Every kernel, pool and phase of the real network, few channels, float64."""
    generator = torch.Generator().manual_seed(p)
    net = PatchNetwork(p)
    inputs = 3
    for i, layer in enumerate(net.layers):
        if isinstance(layer, nn.Conv2d):
            net.layers[i] = nn.Conv2d(inputs, channels, layer.kernel_size)
            inputs = channels
    net.init_from_data(torch.randn(64, 3, p, p, generator=generator), generator)
    return net.double().requires_grad_(False)


def images(*size: int) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("size", [(1, 1), (9, 14), (16, 3)], ids=str)
@pytest.mark.parametrize("how", PEERS)
@pytest.mark.parametrize("p", PATCH_SIZES)
def test_peers_equal_dense_features(p: int, how: str, size: tuple[int, int]) -> None:
    net = narrow_network(p)
    peer, layout = PEERS[how]
    found = peer(laid_out(net.layers, layout), p, images(*size))
    torch.testing.assert_close(found, dense_features(net, images(*size)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("p", PATCH_SIZES)
def test_patch_by_patch_equals_dense_features(p: int) -> None:
    net = narrow_network(p)
    expected = dense_features(net, images(9, 14)).flatten(2)
    torch.testing.assert_close(patch_by_patch(net.layers, p, images(9, 14)), expected, rtol=0, atol=1e-12)
    sample = patch_by_patch(net.layers, p, images(9, 14), 20)
    torch.testing.assert_close(sample, expected[:, :, :20], rtol=0, atol=1e-12)


@pytest.mark.parametrize("p", PATCH_SIZES)
def test_multiply_adds_are_those_that_run(p: int) -> None:
    net = narrow_network(p)

    def counted(*size: int) -> int:
        total = 0

        def count(layer: nn.Module, _: object, output: Tensor) -> None:
            nonlocal total
            assert isinstance(layer, nn.Conv2d)
            total += output.numel() // layer.out_channels * layer.weight.numel()

        hooks = [layer.register_forward_hook(count) for layer in net.layers if isinstance(layer, nn.Conv2d)]
        phase_split_channels_last(net.layers, p, images(*size)[:1])
        for hook in hooks:
            hook.remove()
        return total

    assert multiply_adds(net.layers, p, 16, 24) == counted(16, 24)  # whole phases
    # else the peer pads every phase to the largest, which is not counted
    assert multiply_adds(net.layers, p, 9, 14) <= counted(9, 14) == multiply_adds(net.layers, p, *padded(9, 14, net))


def padded(height: int, width: int, net: PatchNetwork) -> tuple[int, int]:
    return -(-height // net.stride) * net.stride, -(-width // net.stride) * net.stride


def test_multiply_adds_without_pools_by_hand() -> None:
    net = PatchNetwork(17, descriptor_size=10)
    maps = [  # how many positions more than pixels; weights
        (11, 36 * 3 * 128),
        (7, 25 * 128 * 256),
        (3, 25 * 256 * 256),
        (0, 16 * 256 * 10),
    ]
    assert multiply_adds(net.layers, 17, 11, 20) == sum((11 + more) * (20 + more) * n for more, n in maps)


@pytest.mark.parametrize("wide", [False, True], ids=["unpadded", "padded"])
def test_efficientad_shape(wide: bool) -> None:
    with torch.device("meta"):  # the full width, without its arithmetic
        net, image = EfficientADShape(wide), torch.empty(1, 3, 256, 256)
        assert net.teacher(image).shape == (1, 384, *([64, 64] if wide else [56, 56]))
        assert net.student(image).shape[1] == 768
        assert net(image).shape == (1, 256, 256)
    with torch.inference_mode():
        assert EfficientADShape(wide, divide=16)(torch.randn(1, 3, 256, 256)).shape == (1, 256, 256)


def clocked(*durations: float) -> Iterator[float]:
    """A clock that is asked before and after every run."""
    now = 0.0
    for duration in durations:
        yield now
        now += duration
        yield now


def test_rounds_are_interleaved_and_medians_scaled() -> None:
    order: list[str] = []
    who = [
        Competitor("a", lambda: order.append("a"), "stadx"),
        Competitor("b", lambda: order.append("b"), scale=10),
        Competitor("c", lambda: order.append("c"), skip="too large"),
    ]
    clock = clocked(1, 2, 9, 5, 3, 4)
    results = interleaved(who, 3, clock=lambda: next(clock))
    assert "".join(order) == "ab" * 4  # one round to warm up
    assert [result.median for result in results] == [3, 40, None]


def test_a_competitor_that_cannot_run_is_skipped_with_its_reason() -> None:
    def fail() -> None:
        raise RuntimeError("no compiler\nand a long story")

    results = interleaved([Competitor("a", lambda: None), Competitor("b", fail)], 2)
    assert [len(result.seconds) for result in results] == [2, 0]
    assert results[1].skip == "no compiler"


def test_table_of_fake_timings() -> None:
    who = [
        Competitor("stadx", lambda: None, "stadx", work=6),
        Competitor("fast", lambda: None, work=6),
        Competitor("slow", lambda: None),
        Competitor("floor", lambda: None, "bound"),
        Competitor("huge", lambda: None, skip="needs about 9 GB"),
    ]
    clock = clocked(0.1, 0.3, 1.0, 0.05)
    results = interleaved(who, 1, clock=lambda: next(clock))
    peak = Peak(convolution=80, matmul=60)
    found = rows(Case("dense", "p = 33", who), results, peak)
    assert [row.to_stadx for row in found[:4]] == pytest.approx([1, 3, 10, 0.5])
    assert found[0].best_peer == pytest.approx(3)  # the bound does less, so it does not count
    assert (found[0].rate, found[0].of_peak) == pytest.approx((60, 0.75))
    assert found[4].milliseconds is None

    console = Console(width=160, record=True, file=io.StringIO())
    console.print(ratio_table(found, {"cpu": "fake"}, peak))
    text = console.export_text()
    for part in ("p = 33", "100.0", "3.00", "60 GFLOP/s", "75%", "skipped: needs about 9 GB", "convolution 80", "fake"):
        assert part in text
    assert len(json.loads(json.dumps(report(found, {"cpu": "fake"}, peak)))["medians"]) == 5


def test_competitors_without_memory_are_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sections.available_bytes", lambda: 1 << 20)
    skips = {who.name: who.skip for who in dense_competitors(33, 8)}
    assert skips.pop("stadx") is None
    assert all(skip is not None and "0.0 GB are free" in skip for skip in skips.values())
    assert peak_bytes(PatchNetwork(33).layers, 33, 8, 8) == 2 * (256 + 256) * 40 * 40 * 4


@pytest.mark.parametrize("arguments", [["--only", "speed"], ["--patch-sizes", "18"], ["--sizes", "0"]], ids=str)
def test_bad_options_are_named(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert arguments[0] in result.output


def test_help_has_an_example() -> None:
    assert "benchmarks/run.py --sizes 256" in " ".join(CliRunner().invoke(app, ["--help"]).output.split())


def random_set(decimals: int | None) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    maps, masks = pro_peers.make_set(6, 48, 0.05, seed=1)
    return (maps if decimals is None else maps.round(decimals)), masks


@pytest.mark.parametrize("limit", [0.3, 1.0])
@pytest.mark.parametrize("decimals", [None, 1, 0], ids=["distinct", "tied", "steps across the limit"])
@pytest.mark.parametrize("peer", [pro_peers.definition, pro_peers.torch_sort], ids=lambda peer: peer.__name__)
def test_au_pro_peers_equal_stadx(peer: Callable[..., float], decimals: int | None, limit: float) -> None:
    maps, masks = random_set(decimals)
    assert peer(maps, masks, limit) == pytest.approx(au_pro(maps, masks, fpr_limit=limit), abs=1e-9)


def test_definition_by_hand() -> None:
    mask = np.array([[1, 0, 1, 1, 0, 0]], bool)  # regions of one and of two pixels, three pixels of background
    scores = np.array([[6, 5, 4, 2, 3, 1]], np.float32)
    # (0, 0), (0, 1/2), (1/3, 1/2), (1/3, 3/4), (2/3, 3/4), (2/3, 1), (1, 1)
    for peer in (pro_peers.definition, pro_peers.torch_sort):
        assert peer(scores[None], mask[None], 1 / 6) == pytest.approx(1 / 2)
        assert peer(scores[None], mask[None], 1 / 2) == pytest.approx((1 / 6 + 1 / 8) * 2)
        assert peer(scores[None], mask[None], 1.0) == pytest.approx((1 / 2 + 3 / 4 + 1) / 3)
        # one score for all: the line from (0, 0) to (1, 1)
        assert peer(0 * scores[None], mask[None], 0.3) == pytest.approx(0.15)


def test_adeval_is_near() -> None:
    pytest.importorskip("adeval")
    maps, masks = random_set(None)
    assert pro_peers.adeval_binned(maps, masks) == pytest.approx(au_pro(maps, masks), abs=0.05)


def test_made_sets_are_as_asked() -> None:
    maps, masks = pro_peers.make_set(8, 128, 0.02)
    assert maps.dtype == np.float32 and maps.shape == masks.shape == (8, 128, 128)
    assert masks.mean() == pytest.approx(0.02, rel=0.2)
    assert [bool(mask.any()) for mask in masks] == [True, True, True, False] * 2
    # of (z + shift)²; 1 + shift² and 1
    assert maps[masks].mean() == pytest.approx(1 + pro_peers.SHIFT**2, rel=0.1)
    assert maps[~masks].mean() == pytest.approx(1, rel=0.1)
    for ours, again in zip((maps, masks), pro_peers.make_set(8, 128, 0.02), strict=True):
        assert np.array_equal(ours, again)


@pytest.mark.parametrize("kind", pro_peers.label_masks(16))
def test_labelers_find_the_regions_of_stadx(kind: str) -> None:
    mask = pro_peers.label_masks(64)[kind]
    ours, counts = ops.label_regions(torch.from_numpy(mask)[None])
    for labels, count in (label(mask) for label in pro_peers.labelers().values()):
        assert count == counts[0]
        pairs = np.unique(np.stack([labels.astype(np.int64).ravel(), ours.numpy().ravel()]), axis=1)
        assert pairs.shape[1] == count + (not mask.all())  # the same pixels together, by whatever number


def test_label_masks_are_what_they_are_called() -> None:
    for side in (64, 65, 66, 67):
        masks = pro_peers.label_masks(side)
        regions = {name: int(ops.label_regions(torch.from_numpy(mask)[None])[1]) for name, mask in masks.items()}
        for name in ("chessboard", "spiral", "snake", "full"):
            assert regions[name] == 1, name
        assert regions["one-pixel regions"] == masks["one-pixel regions"].sum() == ((side + 1) // 2) ** 2
        assert (regions["stripes"], regions["empty"]) == ((side + 1) // 2, 0)
        assert masks["blobs"].mean() == pytest.approx(0.05, abs=0.01)
        # an arm one pixel wide is a line: without its two ends, each pixel has two neighbours along the edges
        spiral = np.pad(masks["spiral"], 1).astype(int)
        neighbours = spiral[2:, 1:-1] + spiral[:-2, 1:-1] + spiral[1:-1, 2:] + spiral[1:-1, :-2]
        degrees = neighbours[masks["spiral"]]
        assert ((degrees == 1).sum(), (degrees == 2).sum()) == (2, len(degrees) - 2)


def test_pro_benchmark_runs(tmp_path: Path, two_threads: None) -> None:
    file = tmp_path / "figures.json"
    result = CliRunner().invoke(pro.app, ["--quick", "--only", "au_pro,labels,spro,growth", "--json", str(file)])
    assert result.exit_code == 0, result.output
    assert all(part in result.output for part in ("torch sort", "chessboard", "best peer", "AU-sPRO / AU-PRO"))
    figures = json.loads(file.read_text())
    assert set(figures) == {"machine", "au_pro", "labels", "spro", "growth"}
    exact = {row["name"]: row["minus_definition"] for row in figures["au_pro"]}
    assert abs(exact["stadx"]) < 1e-9 and abs(exact["torch sort"]) < 1e-9
    measured = [row for row in figures["au_pro"] if row["to_stadx"] is not None]  # those whose package is there
    assert all(0 < row["worst_round"] <= row["to_stadx"] * 1.000001 for row in measured)
    assert "torch sort / stadx, worst round" in result.output


def test_the_benchmark_of_spro_cuts_each_mask_into_parts() -> None:
    _, masks = pro_peers.make_set(4, 64)
    regions, saturation = spro.cut_up(masks, 20)
    assert [len(parts) for parts in regions][3] == 0 and sum(map(len, regions)) > 15
    for mask, parts, areas in zip(masks, regions, saturation, strict=True):
        assert np.array_equal(np.sum([mask & False, *parts], 0), mask.astype(int)) and min(areas, default=1) >= 1


def test_pro_benchmark_names_bad_sections_and_has_an_example() -> None:
    assert "--only" in CliRunner().invoke(pro.app, ["--only", "speed"]).output
    assert "benchmarks/pro.py --only au_pro,labels" in " ".join(CliRunner().invoke(pro.app, ["--help"]).output.split())
