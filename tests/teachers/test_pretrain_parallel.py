"""Two processes train the teacher that one process trains."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pretrain_photos import write_photos
from processes import assert_no_group_is_left, run_together
from train_in_parallel import train

from stadx import StadxError
from stadx.core.files import read_model
from stadx.teachers import distributed

pytestmark = pytest.mark.arithmetic


SCRIPT = Path(__file__).parents[1] / "support" / "train_in_parallel.py"


@pytest.mark.parametrize("targets", ["pooled", "dense"])
def test_two_processes_are_one(targets: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = write_photos(tmp_path / "photos")
    one, two = tmp_path / "one" / "t", tmp_path / "two" / "t"
    train(photos, one, targets, monkeypatch)
    assert_no_group_is_left(run_together(2, SCRIPT, photos, two, targets))
    assert [f.name for f in two.parent.iterdir()] == ["t"]
    (header, a), (other, b) = (read_model(path, "teacher", 1) for path in (one, two))
    for name in a:
        assert a[name].dtype == torch.float32
        # beside ten steps of Adam, each of at most the learning rate; gradients a tenth too large make a hundredth
        difference = (a[name] - b[name]).square().mean().sqrt() / (10 * 1e-4)
        assert difference < 1e-3, (name, float(difference))
    for x, y in zip(header["card"]["history"], other["card"]["history"], strict=True):
        assert x == {name: pytest.approx(value, rel=1e-3, abs=2e-3) for name, value in y.items()}


def test_a_batch_that_cannot_be_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stadx.teachers.distributed.world_size", lambda: 2)
    assert distributed.own_part(16) == slice(0, 8)
    with pytest.raises(StadxError, match=r"a batch of 15 cannot be .* evenly to 2 processes; give a multiple of 2"):
        distributed.own_part(15)
    with pytest.raises(StadxError, match=r"a batch of 48 patches, 3 crops of 16, cannot be .*; give a multiple of 32"):
        distributed.own_part(3, 16)


def test_alone_nothing_is_exchanged() -> None:
    with distributed.process_group():
        assert distributed.world_size() == 1 and distributed.is_first()
        x = torch.ones(2, 3, requires_grad=True)
        assert distributed.gather(x) is x and torch.equal(distributed.mean(x), x)
        assert distributed.own_part(7) == slice(0, 7) and distributed.from_first("a") == "a"
