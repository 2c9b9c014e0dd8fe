"""What this installation can do: versions, instruction sets, devices."""

from __future__ import annotations

import os

import torch

from .errors import NotBuiltError
from .version import versions


def usable_device(name: str | torch.device) -> torch.device:
    """The device of that name, a GPU with its number; of processes that torchrun starts "cuda" is each one's own.

    Raises:
        ValueError: if it is neither "cpu" nor a GPU ("cuda", "cuda:1", …) that PyTorch finds.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:  # torch names what kinds there are
        raise ValueError(f"device {str(name)!r} is unknown: {error}") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device {str(name)!r} is unknown; give cpu, cuda, cuda:1, …")
    if device.type == "cpu":
        return device
    if (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device is {str(name)!r}, but PyTorch finds no such GPU; see: stadx info")
    if device.index is None:
        own = int(os.environ.get("LOCAL_RANK", torch.cuda.current_device()))
        return torch.device("cuda", own % torch.cuda.device_count())
    return torch.device("cuda", device.index)


def facts() -> dict[str, str]:
    """Return versions, instruction sets, compiled CUDA architectures and devices, ready to print."""
    found = dict(versions())
    try:
        from stadx import _C
    except NotBuiltError as error:
        found["native operators"] = str(error)
    except ImportError as error:
        found["native operators"] = f"cannot be loaded ({error}); install again with: pip install ."
    else:
        build = _C.build_info()
        found["instruction set"] = build["instruction_set"]
        found["available"] = ", ".join(build["instruction_sets"])
        found["CUDA architectures"] = ", ".join(build["cuda_architectures"]) or "none compiled"
        found["built with"] = f"{build['compiler']}, torch {build['torch_built_with']}"
    devices = [f"cpu ({torch.get_num_threads()} threads)"]
    devices += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    found["devices"] = ", ".join(devices)
    return found
