"""`stadx reproduce`: the paper's tables and figures, and the ablations, as files of every kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import get_args

from stadx.core.errors import DataError
from stadx.core.files import check_writable, write_bytes
from stadx.core.progress import Progress, silent

from .ablations import study_pages
from .environment import environment
from .figures import embedding, map_figures
from .pages import picture, plain_table, write_figure_page, write_table_page
from .request import Request, pick
from .result_store import Identity, ResultStore, reason
from .settings import Item, OneClassSettings
from .tables import categories, classes, departures, table_files
from .tables.published_tables import TABLES, Reproduction
from .tables.table2 import SETS, reproduce_means
from .tables.tables import ON_CATEGORIES, compared_line, header_of, reproduce_table

_ALL_SCALES = (17, 33, 65)
ITEMS: tuple[str, ...] = get_args(Item)


@dataclass(frozen=True)
class Outcome:
    """What was run.

    Attributes:
        files: those written.
        table: of a table what was asked of it; the files hold all figures of these settings and data.
        text: of the ablations their Markdown.
        failures: what could not be done, and why.
    """

    files: list[Path]
    table: Reproduction | None = None
    text: str = ""
    failures: Sequence[str] = ()


def reproduce(name: str, request: Request, progress: Progress = silent) -> Outcome:
    """Run one of `ITEMS` as far as the data allow, and write it into `request.out`.

    A table as NAME.md, .csv, .tex, .html and .json (table 2 keeps its figures in the .json of 6 and 7), a figure as
    NAME.png, .html and .json, the ablations as .md, .html and .json with their pictures in a folder. A run that was
    stopped goes on: tables, figure 4 and ablations from the JSON file, and all from the detectors kept, with which
    figures 1, 5 and 6 score their images again.

    Raises:
        DataError, MissingExtraError, ModelFileError, OutputError, StadxError: as their messages say.
    """
    check_writable(request.out / f"{name}.json")
    classes.forget()
    if name in TABLES:
        return _table(name, request, progress)
    if request.seeds > 1:
        raise DataError(f"{name}: is made with one seed; leave --seeds out")
    if request.teachers:
        raise DataError(f"{name}: takes the teachers that come with stadx; leave --teacher out")
    if name in ("figure4", "ablations") and request.at != "original":
        raise DataError(f"{name}: knows of no other size to compare maps at; leave --at out")
    if name == "ablations":
        return _ablations(request, progress)
    if request.columns:
        raise DataError(f"{name}: has no systems to choose from; leave --system out")
    return _figure4(request, progress) if name == "figure4" else _maps(name, request, progress)


def _table(name: str, request: Request, progress: Progress) -> Outcome:
    run = reproduce_means(request, progress) if name == "table2" else reproduce_table(name, request, progress)
    result, files = run.whole, list[Path]()
    kinds = {"md": table_files.markdown, "csv": table_files.to_csv, "tex": table_files.latex}
    for ending, text in kinds.items():
        files.append(request.out / f"{name}.{ending}")
        write_bytes(files[-1], text(result).encode())
    pictures = {}
    if name in ON_CATEGORIES:
        shown = [(row, column) for row in result.cells for column in result.settings]
        pictures = {f"{row}, {column}": categories.picture_file(request, row, column) for row, column in shown}
    files.append(request.out / f"{name}.html")
    write_table_page(files[-1], result, pictures)
    stores = [request.out / f"{part}.json" for part in (SETS if name == "table2" else (name,))]
    return Outcome([*files, *(store for store in stores if store.exists())], run.asked, failures=run.asked.failures)


def _maps(name: str, request: Request, progress: Progress) -> Outcome:
    figure, places = map_figures.MAP_FIGURES[name], map_figures.places_of(request)
    hashes, broken = categories.content_hashes(places, progress)
    shots, failed = map_figures.shots_of(figure, request, {row: places[row] for row in hashes}, progress)
    failed = {**{row: {"failed": why} for row, why in broken.items()}, **failed}
    failures = [f"{row}: failed: {reason(tried)}" for row, tried in failed.items()]
    if not shots:
        why = " ".join(f"{row}: failed: {tried.get('traceback', tried['failed'])}" for row, tried in failed.items())
        raise DataError(f"{name}: there is nothing to show. {why}")
    png, page, data = (request.out / f"{name}.{ending}" for ending in ("png", "html", "json"))
    map_figures.draw_shots(figure, shots, png)
    inputs = {**hashes, **{k: v for system in figure.systems for k, v in categories.teachers_of(system).items()}}
    made_with = environment(request.device, request.budget.detector.get("precision", "auto"))
    entry = {"of": {}, "inputs": inputs, "made_with": made_with, "figure": True}
    header = [*header_of(request, [*_of_detectors(request), compared_line(request)], [entry]), *failures]
    settings = map_figures.settings(figure, request)
    facts = [shot.facts for shot in shots]
    content = {"figure": figure.title, "header": header, "inputs": inputs, "settings": settings, "made_with": made_with}
    text = json.dumps({**content, "images": facts, "failed": failed}, indent=1, ensure_ascii=False, default=str)
    write_bytes(data, f"{text}\n".encode())
    rows = [
        [f["category"], f["file"], f["pixels"], *(f["maps"][s]["pixel_auroc"] for s in figure.systems)] for f in facts
    ]
    table = plain_table(["category", "image", "pixels", *(f"AUROC within, {s}" for s in figure.systems)], rows)
    write_figure_page(page, figure.title, figure.caption, header, [picture(png, figure.title), table], settings)
    return Outcome([png, page, data], failures=failures)


def _figure4(request: Request, progress: Progress) -> Outcome:
    if len(request.data) > 1 or len(request.rows) > 1:
        raise DataError("figure4: shows one good class of one data set; give --data and --row once")
    place = request.data[0]
    data = classes.labeled(place, progress)
    normal = pick(request.rows, data.classes, "row")[0]
    scales = [classes.PATCH_SIZE]
    inputs = {place.resolve().name: classes.set_hash(place, progress), **categories.teacher_hashes(scales)}
    settings = asdict(OneClassSettings(**request.budget.one_class))
    identity = Identity({"class": normal}, settings, inputs)
    store, made_with = ResultStore(request.out / "figure4.json"), environment(request.device)
    store.keep(identity, made_with, partial(embedding.embed, request, data, normal, progress))
    entry = store.entry(identity)
    if "failed" in entry:
        raise DataError(f"figure4: failed: {reason(entry)}")
    found = entry["figure"]
    png, page = (request.out / f"figure4.{ending}" for ending in ("png", "html"))
    embedding.draw_embedding(png, found, data)
    head = ["class", "test image", "error e", "variance v", "score ẽ + ṽ"]
    rows = [[s["class"], s["test_image"], s["error"], s["variance"], s["score"]] for s in found["samples"]]
    stress = f"Good class: {normal}. AUROC {found['auroc']:.4f}; stress of the scaling {found['stress']:.3f}."
    lines = [departures.of_one_class(request.budget), *departures.of_teachers(departures.shipped(scales))]
    header = [*header_of(request, lines, [entry]), *filter(None, (data.note, stress))]
    parts = [picture(png, embedding.TITLE), plain_table(head, rows)]
    write_figure_page(page, embedding.TITLE, embedding.CAPTION, header, parts, settings)
    return Outcome([png, page, store.path])


def _ablations(request: Request, progress: Progress) -> Outcome:
    studies = study_pages.studies_of(request)
    places = map_figures.places_of(request)
    hashes, broken = categories.content_hashes(places, progress)
    inputs = {row: {row: hashes[row], **categories.teacher_hashes(_ALL_SCALES)} for row in hashes}
    store = ResultStore(request.out / "ablations.json")
    entries = study_pages.run_studies(request, studies, places, inputs, store, progress)
    failures = [f"{row}: failed: {why}" for row, why in broken.items()]
    failures += [f"{e['of']['row']}, {e['of']['study']}: failed: {reason(e)}" for e in entries if "failed" in e]
    header = [*header_of(request, _of_detectors(request), entries), *failures]
    text, page = request.out / "ablations.md", request.out / "ablations.html"
    settings = study_pages.settings_of(request)
    markdown = study_pages.markdown(entries, header, settings)
    write_bytes(text, markdown.encode())
    parts = study_pages.parts_of(entries, request.out / "ablations")
    write_figure_page(page, study_pages.TITLE, study_pages.CAPTION, header, parts, settings)
    return Outcome([text, page, store.path], text=markdown, failures=failures)


def _of_detectors(request: Request) -> list[str]:
    return [departures.of_detectors(request.budget), *departures.of_teachers(departures.shipped(_ALL_SCALES))]
