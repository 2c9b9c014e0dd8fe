"""The teacher's pass over all images is shared out to processes, and has the bits of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from describe_in_parallel import describe
from processes import run_together

from stadx.detectors.student_teacher import sharing

SCRIPT = Path(__file__).parents[1] / "support" / "describe_in_parallel.py"

pytestmark = pytest.mark.usefixtures("narrow_networks")


def alone(scales: int) -> dict[str, Any]:
    threads = torch.get_num_threads()
    found = describe(scales, 2)
    torch.set_num_threads(threads)
    return found


def together(processes: int, folder: Path, *more: int) -> list[dict[str, Any]]:
    run_together(processes, SCRIPT, folder, *more)
    return [torch.load(folder / f"{rank}.pt") for rank in range(processes)]


@pytest.mark.parametrize(
    ("processes", "scales", "groups"),
    [
        (2, 1, [[0, 1]]),
        pytest.param(5, 2, [[0, 2], [1, 3]], marks=pytest.mark.slow),  # the fifth has none
    ],
)
def test_each_describes_its_part(processes: int, scales: int, groups: list[list[int]], tmp_path: Path) -> None:
    one, found = alone(scales), together(processes, tmp_path, scales, 2)
    for scale, ranks in enumerate(groups):
        assert len(one[f"values{scale}"][2]) == 3
        for rank in ranks:
            for value, expected in zip(found[rank][f"values{scale}"], one[f"values{scale}"], strict=True):
                assert torch.equal(value, expected)
        assert [found[rank][f"described{scale}"] for rank in ranks] == [[0, 1, 3, 5], [2, 4, 6]]
        assert found[ranks[0]][f"told{scale}"] == [(1, 7), (3, 7), (5, 7), (7, 7)]
        assert found[ranks[1]][f"told{scale}"] == [(2, 7), (4, 7), (7, 7)]
        assert all(f"values{scale}" not in found[rank] for rank in range(processes) if rank not in ranks)
    assert one["told0"] == [(done, 7) for done in range(1, 8)]


def test_an_error_in_one_is_told_by_all(tmp_path: Path) -> None:
    """The other describes none of the images that cannot be read, and would wait for figures that never come."""
    assert together(2, tmp_path, 1, 2, 4) == [{"error0": "image 4 cannot be read"}] * 2


@pytest.mark.parametrize(
    ("world", "scales", "students", "processes"), [(1, 1, 3, 1), (2, 1, 3, 2), (5, 1, 3, 3), (4, 2, 2, 2), (2, 2, 1, 1)]
)
def test_how_many_share_a_scale(
    world: int, scales: int, students: int, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "world_size", lambda: world)
    assert sharing.together(scales, students) == processes
