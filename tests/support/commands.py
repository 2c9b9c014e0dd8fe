"""Commands of stadx, run within the test's process."""

from __future__ import annotations

from typing import Any

from typer.testing import CliRunner

from stadx.cli import app as cli


def stadx(*arguments: object) -> Any:
    """What a command line with these arguments prints and returns, on a wide terminal."""
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], terminal_width=200)
