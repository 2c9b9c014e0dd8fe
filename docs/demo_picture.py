"""Compose docs/demo.png from what `stadx demo` wrote: python docs/demo_picture.py stadx-demo docs/demo.png

The first good test image and the first one of every kind of defect: image, truth, anomaly map, and mask over the image.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tifffile
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont

from stadx import Detector

ROWS = ("image", "truth", "map", "found")
KINDS = {"weave": ("good", "cut", "foreign", "stain"), "washer": ("good", "chip", "dent", "scratch")}
SIDE, GAP, MARGIN, HEADING = 128, 4, 56, 20


def tiles(demo: Path, category: str, kind: str, threshold: float) -> list[Image.Image]:
    """The four pictures of the first image of a kind."""
    image = Image.open(demo / "data" / category / "test" / kind / "000.png").convert("RGB")
    mask = demo / "data" / category / "ground_truth" / kind / "000_mask.png"
    truth = Image.open(mask).convert("RGB") if mask.exists() else Image.new("RGB", image.size)
    scores = tifffile.imread(demo / "maps" / category / f"{kind}_000_map.tiff")
    # from a typical good score, 0, to twice the threshold, as in the report
    heat = colormaps["inferno"](np.clip(scores / (2 * threshold), 0, 1))[..., :3]
    found = Image.open(demo / "maps" / category / f"{kind}_000_overlay.png").convert("RGB")
    return [image, truth, Image.fromarray((heat * 255).round().astype(np.uint8)), found]


def main(demo: Path, out: Path) -> None:
    """Write the picture."""
    columns = [
        (f"{category}: {kind}", tiles(demo, category, kind, threshold))
        for category, kinds in KINDS.items()
        for threshold in [Detector.load(demo / f"{category}.safetensors").threshold_]
        for kind in kinds
    ]
    step = SIDE + GAP
    sheet = Image.new("RGB", (MARGIN + len(columns) * step, HEADING + len(ROWS) * step), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for row, name in enumerate(ROWS):
        draw.text((GAP, HEADING + row * step + SIDE // 2), name, "black", font, anchor="lm")
    for column, (name, pictures) in enumerate(columns):
        draw.text((MARGIN + column * step + SIDE // 2, HEADING // 2), name, "black", font, anchor="mm")
        for row, picture in enumerate(pictures):
            sheet.paste(picture, (MARGIN + column * step, HEADING + row * step))
    sheet.quantize(256, dither=Image.Dither.NONE).save(out, optimize=True)  # textures do not compress; 256 colours do


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
