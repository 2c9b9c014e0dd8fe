"""Results as tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .console import printable

if TYPE_CHECKING:
    from stadx.detectors.student_teacher.ranking import Ranked
    from stadx.evaluation.calibration import Calibration, Share
    from stadx.evaluation.compare_maps import Comparison
    from stadx.evaluation.compare_models import ModelComparison
    from stadx.evaluation.monitor.monitoring import Monitoring
    from stadx.evaluation.of_detector import Evaluation
    from stadx.evaluation.of_maps import MapEvaluation
    from stadx.evaluation.spro import SproEvaluation
    from stadx.experiments.many import Trained
    from stadx.experiments.tables.published_tables import Reproduction

_AS_WIDE_AS_NEEDED = 10_000  # columns of a file, which has no width


def metrics_table(evaluations: Sequence[Evaluation]) -> Table:
    """The metrics of each category and of its defect types; a dash where one is undefined."""
    table = Table()
    table.add_column("category")
    for heading in ("good", "defect", "image AUROC", "pixel AUROC", f"AU-PRO@{evaluations[0].fpr_limit:g}"):
        table.add_column(heading, justify="right")
    for evaluation in evaluations:
        good = str(sum(image.is_good for image in evaluation.images))
        metrics = (evaluation.image_auroc, evaluation.pixel_auroc, evaluation.au_pro)
        defects = str(int(evaluation.labels.sum()))
        table.add_row(Text(printable(evaluation.name)), good, defects, *map(_figure, metrics), style="bold")
        for name, result in evaluation.per_defect.items():
            metrics = (result.image_auroc, result.pixel_auroc, result.au_pro)
            table.add_row(Text(printable(f"  {name}")), good, str(result.count), *map(_figure, metrics))
        table.add_section()
    return table


def trained_table(trained: Sequence[Trained]) -> Table:
    """The categories of `train-many`; a dash where a metric is undefined."""
    from stadx.evaluation.spro import SPRO_LIMIT

    named = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "au_pro": "AU-PRO"}
    if any("au_spro" in (one.metrics or {}) for one in trained):
        named["au_spro"] = f"AU-sPRO@{SPRO_LIMIT:g}"
    table = Table()
    table.add_column("category")
    for heading in ("images", "threshold", *named.values(), "minutes"):
        table.add_column(heading, justify="right")
    for one in trained:
        threshold = "failed" if one.threshold is None else f"{one.threshold:.4g}"
        metrics = one.metrics or {}
        figures = map(_figure, map(metrics.get, named))
        table.add_row(Text(printable(one.name)), str(one.images), threshold, *figures, f"{one.seconds / 60:.1f}")
    return table


def maps_table(evaluation: MapEvaluation) -> Table:
    """The metrics of a set of maps, and what common shortcuts would have reported."""
    first = next(iter(evaluation.au_pro))
    table = Table()
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("difference" if evaluation.shortcuts else "", justify="right")
    for limit, value in evaluation.au_pro.items():
        interval = evaluation.interval if limit == first else None
        note = f"{interval.low:.3f} … {interval.high:.3f}" if interval else ""
        table.add_row(f"AU-PRO@{limit:g}", f"{value:.4f}", note, style="bold")
        if limit != first:
            continue
        for name, other in evaluation.shortcuts.items():
            table.add_row(f"  with {name}", f"{other:.4f}", f"{other - value:+.4f}")
        for name, defect in evaluation.per_defect.items():
            if name:
                table.add_row(Text(printable(f"  regions of {name}")), f"{defect:.4f}", "")
    table.add_section()
    figures = {
        "AUPIMO": evaluation.aupimo,
        "image AUROC": evaluation.image_auroc,
        "pixel AUROC": evaluation.pixel_auroc,
        "pixel AUPR": evaluation.pixel_aupr,
        "pixel F1, maximum": evaluation.f1_max,
    }
    for name, figure in figures.items():
        table.add_row(name, "–" if figure is None else f"{figure:.4f}", "")
    table.add_row("threshold of that F1", f"{evaluation.best_threshold:.6g}", "")
    table.add_section()
    for name, count in evaluation.counts.items():
        table.add_row(name, f"{count:,}", "")
    return table


def spro_table(evaluation: SproEvaluation) -> Table:
    """AU-sPRO by limit: a column for each type of anomaly, and one for their mean."""
    table = Table()
    table.add_column("metric")
    for heading in (*evaluation.types, "mean"):
        table.add_column(Text(printable(heading)), justify="right")
    types = list(evaluation.types.values())
    for limit, mean in evaluation.mean.items():
        areas = (*(result.au_spro[limit] for result in types), mean)
        table.add_row(f"AU-sPRO@{limit:g}", *map(_figure, areas), style="bold" if limit == 0.05 else None)
    of_images = (*(result.image_auroc for result in types), evaluation.mean_image_auroc)
    table.add_row("image AUROC, highest score", *map(_figure, of_images))
    table.add_section()
    table.add_row("images", *(str(result.images) for result in types), "")
    table.add_row("regions", *(str(result.regions) for result in types), "")
    return table


def comparison_table(comparison: Comparison) -> Table:
    """AU-PRO of two sets of maps, their difference and how sure it is, overall and by type of defect."""
    table = Table()
    table.add_column(f"AU-PRO@{comparison.fpr_limit:g}")
    for heading in ("A", "B", "A − B", "95 % CI", "A better"):
        table.add_column(heading, justify="right")
    for name, found in {"all regions": comparison.overall, **comparison.per_defect}.items():
        table.add_row(
            Text(printable(name)),
            f"{found.a:.4f}",
            f"{found.b:.4f}",
            f"{found.difference:+.4f}",
            f"{found.low:+.4f} … {found.high:+.4f}",
            f"{100 * found.a_better:.1f} %",
            style="bold" if found is comparison.overall else None,
        )
    return table


def models_table(comparison: ModelComparison) -> Table:
    """The metrics of two models, their difference and how sure it is."""
    table = Table()
    table.add_column("")
    for heading in ("A", "B", "A − B", "95 % CI", "A better"):
        table.add_column(heading, justify="right")
    names = {"AU-PRO": f"AU-PRO@{comparison.a.fpr_limit:g}"}
    for name, found in comparison.differences.items():
        cells = ["–"] * 5
        if found is not None:
            interval = f"{found.low:+.4f} … {found.high:+.4f}"
            better = f"{100 * found.a_better:.1f} %"
            cells = [f"{found.a:.4f}", f"{found.b:.4f}", f"{found.difference:+.4f}", interval, better]
        table.add_row(names.get(name, name), *cells)
    pixel = [_figure(evaluation.pixel_auroc) for evaluation in (comparison.a, comparison.b)]
    table.add_row("pixel AUROC", *pixel)
    for kind, name in (("good", "good images flagged"), ("defect", "defect images flagged")):
        table.add_row(name, *(str(evaluation.flagged[kind]) for evaluation in (comparison.a, comparison.b)))
    return table


def changes_table(comparison: ModelComparison, most: int) -> Table:
    """Images whose verdict changes, each with both scores and thresholds."""
    table = Table()
    table.add_column("image", overflow="fold")
    for heading in ("A", "B", "what"):
        table.add_column(heading, justify="right" if heading != "what" else "left")
    thresholds = comparison.a.image_threshold, comparison.b.image_threshold
    for change in comparison.changes[:most]:
        scores = [
            f"{score:.3g} {'>' if score > threshold else '≤'} {threshold:.3g}"
            for score, threshold in zip((change.a.score, change.b.score), thresholds, strict=True)
        ]
        style = None if change.b_is_right else "red"
        table.add_row(Text(printable(f"{change.a.defect}/{change.path.name}")), *scores, change.what(), style=style)
    return table


def calibration_table(calibration: Calibration, previous: float) -> Table:
    """What the chosen image threshold and the previous one do to the known images."""
    table = Table()
    table.add_column("image threshold")
    for heading in ("defects found", "95 % CI", "good flagged", "95 % CI"):
        table.add_column(heading, justify="right")
    left_out = (calibration.found_left_out, calibration.flagged_left_out)
    for name, shares in (
        (f"{calibration.threshold:.5g}", (calibration.found, calibration.flagged)),
        ("  each left out", left_out),
        (f"{previous:.5g}, before", calibration.at(previous)),
    ):
        cells = [cell for share in shares for cell in _share_and_interval(share)]
        table.add_row(name, *cells, style="bold" if shares[0] is calibration.found else None)
    return table


def ranking_table(images: Sequence[Ranked]) -> Table:
    """Images to review, the first first, with what speaks for each."""
    table = Table()
    for heading in ("", "image score", "e", "v", "everywhere", "novelty"):
        table.add_column(heading, justify="right")
    table.add_column("image", overflow="fold")
    for place, item in enumerate(images, 1):
        score = f"{item.image_score:.3g}{' anomalous' if item.is_anomalous else ''}"
        figures = (f"{value:.3g}" for value in (item.e, item.v, item.everywhere, item.novelty))
        table.add_row(str(place), score, *figures, Text(printable(item.name)))
    return table


def monitoring_table(found: Monitoring) -> Table:
    """Level and share flagged of a line, and of the images that it is compared with."""
    from stadx.evaluation.monitor.monitoring import HEADINGS

    table = Table()
    table.add_column("")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for name, figures in found.rows().items():
        table.add_row(name, *figures.cells())
    return table


def _share_and_interval(share: Share | None) -> tuple[str, str]:
    if share is None:
        return "–", "–"
    low, high = share.interval
    return str(share), f"{100 * low:.1f}–{100 * high:.1f} %"


def show_reproduction(result: Reproduction, console: Console | None = None) -> None:
    """Print a table of the paper on standard output: ours, below it the paper's figure and the difference.

    Where a terminal is too narrow there are several tables below one another; no figure is cut off. What explains the
    table follows, and so goes with it into a file.
    """
    console = console or Console(highlight=False)
    console = console if console.is_terminal else Console(file=console.file, width=_AS_WIDE_AS_NEEDED, highlight=False)
    for table in _reproduction_tables(result, console.width):
        console.print(table)
    for line in (result.table.source, *result.header, *result.notes()):
        console.print(Text(printable(line)), soft_wrap=True)


def _reproduction_tables(result: Reproduction, width: int) -> Iterator[Table]:
    """As many tables as it takes for columns as wide as their figures."""
    rows = {printable(row): [c.text().replace(" (", "\n(", 1) for c in cells] for row, cells in result.rows().items()}
    first = min(max(map(cell_len, rows)), max(width // 3, 8))
    widths = [
        max(map(cell_len, [*column.split(), *(line for cells in rows.values() for line in cells[i].splitlines())]))
        for i, column in enumerate(result.columns)
    ]
    start = 0
    while start < len(widths):
        end, used = start + 1, first + 4 + widths[start] + 3
        while end < len(widths) and used + widths[end] + 3 <= width:
            used += widths[end] + 3
            end += 1
        table = Table(title=f"{result.table.title}: {result.table.metric}, here (paper, difference)", show_lines=True)
        table.add_column(width=first, overflow="fold")
        for column, own in zip(result.columns[start:end], widths[start:end], strict=True):
            table.add_column(Text(column), justify="right", width=own, overflow="fold")
        for row, cells in rows.items():
            table.add_row(Text(row), *map(Text, cells[start:end]))
        yield table
        start = end


def facts_table(facts: Mapping[str, str]) -> Table:
    """Names and values in two columns."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in facts.items():
        table.add_row(Text(name, style="bold"), Text(value))
    return table


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
