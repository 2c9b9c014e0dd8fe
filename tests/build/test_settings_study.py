"""The study of settings trains what it says, goes on where it was stopped, and its table is of its lines."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from small import good_images, teacher_file

from stadx.data.images import write_image

# at the end: a module of the tests with the same name wins
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import settings_study

pytestmark = pytest.mark.usefixtures("narrow_networks")


@pytest.fixture
def category(tmp_path: Path) -> Path:
    """Six good training images, two good test images, two with a white square."""
    images = good_images(10, (40, 40))
    for number, image in enumerate(images):
        pixels = image.permute(1, 2, 0).numpy().copy()
        place = "train/good" if number < 6 else "test/good" if number < 8 else "test/square"
        if number >= 8:
            pixels[15:25, 15:25] = 255
            mask = pixels[..., 0] * 0
            mask[15:25, 15:25] = 255
            write_image(tmp_path / f"part/ground_truth/square/{number}_mask.png", mask)
        write_image(tmp_path / "part" / place / f"{number}.png", pixels)
    return tmp_path / "part"


def test_each_setting_and_seed_is_a_line_and_runs_once(
    category: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, models = category.parent / "study.jsonl", category.parent / "models"
    fixed = ("scales=17", "students=2", "image_size=40", f'teachers=["{teacher_file(category.parent)}"]')
    given = [str(category), "--vary", "steps=2,4", "--seeds", "0,1", "--out", str(out), "--models", str(models)]
    monkeypatch.setattr(sys, "argv", ["study", *given, *(part for one in fixed for part in ("--set", one))])
    settings_study.main()
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line["key"][1]["steps"], line["key"][1]["seed"]) for line in lines] == [(2, 0), (4, 0), (2, 1), (4, 1)]
    for line in lines:
        assert (line["good"], line["defects"]) == (2, 2) and 0 <= line["found_at_true_share"] <= 2
        assert {"Teacher's descriptors, p = 17", "Students, p = 17", "Scores of good images"} <= line["seconds"].keys()
    assert len(list(models.iterdir())) == 4
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 4 and "| part | image_size 40, scales [17], steps 2" in table[2] and "| 2 |" in table[2]
    monkeypatch.setattr(settings_study, "run", lambda *_: pytest.fail("ran again"))
    settings_study.main()


def test_the_table_counts_over_seeds() -> None:
    def line(seed: int, found: int, true: int) -> dict[str, object]:
        key = ["part", {"seed": seed, "steps": 5}]
        counts = {"good": 20, "defects": 10, "flagged": {"good": seed, "defect": found}, "found_at_true_share": true}
        seconds = {"Students, p = 33": 10.0, "Students, p = 65": 5.0, "Scores of good images": 2.0}
        return {"key": key, "image_auroc": 0.9, "au_pro": 0.8 + 0.1 * seed, **counts, "seconds": seconds, "score_ms": 3}

    row = settings_study.table([line(0, 4, 5), line(1, 5, 5)]).splitlines()[-1]
    assert row == "| part | steps 5 | 2 | 0.900 | 0.850 | 9 of 20 | 1 of 40 | 0.90 | 15 | 2 | 3 |"


def test_a_setting_without_a_value_is_refused() -> None:
    with pytest.raises(SystemExit, match="give NAME=VALUE"):
        settings_study.split("steps")
    assert settings_study.value_of("scales", "17+33") == [17, 33]
    assert settings_study.value_of("cross", "False") is False and settings_study.value_of("optimizer", "adam") == "adam"
