"""The detector and the layout of the documents, installed as packages: all commands know them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from data_sets import draw_image, draw_mask
from test_documentation import DOCS, blocks

PLUGINS = {
    "mean_image": ("detector", "stadx.detectors", "mean-image = mean_image:MeanImageDetector"),
    "inspected_parts": ("layout", "stadx.layouts", "inspected-parts = inspected_parts:LAYOUT"),
}
RUN = """
import sys
from typer.testing import CliRunner
from stadx.cli.app import app
for line in sys.stdin.read().splitlines():
    result = CliRunner().invoke(app, line.split())
    print(f"{line}: {result.exit_code}", result.output, sep="\\n")
"""


def install(place: Path) -> None:
    """Write the pages' modules, and the metadata that pip would, into a folder of packages."""
    for name, (page, group, point) in PLUGINS.items():
        title, text = blocks(DOCS / "extending" / f"{page}.md", "python")[0]
        assert title == f"{name}.py"
        (place / title).write_text(text, "utf-8")
        metadata = place / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[{group}]\n{point}\n")


def run(place: Path, *lines: str) -> str:
    """What the commands say, where the packages in `place` are installed."""
    path = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", RUN], input="\n".join(lines), cwd=place, text=True, capture_output=True,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "300"}, check=True,
    )  # fmt: skip
    return done.stdout


def test_a_detector_and_a_layout_of_other_packages(tmp_path: Path) -> None:
    install(tmp_path)
    part = tmp_path / "parts" / "bolt"
    for i in range(10):
        draw_image(part / "reference" / f"{i}.png")
    for i in range(3):
        draw_image(part / "inspected" / f"{i}.png")
    draw_mask(part / "labels" / "2.png")
    train = "train parts/bolt --method mean-image --image-size 16 --out m.safetensors"
    said = run(
        tmp_path,
        "train --help",
        train,
        f"{train} --students 2",
        f"{train.replace('mean-image', 'median-image')}",
        "predict m.safetensors parts/bolt/inspected --out found",
        "evaluate m.safetensors parts/bolt",
        "data check parts",
        "data check m.safetensors",
    )
    assert "ocgan|mean-image]" in said
    assert f"{train}: 0" in said
    assert "means nothing to --method mean-image" in said
    assert "'median-image' is not one of" in said and "'mean-image'." in said
    assert "of 3 images are anomalous" in said
    assert "evaluate m.safetensors parts/bolt: 0" in said
    assert "data check parts: 0" in said and "bolt" in said
    # a file of a package that is gone
    (tmp_path / "mean_image.py").unlink()
    said = run(tmp_path, "predict m.safetensors parts/bolt/inspected --out found")
    assert "m.safetensors: the detector 'mean-image' cannot be imported from mean_image:MeanImageDetector" in said
    (tmp_path / "mean_image-1.0.dist-info" / "entry_points.txt").unlink()
    said = run(tmp_path, "predict m.safetensors parts/bolt/inspected --out found")
    assert "is a mean-image file; a detector file is needed here" in said
