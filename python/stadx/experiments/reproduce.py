"""`stadx reproduce`: the paper's tables and figures, and the ablations, as files of every kind."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from ..errors import DataError
from ..files import check_writable, write_bytes
from ..progress import Progress, silent
from . import classes, embedding, map_figures, study_pages
from .categories import picture_file
from .one_class import OneClassSettings
from .pages import picture, plain_table, write_figure_page, write_table_page
from .published_tables import TABLES, Reproduction
from .request import Request, pick
from .result_store import ResultStore
from .tables import PARTS, header_of, reproduce_table, shipped_hashes, store_settings

_ALL_SCALES = (17, 33, 65)
ITEMS = (*TABLES, "figure1", "figure4", "figure5", "figure6", "ablations")


@dataclass(frozen=True)
class Outcome:
    """What was run: the files written; of a table itself; of the ablations their Markdown."""

    files: list[Path]
    table: Reproduction | None = None
    text: str = ""


def reproduce(name: str, request: Request, progress: Progress = silent) -> Outcome:
    """Run one of `ITEMS` as far as the data allow, and write it into `request.out`.

    A table as NAME.md, .csv, .tex, .html and .json (table 2 keeps its figures in the .json of 6 and 7), a figure as
    NAME.png, .html and .json, the ablations as .md, .html and .json with their pictures in a folder. A run that was
    stopped goes on from the JSON file and the detectors kept.

    Raises:
        DataError, MissingExtraError, ModelFileError, OutputError, StadxError: as their messages say.
    """
    check_writable(request.out / f"{name}.json")
    classes.forget()
    if name in TABLES:
        return _table(name, request, progress)
    if request.seeds > 1:
        raise DataError(f"{name}: is made with one seed; leave --seeds out")
    if name == "ablations":
        return _ablations(request, progress)
    if request.columns:
        raise DataError(f"{name}: has no systems to choose from; leave --system out")
    return _figure4(request, progress) if name == "figure4" else _maps(name, request, progress)


def _table(name: str, request: Request, progress: Progress) -> Outcome:
    result = reproduce_table(name, request, progress)
    files = []
    for ending, text in (("md", result.markdown()), ("csv", result.csv()), ("tex", result.latex())):
        files.append(request.out / f"{name}.{ending}")
        write_bytes(files[-1], text.encode())
    pictures = {f"{r}, {c}": picture_file(request.out, r, c) for r in result.measured for c in result.settings}
    files.append(request.out / f"{name}.html")
    write_table_page(files[-1], result, pictures)
    stores = [request.out / f"{part}.json" for part in PARTS.get(name, (name,))]
    return Outcome([*files, *(store for store in stores if store.exists())], result)


def _maps(name: str, request: Request, progress: Progress) -> Outcome:
    figure, places = map_figures.MAP_FIGURES[name], map_figures.places_of(request)
    _no_teachers(name, request)
    inputs = {**map_figures.hashes_of(places, progress), **shipped_hashes(_ALL_SCALES)}
    shots = map_figures.shots_of(figure, request, places, progress)
    png, page, data = (request.out / f"{name}.{ending}" for ending in ("png", "html", "json"))
    map_figures.draw_shots(figure, shots, png)
    header, settings = header_of(request, inputs), map_figures.settings(figure, request)
    facts = [shot.facts for shot in shots]
    content = {"figure": figure.title, "header": header, "inputs": inputs, "settings": settings, "images": facts}
    write_bytes(data, (json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n").encode())
    rows = [
        [f["category"], f["file"], f["pixels"], *(f["maps"][s]["pixel_auroc"] for s in figure.systems)] for f in facts
    ]
    table = plain_table(["category", "image", "pixels", *(f"AUROC within, {s}" for s in figure.systems)], rows)
    write_figure_page(page, figure.title, figure.caption, header, [picture(png, figure.title), table], settings)
    return Outcome([png, page, data])


def _figure4(request: Request, progress: Progress) -> Outcome:
    _no_teachers("figure4", request)
    if len(request.data) > 1 or len(request.rows) > 1:
        raise DataError("figure4: shows one good class of one data set; give --data and --row once")
    place = request.data[0]
    data = classes.labeled(place, progress)
    normal = pick(request.rows, data.classes, "row")[0]
    inputs = {place.resolve().name: classes.set_hash(place, progress), **shipped_hashes((classes.PATCH_SIZE,))}
    store = ResultStore(request.out / "figure4.json", store_settings(request), inputs)
    store.keep(normal, partial(embedding.embed, request, data, normal, progress))
    found = store.results()[normal]
    png, page = (request.out / f"figure4.{ending}" for ending in ("png", "html"))
    embedding.draw_embedding(png, found, data)
    head = ["class", "test image", "error e", "variance v", "score ẽ + ṽ"]
    rows = [[s["class"], s["test_image"], s["error"], s["variance"], s["score"]] for s in found["samples"]]
    stress = f"Good class: {normal}. AUROC {found['auroc']:.4f}; stress of the scaling {found['stress']:.3f}."
    settings = asdict(OneClassSettings(**request.budget.one_class))
    parts = [picture(png, embedding.TITLE), plain_table(head, rows)]
    header = [*header_of(request, inputs), *filter(None, (data.note, stress))]
    write_figure_page(page, embedding.TITLE, embedding.CAPTION, header, parts, settings)
    return Outcome([png, page, store.path])


def _ablations(request: Request, progress: Progress) -> Outcome:
    _no_teachers("ablations", request)
    places = map_figures.places_of(request)
    inputs = {**map_figures.hashes_of(places, progress), **shipped_hashes(_ALL_SCALES)}
    store = ResultStore(request.out / "ablations.json", store_settings(request), inputs)
    found = study_pages.run_studies(request, places, store, progress)
    text, page = request.out / "ablations.md", request.out / "ablations.html"
    write_bytes(text, study_pages.markdown(found).encode())
    parts = study_pages.parts_of(found, places, request.out / "ablations")
    settings = asdict(study_pages.setup_of(request.budget, 1))
    write_figure_page(page, study_pages.TITLE, study_pages.CAPTION, header_of(request, inputs), parts, settings)
    return Outcome([text, page, store.path], text=study_pages.markdown(found))


def _no_teachers(name: str, request: Request) -> None:
    if request.teachers:
        raise DataError(f"{name}: takes the teachers that come with stadx; leave --teacher out")
