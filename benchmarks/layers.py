"""Where the dense engine's time goes, layer by layer. Run `python benchmarks/layers.py --help`."""

from __future__ import annotations

import statistics
import time
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from stadx import PatchNetwork
from stadx.core.memory import keep_freed_memory
from stadx.networks.engine import Engine
from stadx.networks.plan import Step, plan_axis
from stadx.ops import dense_layer


def main(
    size: Annotated[int, typer.Option(min=1, help="Image side in pixels.")] = 256,
    stride: Annotated[int, typer.Option(min=1, help="Every n-th pixel only.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Runs; the median counts.")] = 9,
    threads: Annotated[int, typer.Option(min=1, help="Threads.")] = 2,
) -> None:
    """Counts and times of every layer of every network: one image, one network."""
    torch.set_num_threads(threads)
    table = Table(title=f"{size} x {size}, stride {stride}, {threads} threads")
    for heading in ("p", "layer", "form", "GFLOP direct", "GFLOP done", "MB", "ms", "GFLOP/s done", "direct / s"):
        table.add_column(heading, justify="right")
    with torch.inference_mode(), keep_freed_memory():
        for p in (17, 33, 65):
            _network(table, PatchNetwork(p), size, stride, rounds)
    Console(width=120).print(table)


def _network(table: Table, net: PatchNetwork, size: int, stride: int, rounds: int) -> None:
    engine = Engine(net)
    plan = plan_axis(engine.layers, size, 0, size, stride)
    window = torch.randn(plan.end, plan.end, 3)[None, None]
    times: list[list[float]] = [[] for _ in engine.layers]
    shapes: list[tuple[torch.Size, torch.Size]] = []
    for done in range(rounds + 1):
        x = window
        for i in range(len(engine.layers)):
            weights, bias, settings = engine.arguments(i, plan, plan)
            image = (plan.size, plan.size) if i == len(engine.layers) - 1 else ()
            start = time.perf_counter()
            y = dense_layer(x, weights, bias, **settings, image=image)
            if done:  # the first round packs the weights and touches the memory
                times[i].append(time.perf_counter() - start)
            else:
                shapes.append((x.shape, y.shape))
            x = y
    total = 0.0
    for i, (layer, step) in enumerate(zip(engine.layers, plan.steps, strict=True)):
        seconds = statistics.median(times[i])
        total += seconds
        outputs, inputs = layer.weight.shape[:2]
        positions = shapes[i][1].numel() // shapes[i][1][-1]
        direct = 2 * positions * inputs * outputs * layer.kernel**2
        performed = _performed(step, layer.kernel, shapes[i][0][0] * max(step.pool_shifts, 1), inputs, outputs)
        moved = 4 * (shapes[i][0].numel() + shapes[i][1].numel() + engine.arguments(i, plan, plan)[0].numel())
        form = f"F({step.tile - layer.kernel + 1}, {layer.kernel})" if step.tile else "direct"
        figures = (direct / 1e9, performed / 1e9, moved / 1e6, seconds * 1e3, performed / seconds / 1e9)
        table.add_row(
            str(net.patch_size),
            f"{layer.kernel} x {layer.kernel}, {inputs} to {outputs}",
            form,
            *(f"{figure:.1f}" for figure in figures),
            f"{direct / seconds / 1e9:.0f}",
        )
    table.add_row(str(net.patch_size), "all", "", "", "", "", f"{total * 1e3:.1f}", "", "", end_section=True)


def _performed(step: Step, kernel: int, phases: int, inputs: int, outputs: int) -> int:
    """Operations of the matrix products, padding of tiles and channels included."""
    outputs = -(-outputs // 64) * 64
    if not step.tile:
        return 2 * phases**2 * step.size**2 * kernel**2 * inputs * outputs
    tiles = -(-step.size // (step.tile - kernel + 1))
    return 2 * step.tile**2 * phases**2 * tiles**2 * inputs * outputs


if __name__ == "__main__":
    typer.run(main)
