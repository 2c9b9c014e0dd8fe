"""With what a result was computed: versions, device, arithmetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from stadx import ops
from stadx.core.version import versions
from stadx.networks.choices import Precision
from stadx.networks.training import in_bfloat16


def environment(device: str, precision: Precision = "auto") -> dict[str, str]:
    """Versions, the device's name, the CPU's instruction set, and what "auto" makes of the students' precision."""
    where = torch.device(device)
    found = {**versions(), "device": torch.cuda.get_device_name(where) if where.type == "cuda" else "cpu"}
    if where.type == "cpu":
        found["instruction set"] = str(ops.build_info()["instruction_set"])
    return {**found, "students train in": "bfloat16" if in_bfloat16(precision, where) else "float32"}


def environment_lines(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each of the environments that entries of a `ResultStore` were made with; says so if they differ."""
    done = [entry for entry in entries if "figure" in entry]
    texts = [_text(entry["made_with"]) for entry in done]
    counts = Counter(texts).most_common()
    if len(counts) <= 1:
        return [f"Measured with {text}." for text, _ in counts]
    lines = ["The figures were not all measured with the same:"]
    for text, count in counts:
        names = dict.fromkeys(
            ", ".join(str(n) for kind, n in entry["of"].items() if kind != "seed")
            for entry, own in zip(done, texts, strict=True)
            if own == text
        )
        of = "" if text == counts[0][0] else f" ({'; '.join(names)})"
        lines.append(f"{count} of {len(done)} with {text}{of}.")
    return lines


def _text(made_with: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in made_with.items())
