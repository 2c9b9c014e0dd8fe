"""Reviews of small images by a detector whose scores are their brightness, and decisions about them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from brightness import Brightness
from PIL import Image

from stadx.data.images import write_image
from stadx.evaluation.prediction import collect_images
from stadx.evaluation.review.format import Model
from stadx.evaluation.review.writing import write_review

MODEL = Model("m.safetensors", "0" * 64)
ODD = "it's <script>alert(1)<" + '! "é.png'


def write_photos(folder: Path, names: Mapping[str, int], shape: tuple[int, int] = (40, 60)) -> Path:
    """Images of one grey each with a square twice as bright, 10 to 20 by 30 to 40."""
    for name, grey in names.items():
        pixels = np.full((*shape, 3), grey, np.uint8)
        pixels[10:20, 30:40] = 2 * grey
        write_image(folder / name, pixels)
    return folder


def made_review(folder: Path, out: Path, **options: Any) -> tuple[Path, dict[str, Any]]:
    """The page of all images in a folder, and what it holds."""
    page, _ = write_review(Brightness(), folder, collect_images([folder], recursive=True), out, model=MODEL, **options)
    return page, content_of(page)


def content_of(page: Path) -> dict[str, Any]:
    """What a review page knows."""
    text = page.read_text()
    found: dict[str, Any] = json.loads(text.split('id="review">')[1].split("</script>")[0])
    return found


def mask_address(mask: np.ndarray[Any, Any]) -> str:
    """A painted mask, bool [h, w], as the page saves it."""
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def saved(
    page: Path, decisions: Mapping[str, str], masks: Mapping[str, np.ndarray[Any, Any]] | None = None
) -> dict[str, Any]:
    """What the button Save writes for these decisions, by path."""
    content = content_of(page)
    images = [
        {k: entry[k] for k in ("path", "page", "sha256", "size", "score") if k in entry}
        | {"decision": decisions[entry["path"]], "threshold": 0.5, "mask": None}
        for entry in content["images"]
        if entry["path"] in decisions
    ]
    for entry in images:
        if entry["path"] in (masks or {}):
            entry["mask"] = mask_address((masks or {})[entry["path"]])
    return {**content["head"], "images": images}


def saved_file(file: Path, *given: Any) -> Path:
    """`saved` as a file."""
    file.write_text(json.dumps(saved(*given)))
    return file
