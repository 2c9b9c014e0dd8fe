"""MkDocs hooks: the references of commands and settings from the code itself, and pages from files outside docs/."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parent.parent
CARDS = "python/stadx/teachers/weights"
OUTSIDE = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md", "security.md": "SECURITY.md"}


def on_files(files: Files, config: Any) -> Files:
    """Add the teachers' cards and the repository's own pages."""
    from mkdocs.structure.files import File

    pages = {**OUTSIDE, **{f"records/teachers/{c.name}": f"{CARDS}/{c.name}" for c in (ROOT / CARDS).glob("p*.md")}}
    for page, source in pages.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Put commands and settings where reference pages ask for them; links from outside docs/ lead to its pages."""
    if page.file.src_uri in OUTSIDE:
        return markdown.replace("](docs/", "](")
    if page.file.src_uri == "reference/commands.md":
        return markdown.replace("<!-- commands -->", "\n".join(_commands()))
    if page.file.src_uri == "reference/settings.md":
        return markdown.replace("<!-- settings -->", "\n".join(settings_tables()))
    return markdown


def settings_tables() -> list[str]:
    """A table of the settings of everything that is trained, from what their fields say."""
    from stadx.core.settings import settings_of
    from stadx.detectors.baselines import METHODS
    from stadx.detectors.student_teacher.settings import DetectorSettings
    from stadx.experiments.settings import OneClassSettings
    from stadx.teachers.settings import PretrainSettings

    owners: dict[str, type] = {
        "Detector": DetectorSettings,
        **{method.__name__: method for method in METHODS.values()},
        "PretrainSettings": PretrainSettings,
        "OneClassSettings": OneClassSettings,
    }
    lines: list[str] = []
    for name, owner in owners.items():
        lines += [f"## {name}", "", "| setting | what it is | default | what it may be |", "|---|---|---|---|"]
        for setting in settings_of(owner).values():
            cells = map(_cell, (setting.sentence(), repr(setting.default), setting.values()))
            lines.append(f"| `{setting.name}` | {' | '.join(cells)} |")
        lines.append("")
    return lines


def _commands() -> list[str]:
    import typer

    from stadx.cli.app import app

    lines: list[str] = []
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        for sub, inner in getattr(command, "commands", {"": command}).items():
            lines += _command(f"stadx {name} {sub}".strip(), inner)
    return lines


def _command(name: str, command: Any) -> list[str]:
    """Usage, help, example and a table of all arguments and options."""
    context = command.make_context(name, [], resilient_parsing=True)
    usage = re.sub(r"[{}]", "", " ".join(command.collect_usage_pieces(context)).upper())
    example = re.search(r"\[bold\](.*?)\[/bold\]", command.epilog or "")
    lines = [f"## {name}", "", command.help or "", "", "```sh", f"{name} {usage}".strip()]
    lines += [f"{example[1]}    # for example"] if example and example[1] != name else []
    lines += ["```", ""]
    rows = [
        _row(p.param_type_name, *record)
        for p in command.params
        if (record := p.get_help_record(context)) and p.name != "help"
    ]
    heading = ["| argument or option | what it does | default; limits |", "|---|---|---|"]
    return lines + ([*heading, *rows, ""] if rows else [])


def _row(kind: str, names: str, text: str) -> str:
    """A table row from what --help prints: "--steps <int range>", "Optimiser steps.  [default: 1500; x>=1]"."""
    extra = re.search(r"  \[([^\]]*)\]$", text)
    text = text[: extra.start()] if extra else text
    limits = extra[1].removeprefix("default: ") if extra else ""
    limits = re.sub(r"^\((.*)\)(?=;|$)", r"\1", limits).replace("x>=", "≥ ").replace("<=x<=", " … ")
    names = re.sub(r" range(?=>)|list\[(\w+)\]", lambda found: (found[1] or "").lower(), names)
    if kind == "argument":
        name, _, rest = names.partition(" ")
        names = f"{name.upper()} {rest}"
    return f"| <code>{_cell(names)}</code> | {_cell(text)} | {_cell(limits)} |"


def _cell(text: str) -> str:
    """Text as it stands, in a table: code marked by backticks, no pipes and no tags."""
    return escape(text, quote=False).replace("|", "&#124;")
