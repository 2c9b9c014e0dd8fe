"""The command line: a thin file per command; options, progress and tables beside them."""

from .app import main

__all__ = ["main"]
