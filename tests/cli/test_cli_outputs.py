"""`stadx predict`: which outputs are asked for; and outputs of other commands that are links, pipes and devices."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brightness import Brightness
from commands import stadx

from stadx import ModelFileError
from stadx.core.files import read_model, write_bytes, write_model
from stadx.data.images import write_image
from stadx.detectors.thresholds import FalseAlarms
from stadx.networks.training import Checkpoint, restore_training_state


@pytest.fixture
def predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command on a good image and an anomalous one."""
    for name, value in (("good", 10), ("bad", 240)):
        write_image(tmp_path / f"in/{name}.png", np.full((4, 5, 3), value, np.uint8))
    (tmp_path / "m").write_text("one")
    monkeypatch.setattr("stadx.cli.predict.open_model", lambda *options: Brightness())

    def run(*options: object) -> Any:
        return stadx("predict", tmp_path / "m", tmp_path / "in", "--out", tmp_path / "out", *options)

    return run


def test_files_that_are_left_out(predict: Any, tmp_path: Path) -> None:
    result = predict("--no-map", "--no-overlay", "--only-anomalous", "--scores", "csv")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"bad_mask.png", "scores.jsonl", "scores.csv"}
    assert predict("--no-mask", "--overwrite").exit_code == 0
    lines = [json.loads(line) for line in (tmp_path / "out/scores.jsonl").read_text().splitlines()]
    assert len(lines) == 2 and all("map" in line and "mask" not in line for line in lines)


def test_the_summary_as_json(predict: Any, tmp_path: Path) -> None:
    (tmp_path / "in/broken.png").write_bytes(b"")
    result = predict("--json", tmp_path / "s.json")
    told = json.loads((tmp_path / "s.json").read_text())
    run = told.pop("run")
    assert result.exit_code == 2 and len(run) == 12
    assert told == {
        **{"scored": 2, "anomalous": 1, "failed": 1, "skipped": 0, "has_others": False},
        **{"out": str(tmp_path / "out"), "scores": str(tmp_path / "out/scores.jsonl")},
    }
    (tmp_path / "in/broken.png").unlink()
    predict("--json", tmp_path / "s.json", "--resume")
    assert json.loads((tmp_path / "s.json").read_text())["skipped"] == 2


def test_another_model_into_the_same_folder_is_told(predict: Any, tmp_path: Path) -> None:
    assert "another model" not in predict().output
    assert "another model" not in predict("--resume").output
    (tmp_path / "m").write_text("two")
    result = predict("--resume")
    assert "Lines of another model or other settings stand before those of this run" in result.output
    runs = [json.loads(line)["run"] for line in (tmp_path / "out/scores.jsonl").read_text().splitlines()]
    assert len(runs) == 4 and len(set(runs)) == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--scores", "csv,xls"), "'xls' is no format of scores; choose one of ('csv', 'parquet')"),
        (("--resume", "--overwrite"), "choose one of them"),
    ],
)
def test_options_that_cannot_be(predict: Any, tmp_path: Path, options: tuple[object, ...], told: str) -> None:
    result = predict(*options)
    assert result.exit_code == 2 and told in " ".join(result.output.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


class Trained(Brightness):
    """What `stadx train` gets: keeps a checkpoint while it learns."""

    value_range_ = None
    working_size = None

    def to(self, device: str) -> None: ...

    def fit(self, images: object, *, checkpoint: str | None, **rest: object) -> Trained:
        self.checkpoint = checkpoint
        return self

    def save(self, path: Path) -> None:
        write_bytes(path, b"model")

    def false_alarms(self) -> FalseAlarms:
        return FalseAlarms(0.05, 0, 10, 0, 0.3, 10)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_model_goes_where_a_link_leads_and_into_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    detector, out = Trained(), tmp_path / "latest"
    monkeypatch.setattr("stadx.cli.train.built", lambda *options: detector)
    for number in range(2):
        write_image(tmp_path / f"good/{number}.png", np.full((9, 9, 3), number, np.uint8))
    if kind == "link":
        out.symlink_to("disk/v1")
        assert stadx("train", tmp_path / "good", "--out", out).exit_code == 0
        assert out.is_symlink() and (tmp_path / "disk/v1").read_bytes() == b"model"
        assert detector.checkpoint == f"{out}.part"
        return
    os.mkfifo(out)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(out.read_bytes()), daemon=True)
    reader.start()
    assert stadx("train", tmp_path / "good", "--out", out).exit_code == 0
    reader.join(10)
    assert got == [b"model"] and detector.checkpoint is None
    assert {path.name for path in tmp_path.iterdir()} == {"good", "latest"}


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"cut"])
def test_a_damaged_checkpoint_says_which_file_to_delete(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.part").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"m\.part: cannot be read .*; delete it to start anew"):
        Checkpoint(tmp_path / "m.part", {}, {}).load()


def test_a_checkpoint_that_lacks_something_does_too(tmp_path: Path) -> None:
    import torch

    checkpoint = Checkpoint(tmp_path / "m.part", {}, {})
    module = torch.nn.Linear(2, 2)
    checkpoint.save({"step": 1}, {"net.weight": torch.zeros(2, 2)})
    found = checkpoint.load()
    assert found is not None and found[0]["step"] == 1
    for use in (
        lambda: found[0]["loss"],
        lambda: found[1]["mean"],
        lambda: restore_training_state({"net": module}, torch.optim.SGD(module.parameters()), found[1]),
    ):
        with pytest.raises(ModelFileError, match=r"m\.part: lacks a part of a checkpoint; delete it to start anew"):
            use()
    write_model(tmp_path / "m.part", "teacher", 1, {}, {"x": torch.zeros(1)})
    with pytest.raises(ModelFileError, match="is a teacher file; a checkpoint file is needed here, or delete it"):
        checkpoint.load()
    with pytest.raises(ModelFileError, match=r"a detector file is needed here$"):
        read_model(tmp_path / "m.part", "detector", 1)
