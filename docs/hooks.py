"""MkDocs hooks: the command reference from the command line itself, and pages from files outside docs/."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
CARDS = "python/stadx/teachers"
OUTSIDE = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md", "security.md": "SECURITY.md"}


def on_files(files: Files, config: Any) -> Files:
    """Add the teachers' cards and the repository's own pages."""
    pages = {**OUTSIDE, **{f"records/teachers/{c.name}": f"{CARDS}/{c.name}" for c in (ROOT / CARDS).glob("p*.md")}}
    for page, source in pages.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Put the commands where reference/commands.md asks for them; links from outside docs/ lead to its pages."""
    if page.file.src_uri in OUTSIDE:
        return markdown.replace("](docs/", "](")
    return markdown.replace("<!-- commands -->", "\n".join(_commands())) if "<!-- commands -->" in markdown else markdown


def _commands() -> list[str]:
    sys.path.insert(0, str(ROOT / "python"))
    import typer
    from stadx.cli import app

    lines: list[str] = []
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        for sub, inner in getattr(command, "commands", {"": command}).items():
            lines += _command(f"stadx {name} {sub}".strip(), inner)
    return lines


def _command(name: str, command: Any) -> list[str]:
    """Usage, help, example and a table of all arguments and options."""
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    example = re.search(r"\[bold\](.*?)\[/bold\]", command.epilog or "")
    lines = [f"## {name}", "", command.help or "", "", "```sh", usage]
    lines += [f"# {example[1]}"] if example else []
    lines += ["```", ""]
    rows = [_row(*record) for p in command.params if (record := p.get_help_record(context)) and p.name != "help"]
    return lines + (["| argument or option | what it does | default, limits |", "|---|---|---|", *rows, ""] if rows else [])


def _row(names: str, text: str) -> str:
    """A table row from what --help prints: "--steps <int>", "Optimiser steps.  [default: 1500; x>=1]"."""
    extra = re.search(r"  \[([^\]]*)\]$", text)
    text = text[: extra.start()] if extra else text
    limits = extra[1].removeprefix("default: ") if extra else ""
    return "| " + " | ".join([f"`{names}`".replace("|", "\\|"), text.replace("|", "\\|"), limits.strip("()")]) + " |"
