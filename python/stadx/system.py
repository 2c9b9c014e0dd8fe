"""What this installation can do: versions, instruction sets, devices."""

from __future__ import annotations

import torch

from .version import versions


def facts() -> dict[str, str]:
    """Return versions, instruction sets, compiled CUDA architectures and devices, ready to print."""
    found = dict(versions())
    try:
        from . import _C
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
