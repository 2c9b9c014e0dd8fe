"""A training by several processes is that of one, to the bit."""

from __future__ import annotations

import json
import socket
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from fit_in_parallel import fit
from processes import assert_no_group_is_left, run_together
from small import good_images, random_teacher

from stadx import Detector, StadxError
from stadx.core.files import read_model, write_model
from stadx.data.images import write_image
from stadx.detectors.student_teacher.model_file import DETECTOR_VERSION
from stadx.detectors.student_teacher.sharing import Share
from stadx.teachers import distributed
from stadx.teachers.distributed import process_group
from stadx.teachers.teacher_files import TEACHER_VERSION

SCRIPT = Path(__file__).parents[1] / "support" / "fit_in_parallel.py"

pytestmark = pytest.mark.usefixtures("narrow_networks")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, a narrow teacher of each scale, and what one process makes of them."""
    root = tmp_path_factory.mktemp("sharing")
    for i, image in enumerate(good_images(9, (40, 40))):
        write_image(root / f"{i}.png", image.permute(1, 2, 0).numpy())
    for p in (17, 33):
        teacher = random_teacher(p)
        header = {"network": teacher.settings}
        write_model(root / f"teacher{p}.safetensors", "teacher", TEACHER_VERSION, header, teacher.state_dict())
    threads = torch.get_num_threads()
    fit(root, root / "one", 0)
    torch.set_num_threads(threads)
    return root


def same(a: Path, b: Path) -> None:
    (one, tensors), (other, others) = (read_model(path, "detector", DETECTOR_VERSION) for path in (a, b))
    assert one["settings"] == other["settings"]
    assert tensors.keys() == others.keys()
    for name in tensors:
        assert torch.equal(tensors[name], others[name]), name
    x, y = Detector.load(a), Detector.load(b)
    assert x.threshold_ == y.threshold_ and x.image_threshold() == y.image_threshold()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3, 4])
def test_several_processes_are_one(place: Path, processes: int) -> None:
    """Two share out the students; with three the third has none; four share out the scales too."""
    out = place / f"of{processes}"
    assert_no_group_is_left(run_together(processes, SCRIPT, place, out, 0))
    same(place / "one", out)
    assert not list(place.glob(f"{out.name}.part*"))


@pytest.mark.slow
def test_several_processes_have_other_losses(place: Path) -> None:
    losses = {"hard_share": 0.1, "penalty": str(place)}
    threads = torch.get_num_threads()
    fit(place, place / "losses", 0, **losses)
    torch.set_num_threads(threads)
    run_together(2, SCRIPT, place, place / "losses-of-2", 0, json.dumps(losses))
    same(place / "losses", place / "losses-of-2")


def test_a_checkpoint_of_two_is_gone_on_with_by_one(place: Path) -> None:
    out = place / "stopped"
    run_together(2, SCRIPT, place, out, 13, fails=True)
    assert not out.exists() and (place / "stopped.part-p17").exists()
    fit(place, out, 0)
    same(place / "one", out)


@pytest.mark.slow
def test_the_command_writes_once(place: Path) -> None:
    out = place / "command"
    teachers = [option for p in (17, 33) for option in ("--teacher", place / f"teacher{p}.safetensors")]
    options = ["--scales", "17,33", "--students", 2, "--image-size", 40, "--steps", 6, *teachers]
    told = run_together(2, SCRIPT, "command", "train", place, "--out", out, *options)
    assert [text.count("Model: ") for text in told] == [1, 0]
    assert Detector.load(out).steps == 6


def test_who_is_done_waits_for_the_others_however_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gloo's own limit is half an hour, and a scale may take longer."""
    limits: list[timedelta] = []

    def made(*args: Any, timeout: timedelta, **more: Any) -> None:
        limits.append(timeout)

    monkeypatch.setattr(dist, "rendezvous", lambda *args, **more: iter([(dist.HashStore(), 0, 2)]))
    monkeypatch.setattr(dist, "init_process_group", made)
    monkeypatch.setattr(dist, "barrier", lambda: None)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with process_group():
        monkeypatch.setattr(dist, "new_group", made)
        monkeypatch.setattr(dist, "get_rank", lambda: 0)
        Share(3, [0, 1])
    assert len(limits) == 2 and min(limits) > timedelta(days=30)


def test_who_never_comes_is_not_waited_for_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "START", timedelta(seconds=1))
    monkeypatch.setattr(distributed, "LIMIT", timedelta(seconds=20))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {"WORLD_SIZE": 2, "RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, str(value))
    begun = time.monotonic()
    with pytest.raises(StadxError, match="not all of the 2 processes of WORLD_SIZE came"), process_group():
        pass
    assert time.monotonic() - begun < 15
