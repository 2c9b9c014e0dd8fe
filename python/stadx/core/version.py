"""The versions that explain a result."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    """Return the version of the installed stadx, or "unknown" when run from a source tree."""
    try:
        return version("stadx")
    except PackageNotFoundError:
        return "unknown"


def versions() -> dict[str, str]:
    """Return the versions of stadx, torch, numpy, scikit-learn where it is installed, and Python."""
    import torch  # imported here because it takes seconds and `stadx --version` has no use for it

    found = {"stadx": package_version(), "torch": torch.__version__}
    for package in ("numpy", "scikit-learn"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return {**found, "python": platform.python_version()}
