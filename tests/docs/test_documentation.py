"""What the documents show is complete and true: their examples run, their links lead somewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
EXAMPLES = [
    "guide/frames.md",
    "guide/metrics.md",
    "extending/detector.md",
    "extending/layout.md",
    "extending/metric.md",
    "extending/operator.md",
]


class Video:
    """In place of OpenCV's, which is no dependency."""

    def __init__(self, name: str) -> None:
        self.left = [np.full((40, 48, 3), value, np.uint8) for value in (10, 90, 200)]

    def read(self) -> tuple[bool, np.ndarray | None]:
        return (True, self.left.pop()) if self.left else (False, None)


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """The code blocks of a page: their titles and texts."""
    text = page.read_text("utf-8")
    return re.findall(rf'^```{language}(?: title="([^"]+)")?\n(.*?)^```', text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = DOCS / name
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(VideoCapture=Video))
    for title, text in blocks(page, "cpp"):
        (tmp_path / title).write_text(text, "utf-8")
    code = "\n".join(text for _, text in blocks(page, "python"))
    assert code
    exec(compile(code, str(page), "exec", dont_inherit=True), {"__name__": page.stem})


PAGES = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_in_documents_compiles(page: Path) -> None:
    for _, text in blocks(page, "python"):
        compile(text, str(page), "exec")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_of_the_repository_lead_to_files(name: str) -> None:
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", (ROOT / name).read_text("utf-8")):
        assert (ROOT / target).exists(), target


def test_readme_is_short_and_names_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 110
    assert "pip install . && stadx demo" in lines
    assert "pip install '.[test]' && pytest" in lines


def test_citation_names_this_version() -> None:
    version = re.search(r'^version = "(.+?)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert version is not None
    assert f"\nversion: {version[1]}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
