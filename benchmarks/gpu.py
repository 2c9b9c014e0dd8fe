"""The GPU operators and the whole detector beside plain PyTorch and the card's own limits: one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from stadx.cli.console import fail, reported

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from stadx.detectors.student_teacher.ensemble import Ensemble
    from stadx.detectors.student_teacher.gpu_scorer import GpuPrecision
    from stadx.detectors.student_teacher.normalization import Normalization
    from timing import Competitor

STUDENTS, DESCRIPTOR = 3, 128
PER_IMAGE = "per image"
SECTIONS = ("pool", "score", "labels", "au_pro", "detector")
PRECISIONS: tuple[GpuPrecision, ...] = ("tf32", "bfloat16")


@dataclass
class Limits:
    """What the card does at best, read in this run: bytes a second copied (read and written), operations a second."""

    copy: float
    bfloat16: float


def main(
    device: Annotated[str, typer.Option(help="cuda, or cpu: that only shows that the script runs.")] = "cuda",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds in which all take turns; the median counts.")] = 7,
    quick: Annotated[bool, typer.Option("--quick", help="Tiny inputs: only shows that it runs.")] = False,
    only: Annotated[str, typer.Option(help=f"Sections: {', '.join(SECTIONS)}.")] = ",".join(SECTIONS),
) -> None:
    """Time every GPU operator and the detector: stadx, plain PyTorch on the same card, and the floor."""
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        fail("PyTorch finds no GPU; a CUDA build of it and a driver are needed (see: stadx info)")
        raise typer.Exit(2)
    wanted = [part.strip() for part in only.split(",")]
    if not set(wanted) <= set(SECTIONS):
        raise typer.BadParameter(f"give one or more of {', '.join(SECTIONS)}", param_hint="--only")
    place = torch.device(device)
    torch.manual_seed(0)
    side, images = (32, 2) if quick else (256, 40)
    table = Table("what", "who", "ms", "× stadx", "of the floor, or rate", title=_name(place))
    with torch.inference_mode():
        limits = _limits(place, 256 if quick else 8192)
        table.caption = f"copy {limits.copy / 1e12:.2f} TB/s, bfloat16 product {limits.bfloat16 / 1e12:.0f} TFLOP/s"
        for name, floor, competitors in _cases(place, limits, side, images, wanted):
            _add(table, name, floor, competitors, rounds)
    Console(width=130).print(table)


def _name(place: torch.device) -> str:
    import torch

    return torch.cuda.get_device_name(place) if place.type == "cuda" else "CPU (no comparison)"


def _wait(place: torch.device) -> None:
    import torch

    if place.type == "cuda":
        torch.cuda.synchronize(place)


def _repeated(run: Callable[[], object], place: torch.device) -> tuple[Callable[[], object], int]:
    """`run` some times in a row, then waiting once: about a hundredth of a second."""
    import time

    for _ in range(2):  # a detector makes its graph when it sees a size again
        run()
    _wait(place)
    start = time.perf_counter()
    run()
    _wait(place)
    count = max(1, min(100, int(0.01 / (time.perf_counter() - start + 1e-6))))

    def repeat() -> None:
        for _ in range(count):
            run()
        _wait(place)

    return repeat, count


def _add(table: Table, name: str, floor: float | None, competitors: list[Competitor], rounds: int) -> None:
    from timing import interleaved

    results = interleaved(competitors, rounds)
    ours = results[0].median
    for result in results:
        if result.median is None:
            table.add_row(name, result.competitor.name, "–", "–", f"skipped: {result.skip}")
            continue
        ratio = f"{result.median / ours:.2f}" if ours else "–"
        share = f"{floor / result.median:.0%}" if floor else ""
        note = f"{1 / result.median:.0f} images/s" if result.competitor.note == PER_IMAGE else ""
        table.add_row(name, result.competitor.name, f"{1e3 * result.median:.3f}", ratio, share + note)
    table.add_section()


def _limits(place: torch.device, side: int) -> Limits:
    import torch

    from timing import best_seconds

    def run(work: Callable[[], object]) -> float:
        repeat, count = _repeated(work, place)
        return best_seconds(repeat, 5) / count

    a = torch.randn(side, side, device=place).bfloat16()
    x, y = torch.randn(side, side, device=place), torch.empty(side, side, device=place)
    return Limits(
        copy=2 * x.numel() * 4 / run(partial(y.copy_, x)), bfloat16=2 * side**3 / run(partial(torch.mm, a, a))
    )


Case = tuple[str, float | None, "list[Competitor]"]


def _cases(place: torch.device, limits: Limits, side: int, images: int, wanted: list[str]) -> Iterator[Case]:
    sections: dict[str, Callable[[], Iterator[Case]]] = {
        "pool": partial(_pool_cases, place, limits, side),
        "score": partial(_score_cases, place, limits, side),
        "labels": partial(_label_cases, place, limits, 4 * side),
        "au_pro": partial(_pro_cases, place, limits, 4 * side, images),
        "detector": partial(_detector_cases, place, side),
    }
    for section in wanted:
        yield from sections[section]()


def _competitors(place: torch.device, runs: dict[str, Callable[[], object]]) -> list[Competitor]:
    from timing import Competitor, reason

    found = []
    for name, run in runs.items():
        try:
            repeat, count = _repeated(run, place)
        except RuntimeError as error:  # out of memory, say: the other figures are worth having
            found.append(Competitor(name, run, skip=reason(error)))
        else:
            found.append(Competitor(name, repeat, scale=1 / count))
    return found


def _inside(x: Tensor) -> Tensor:
    return x.movedim(-3, -1).contiguous().movedim(-1, -3)


def _pool_cases(place: torch.device, limits: Limits, side: int) -> Iterator[Case]:
    import torch

    from stadx import ops
    from stadx.ops import reference

    for dtype in (torch.float32, torch.bfloat16):
        x = _inside(torch.randn(1, DESCRIPTOR, side + 28, side + 28, device=place).to(dtype))
        bias = torch.randn(DESCRIPTOR, device=place)
        runs = {
            "stadx": partial(ops.phase_pool, x, bias, 5e-3, 2),
            "plain PyTorch": partial(reference.phase_pool, x, bias, 5e-3, 2),
        }
        floor = 2 * x.numel() * dtype.itemsize / limits.copy  # every value is read once, and about as many are written
        yield f"phase_pool, {_short(dtype)}, {side + 28}²", floor, _competitors(place, runs)


def _score_cases(place: torch.device, limits: Limits, side: int) -> Iterator[Case]:
    import torch

    from stadx import ops
    from stadx.ops import reference

    for dtype in (torch.float32, torch.bfloat16):
        maps = [
            _inside(torch.randn(16, DESCRIPTOR, side // 4, side // 4, device=place).to(dtype))
            for _ in range(STUDENTS + 1)
        ]
        bias, mean = torch.randn(STUDENTS + 1, DESCRIPTOR, device=place), torch.randn(DESCRIPTOR, device=place)
        std, out = torch.ones(DESCRIPTOR, device=place), torch.empty(1, side, side, device=place)
        rest = (2, [0.0, 1.0, 0.0, 1.0], 1.0, False, out)
        native = torch.ops.stadx.phase_score
        runs: dict[str, Callable[[], object]] = {
            "stadx": partial(native, maps, bias, mean, std, 1.0, *rest),
            "plain PyTorch": partial(reference.phase_score, maps, bias, mean, std, 1.0, *rest),
        }
        floor = sum(m.numel() for m in maps) * dtype.itemsize / limits.copy
        yield f"phase_score, {_short(dtype)}, M = {STUDENTS}, {side}²", floor, _competitors(place, runs)
        students = torch.randn(STUDENTS, 1, DESCRIPTOR, side, side, device=place).to(dtype)
        for layout, lay in (("planar", torch.Tensor.contiguous), ("channels last", _inside)):
            inputs = lay(students), lay(students[0]), mean, std
            runs = {
                "stadx": partial(ops.ensemble_score, *inputs),
                "plain PyTorch": partial(reference.ensemble_score, *inputs),
            }
            yield f"ensemble_score, {_short(dtype)}, {layout}", floor, _competitors(place, runs)


def _label_cases(place: torch.device, limits: Limits, side: int) -> Iterator[Case]:
    import torch

    from pro_peers import label_masks
    from stadx import ops

    for name, mask in label_masks(side).items():
        host = torch.from_numpy(mask)[None]
        there = host.to(place)
        runs: dict[str, Callable[[], object]] = {
            "stadx": partial(ops.label_regions, there),
            "stadx on the CPU, copies included": lambda host=host: [x.to(place) for x in ops.label_regions(host)],
        }
        floor = host.numel() * 5 / limits.copy  # a byte read, a label written
        yield f"label_regions, {name}, {side}²", floor, _competitors(place, runs)


def _pro_cases(place: torch.device, limits: Limits, side: int, images: int) -> Iterator[Case]:
    import torch

    from pro_peers import make_set
    from stadx import metrics

    maps, masks = (torch.from_numpy(x) for x in make_set(images, side))
    there = maps.to(place), masks.to(place)
    flat = there[0].flatten()
    runs: dict[str, Callable[[], object]] = {
        "stadx": partial(metrics.au_pro, *there),
        "a sort of all scores alone, PyTorch": partial(torch.sort, flat),
        "stadx on the CPU": partial(metrics.au_pro, maps, masks),
    }
    floor = flat.numel() * 10 / limits.copy  # scores for the cut and for the count, masks twice
    yield f"AU-PRO@0.3, {images} maps of {side}²", floor, _competitors(place, runs)


def _detector_cases(place: torch.device, side: int) -> Iterator[Case]:
    import torch

    from stadx import PatchNetwork
    from stadx.detectors.student_teacher.ensemble import Ensemble
    from stadx.detectors.student_teacher.gpu_scorer import GpuScorer
    from stadx.detectors.student_teacher.normalization import Normalization

    cuda = place.type == "cuda"
    normalization = Normalization(0.0, 1.0, 0.0, 1.0, strength=1.0, limit=2.0)  # as detectors have by default
    for p in (33, 65, 17):
        networks = [PatchNetwork(p).eval().requires_grad_(False).to(place) for _ in range(STUDENTS + 1)]
        mean, std = torch.zeros(DESCRIPTOR, device=place), torch.ones(DESCRIPTOR, device=place)
        ensemble = Ensemble(networks[0], networks[1:], mean, std)
        for batch in (1, 16) if cuda else (2,):
            images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, device=place)

            runs: dict[str, Callable[[], object]] = {}
            for precision in PRECISIONS if cuda else PRECISIONS[:1]:
                scorer = GpuScorer([ensemble], [normalization], place, precision)
                for stride in (1, 4):
                    runs[f"stadx, {precision}, stride {stride}"] = partial(scorer.maps, images, stride)
            runs["plain PyTorch, tf32"] = partial(_plain_score, ensemble, normalization, images)
            yield (
                f"image, p = {p}, M = {STUDENTS}, batch {batch}, {side}²",
                None,
                [_per_image(c, batch) for c in _competitors(place, runs)],
            )


def _plain_score(ensemble: Ensemble, normalization: Normalization, images: Tensor) -> Tensor:
    """What one would write in PyTorch: dense descriptors of all networks, then the equations."""
    import torch

    from stadx.networks.padding import pad_images
    from stadx.networks.patch_network import dense_features_padded, normalize_images
    from stadx.ops import reference

    padded = pad_images(normalize_images(images), ensemble.teacher.patch_size // 2)
    first, *others = (dense_features_padded(net, padded) for net in (ensemble.teacher, *ensemble.students))
    return normalization.score(*reference.ensemble_score(torch.stack(others), first, ensemble.mean, ensemble.std))


def _per_image(competitor: Competitor, batch: int) -> Competitor:
    competitor.scale /= batch
    competitor.note = PER_IMAGE
    return competitor


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
app.command(epilog="Example: [bold]python benchmarks/gpu.py --rounds 5 --only au_pro,detector[/bold]")(reported()(main))

if __name__ == "__main__":
    app()
