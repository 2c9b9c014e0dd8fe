"""Submissions to MVTec AD 2: what is in the archive, and what its check finds."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from brightness import Brightness
from data_sets import draw_ad2, draw_image
from PIL import Image
from typer.testing import CliRunner

from stadx.cli import app as cli
from stadx.cli import submit
from stadx.core.errors import DataError
from stadx.data.images import read_image
from stadx.evaluation import submission
from stadx.evaluation.submission import check_submission, write_submission


class Scaled(Brightness):
    """Brightness times a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def score(self, images: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
        return super().score(images, stride=stride) * self.factor


@pytest.fixture
def data(tmp_path: Path) -> Path:
    draw_ad2(tmp_path / "ad2/can", 3)
    draw_ad2(tmp_path / "ad2/vial")
    return tmp_path / "ad2"


def members(archive: Path) -> dict[str, np.ndarray]:
    found = {}
    with tarfile.open(archive) as opened:
        for member in opened:
            content = io.BytesIO(opened.extractfile(member).read())  # type: ignore[union-attr]
            found[member.name] = (
                tifffile.imread(content) if member.name.endswith("tiff") else np.asarray(Image.open(content))
            )
            assert (member.uname, member.uid) == ("", 0)
    return found


def brightness(path: Path) -> np.ndarray:
    return read_image(path).astype(np.float32).mean(2) / 255


def test_the_archive_holds_a_float16_map_of_each_private_image(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.tar.gz"
    written = write_submission(out, data, lambda name: Brightness())
    found = members(out)
    assert written.maps == len(found) == 10 and not written.factors and not written.notes()
    assert sorted(found)[0] == "anomaly_images/can/test_private/000_regular.tiff"
    for name, scores in found.items():
        _, category, split, file = name.split("/")
        assert scores.dtype == np.float16 and scores.shape == (9, 13)
        image = data / category / split / file.replace("tiff", "png")
        np.testing.assert_allclose(scores, brightness(image), rtol=1e-3)
    assert check_submission(out, data) == []
    assert [p.name for p in tmp_path.iterdir()] in (["ad2", "a.tar.gz"], ["a.tar.gz", "ad2"])


@pytest.mark.parametrize("kind", ["model", "validation"])
def test_pictures_of_what_is_above_a_threshold(data: Path, tmp_path: Path, kind: Any) -> None:
    out = tmp_path / "a.tar.gz"
    written = write_submission(out, data, lambda name: Brightness(), thresholded=kind)
    found = members(out)
    assert len(found) == 20 and check_submission(out, data) == []
    threshold = written.thresholds["can"]
    if kind == "model":
        assert threshold == 0.5
    else:
        maps = np.stack([brightness(p) for p in sorted((data / "can/validation/good").iterdir())]).astype(np.float64)
        assert threshold == pytest.approx(maps.mean() + 3 * maps.std(), rel=1e-6)
    mask = found["anomaly_images_thresholded/can/test_private/000_regular.png"]
    above = brightness(data / "can/test_private/000_regular.png") > threshold
    np.testing.assert_array_equal(mask, np.where(above, 255, 0))


def test_scores_that_are_too_large_are_scaled_by_one_factor_and_keep_their_order(data: Path, tmp_path: Path) -> None:
    dark = data / "can/test_private/000_regular.png"
    Image.fromarray(np.full((9, 13, 3), 40, np.uint8)).save(dark)  # written before a brighter one overflows
    out = tmp_path / "a.tar.gz"
    written = write_submission(out, data, lambda name: Scaled(1e6 if name == "can" else 1.0))
    assert list(written.factors) == ["can"] and np.log2(written.factors["can"]) % 1 == 0
    assert "can: scores above 65504" in written.notes()[0]
    for name, scores in members(out).items():
        _, category, split, file = name.split("/")
        factor = 1e6 * written.factors["can"] if category == "can" else 1.0
        assert np.isfinite(scores).all()
        expected = brightness(data / category / split / file.replace("tiff", "png")) * factor
        np.testing.assert_allclose(scores, expected, rtol=1e-3)
    with pytest.raises(DataError, match="not a finite number"):
        write_submission(tmp_path / "b.tar.gz", data, lambda name: Scaled(np.nan))
    assert not (tmp_path / "b.tar.gz").exists()


def rewritten(archive: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    with tarfile.open(archive) as opened:
        files = {m.name: opened.extractfile(m).read() for m in opened}  # type: ignore[union-attr]
    change(files)
    out = archive.with_name("changed.tar.gz")
    with tarfile.open(out, "w:gz") as opened:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return out


def as_tiff(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, photometric="minisblack")
    return stream.getvalue()


def test_what_the_check_finds(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.tar.gz"
    write_submission(out, data, lambda name: Brightness(), thresholded="model")
    name = "anomaly_images/can/test_private/000_regular.tiff"
    mask = "anomaly_images_thresholded/can/test_private/000_regular.png"
    cases: list[tuple[Callable[[dict[str, bytes]], object], str]] = [
        (lambda f: f.pop(name), f"{name}: 1 files are missing"),
        (lambda f: f.pop(mask), f"{mask}: 1 files are missing"),
        (lambda f: f.update({"readme.txt": b""}), "readme.txt: does not belong"),
        (lambda f: f.update({name: as_tiff(np.zeros((9, 13), np.float32))}), "is float32; it must be float16"),
        (lambda f: f.update({name: as_tiff(np.zeros((3, 9, 13), np.float16))}), "has shape [3, 9, 13]"),
        (lambda f: f.update({name: as_tiff(np.zeros((4, 4), np.float16))}), "has size [4, 4] but"),
        (lambda f: f.update({name: as_tiff(np.full((9, 13), np.inf, np.float16))}), "not finite"),
        (lambda f: f.update({name: b"II*"}), "cannot be read"),
    ]
    for change, words in cases:
        (error,) = check_submission(rewritten(out, change), data)
        assert words in error
    draw_image(tmp_path / "grey.png", (13, 9))
    grey = io.BytesIO()
    Image.open(tmp_path / "grey.png").convert("L").save(grey, "PNG")
    (error,) = check_submission(rewritten(out, lambda f: f.update({mask: grey.getvalue()})), data)
    assert "other values than 0 and 255" in error
    out.write_bytes(out.read_bytes()[:200])
    with pytest.raises(DataError, match=r"cannot be read as .tar.gz"):
        check_submission(out, data)
    with pytest.raises(DataError, match="has no categories with test_private and test_private_mixed"):
        write_submission(out, data / "can/train", lambda name: Brightness())


def test_the_command(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = lambda *given: CliRunner().invoke(cli.app, ["submit", "ad2", *map(str, given)])  # noqa: E731
    monkeypatch.setattr(submit, "open_model", lambda *given: Brightness())
    models, out = tmp_path / "models", tmp_path / "a.tar.gz"
    result = run(models, data, "--out", out)
    assert result.exit_code == 2 and "can.safetensors: no such model; train one for can, vial" in result.output
    models.mkdir()
    for name in ("can", "vial"):
        (models / f"{name}.safetensors").touch()
    result = run(models, data, "--out", out)
    assert result.exit_code == 0 and "sizes are right" in result.output
    monkeypatch.setattr(submission, "COUNTS", {"can": 3, "vial": 2})
    assert run("--check", out).exit_code == 0 and run("--check", out, data).exit_code == 0
    monkeypatch.setattr(submission, "COUNTS", {"can": 3, "vial": 3})
    result = run("--check", out)
    assert result.exit_code == 1 and "2 files are missing" in result.output
    assert run(models, data).exit_code == 2 and run(models, data, "--out", tmp_path / "a.zip").exit_code == 2


def test_the_published_numbers_of_images() -> None:
    assert sum(submission.COUNTS.values()) == 2045 and len(submission._expected(None)) == 4 * 2045
