from __future__ import annotations

import pytest
import torch

from measuring import meters
from measuring.meters import Stopwatch, Timing, copy_bytes_per_s, time_in_turns


class Clock:
    """A stopwatch that reports the time that each call claims to take."""

    def __init__(self, durations: dict[str, list[float]]) -> None:
        self.durations = durations
        self.log: list[str] = []

    def calls(self) -> dict:
        return {name: (lambda name=name: name) for name in self.durations}

    def __call__(self, call) -> float:
        name = call()
        self.log.append(name)
        durations = self.durations[name]
        return durations[min(self.log.count(name), len(durations)) - 1]


def test_calls_take_turns_and_share_a_budget() -> None:
    clock = Clock({"slow": [0.5], "quick": [0.1], "instant": [0.001]})
    timings = time_in_turns(clock.calls(), clock, repeats=9, budget_s=0.45)
    assert {name: len(timing.seconds) for name, timing in timings.items()} == {"slow": 1, "quick": 4, "instant": 9}
    assert clock.log[:6] == ["slow", "quick", "instant"] * 2  # a warm-up each, then the first repeat
    places = [place for place, name in enumerate(clock.log) if name == "quick"]
    assert min(b - a for a, b in zip(places[1:], places[2:], strict=False)) >= 3  # spread over the rounds


def test_a_warm_up_is_left_out_and_what_takes_long_is_made_once() -> None:
    clock = Clock({"compiled": [2.0, 0.01, 0.03, 0.02], "long": [60.0]})
    timings = time_in_turns(clock.calls(), clock, repeats=3, budget_s=0.5)
    assert timings["compiled"].seconds == [0.01, 0.03, 0.02]
    assert timings["compiled"].median_s == 0.02
    assert timings["long"].seconds == [60.0]
    assert clock.log.count("long") == 1


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: 9 PB")]
)
def test_no_memory_ends_one_call_and_not_the_others(error: Exception) -> None:
    def fail() -> None:
        raise error

    timings = time_in_turns({"big": fail, "small": lambda: None}, Stopwatch(torch.device("cpu")), 3, 1.0)
    assert timings["big"] == Timing([], "out of memory")
    assert timings["big"].median_s is None
    assert len(timings["small"].seconds) == 3


def test_other_errors_are_errors() -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        time_in_turns({"call": fail}, Stopwatch(torch.device("cpu")), 1, 1.0)


def test_the_stopwatch_runs(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "CACHE_BYTES", 1 << 20)
    values = torch.rand(200_000, device=device)
    stopwatch = Stopwatch(device)
    assert 0 < stopwatch(values.neg) < 60
    assert stopwatch(lambda: [values.sort() for _ in range(5)]) > min(stopwatch(values.neg) for _ in range(5))
    assert 1e6 < copy_bytes_per_s(device) < 1e14
