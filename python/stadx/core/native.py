"""The compiled module stadx._C, or what to do where there is none."""

from __future__ import annotations

import sysconfig
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

from .errors import NotBuiltError

_PACKAGE = Path(__file__).resolve().parents[1]


def native_module() -> ModuleType:
    """Import the compiled module, which registers the operators with PyTorch.

    Raises:
        NotBuiltError: naming the folder, if it is missing, or not built for this Python or this PyTorch.
    """
    import torch  # noqa: F401 - loads the library that the module needs

    try:
        return import_module("stadx._C")
    except ModuleNotFoundError as error:
        if error.name != "stadx._C":
            raise
        raise NotBuiltError(_missing(), name=error.name) from None
    except ImportError as error:
        if "undefined symbol" not in str(error):
            raise  # says itself what is wrong, as STADX_ISA does
        raise NotBuiltError(
            f"{_PACKAGE}: the compiled operators do not load with PyTorch {_torch_version()}. Install a later one: "
            f"pip install -U 'torch>=2.13' ({error})",
            name="stadx._C",
        ) from error


def _missing() -> str:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    others = sorted(path.name for path in _PACKAGE.glob("_C.*.so"))
    found = f", only {', '.join(others)}, for another Python" if others else ""
    return (
        f"{_PACKAGE}: the compiled operators are missing: no _C{suffix} is there{found}. Compile and install them: "
        "pip install . in the repository, then start Python elsewhere and without PYTHONPATH. Or, to try changes of "
        f"Python code, copy an installed stadx/_C{suffix} into that folder."
    )


def _torch_version() -> str:
    try:
        return version("torch")
    except PackageNotFoundError:
        return "(of unknown version)"
