"""Progress and messages as a person sees them."""

from __future__ import annotations

import io

import pytest
import typer
from rich.console import Console

from stadx.cli import console
from stadx.cli.console import ShownProgress


def shown(*, terminal: bool) -> tuple[ShownProgress, io.StringIO]:
    text = io.StringIO()
    return ShownProgress(Console(file=text, force_terminal=terminal, width=150)), text


def test_a_terminal_shows_a_bar_with_the_figures_for_each_stage() -> None:
    progress, text = shown(terminal=True)
    with progress:
        progress("Students, p = [33]", 1, 200, {"loss": 31.25})
        progress("Students, p = [33]", 200, 200, {"loss": 3.5})
        progress("Held-out images", 4, 4, {})
    for part in ("Students, p = [33]", "200/200", "loss 3.5", "Held-out images", "4/4"):
        assert part in text.getvalue()


def test_a_stage_that_begins_again_has_its_clock_set_back() -> None:
    progress, _ = shown(terminal=True)
    with progress:
        for _ in range(2):
            for done in (0, 100, 200):
                progress("Rows", done, 200, {})
                task = progress._bars.tasks[0]
                assert task.completed == done and task.finished == (done == 200)
    assert len(progress._bars.tasks) == 1


def test_old_bars_make_room_for_new_ones() -> None:
    progress, _ = shown(terminal=True)
    with progress:
        progress("endless", 1, 2, {})
        for number in range(40):
            progress(f"task {number}", 1, 1, {})
        visible = [task.description for task in progress._bars.tasks if task.visible]
        assert visible == ["endless", *(f"task {number}" for number in range(24, 40))]
        for done in (0, 1):
            progress("task 3", done, 1, {})
        assert progress._bars.tasks[4].visible


def test_a_file_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    progress, text = shown(terminal=False)
    with progress:
        for done in range(1, 101):
            progress("Students", done, 100, {"loss": 100.0 - done})
            now[0] += 1.0
    lines = text.getvalue().splitlines()
    assert lines == [
        "Students 3/100  loss 97, 1:37 left",
        "Students 33/100  loss 67, 1:07 left",
        "Students 63/100  loss 37, 0:37 left",
        "Students 93/100  loss 7, 0:07 left",
        "Students 100/100  loss 0",
    ]


def test_the_time_left_is_that_of_what_is_left_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed run begins in the middle; a stage that begins again has its clock set back."""
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    progress, text = shown(terminal=False)
    for done in (500, 502):
        progress("Resumed", done, 1000, {})
        now[0] += 60.0
    for done, seconds in ((1, 0.0), (2, 1.0), (1, 1000.0), (3, 40.0)):
        now[0] += seconds
        progress("Again", done, 9, {})
    assert text.getvalue().splitlines() == ["Resumed 502/1000, 4:09:00 left", "Again 3/9, 2:00 left"]


def test_a_short_stage_that_begins_again_and_again_gets_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    progress, text = shown(terminal=False)
    for seconds in (3.0, 0.5, 0.5):  # a pass takes twice that; the first is long enough for lines
        for done in range(3):
            progress("Looks", done, 2, {})
            now[0] += seconds
        now[0] += 60.0
    assert text.getvalue().splitlines() == ["Looks 1/2, 0:03 left", "Looks 2/2"]


def test_memory_that_does_not_suffice_has_the_commands_own_mend(capsys: pytest.CaptureFixture[str]) -> None:
    def greedy() -> None:
        raise MemoryError

    def greedy_in_torch() -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    for command in (greedy, greedy_in_torch):
        with pytest.raises(typer.Exit):
            console.reported(smaller="use a smaller --batch")(command)()
        assert capsys.readouterr().err == "Error: out of memory; use a smaller --batch\n"


def test_a_file_gets_no_line_of_what_takes_no_time() -> None:
    progress, text = shown(terminal=False)
    with progress:
        for done in range(5):
            progress("Images", done, 4, {})
    assert text.getvalue() == ""


def test_what_tells_nothing_until_it_is_done_is_named_when_it_begins() -> None:
    progress, text = shown(terminal=False)
    with progress:
        progress("K-Means", 0, 0, {})
        assert text.getvalue() == "K-Means …\n"
        progress("K-Means", 1, 1, {})
    assert text.getvalue() == "K-Means …\nK-Means 1/1\n"
    progress, text = shown(terminal=True)
    with progress:
        progress("K-Means", 0, 0, {})
        assert progress._bars.tasks[0].total is None  # a bar that moves
        progress("K-Means", 1, 1, {})
        assert progress._bars.tasks[0].finished


def test_messages_are_not_read_as_markup_and_names_need_not_be_utf8(capsys: pytest.CaptureFixture[str]) -> None:
    console.fail("a [red]b[/red] \udcff: gone")
    assert capsys.readouterr().err == "Error: a [red]b[/red] ?: gone\n"
