"""The order of the house: packages import only those below them, in no circle, and no file is long."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "stadx"
FLOORS = [
    *(
        "core",
        "data",
        "ops",
        "metrics",
        "networks",
        "evaluation",
        "teachers",
        "detectors",
        "experiments",
        "cluster",
        "cli",
    ),
]
"""From the bottom; each imports only those before it."""
LONGEST = 350  # lines

SOURCES = sorted(PACKAGE.rglob("*.py"))


def module_of(file: Path) -> str:
    parts = ("stadx", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in SOURCES}


def imported(file: Path) -> Iterator[str]:
    """All modules of the package that a file imports, within functions and for types too."""
    module = module_of(file)
    inside = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "stadx")
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(inside.split(".")[: len(inside.split(".")) - node.level + 1]) if node.level else ""
            source = ".".join(filter(None, (base, node.module)))
            if source.split(".")[0] == "stadx":
                for alias in node.names:
                    name = f"{source}.{alias.name}"
                    yield name if name in MODULES else source


def floor_of(module: str) -> str:
    return [*module.split("."), "", ""][1]


def test_every_package_is_on_a_floor() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert packages == set(FLOORS)
    assert len(list(path for path in PACKAGE.iterdir() if path.name[0] not in "_." or path.suffix == ".py")) <= 16


@pytest.mark.parametrize("name", FLOORS)
def test_a_package_imports_only_those_below(name: str) -> None:
    allowed = {*FLOORS[: FLOORS.index(name) + 1], "_C", ""}
    odd = [
        f"{module_of(file)} imports {other}"
        for file in SOURCES
        if floor_of(module_of(file)) == name and module_of(file) != "stadx.core.aliases"
        for other in imported(file)
        if floor_of(other) not in allowed
    ]
    assert not odd


def test_no_module_imports_itself_by_way_of_others() -> None:
    edges = {m: {o for o in imported(f) if o in MODULES and o not in ("stadx", m)} for m, f in MODULES.items()}
    while leaves := {module for module, others in edges.items() if not others & edges.keys()}:
        edges = {module: others for module, others in edges.items() if module not in leaves}
    assert not edges, sorted(edges)


def test_no_file_is_long() -> None:
    suffixes = {".py", ".cpp", ".h", ".cu", ".cuh"}
    folders = [ROOT / name for name in ("python", "runtime", "csrc", "tests", "benchmarks", "docs")]
    files = [file for folder in folders for file in folder.rglob("*") if file.suffix in suffixes]
    long = {str(f.relative_to(ROOT)): n for f in files if (n := len(f.read_text().splitlines())) > LONGEST}
    assert files and not long
