from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from brs_detr.run.console import counter, track
from brs_detr.training.checkpoints import KeepLastAndBest
from brs_detr.training.progress import TrainingProgress


def test_track_yields_everything_and_is_silent_without_a_terminal() -> None:
    console = Console(file=(text := io.StringIO()))
    assert list(track([1, 2, 3], "counting", console)) == [1, 2, 3]
    assert text.getvalue() == ""


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")  # independent of where the tests run
    console = Console(file=(text := io.StringIO()), force_terminal=True, width=100)
    list(track("ab", "counting", console))
    with counter("images", console) as progress:
        progress(3, 7)
    assert "counting" in text.getvalue()
    assert "3/7" in text.getvalue()


def test_terminal_is_given_back_after_an_error() -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    try:
        with TrainingProgress(console, KeepLastAndBest()) as progress:
            assert progress.bar.live.is_started
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert not progress.bar.live.is_started


def test_time_left_is_from_where_the_run_was_resumed() -> None:
    progress = TrainingProgress(Console(quiet=True), KeepLastAndBest())
    progress.first_iter = 100
    progress.started = time.monotonic() - 60
    assert progress._eta(110, 710) == "1:00:00"
