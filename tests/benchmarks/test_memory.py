from __future__ import annotations

import pytest
import torch
from losses import PROBES

from measuring.meters import free_bytes, peak_extra_bytes
from measuring.operations import extrapolate
from measuring.problems import Cell, fewer_positives, forward_backward, make_problem

MEGA = 1_000_000
BLOCKS = 4096  # rounding on CUDA, and the scalars that an operator makes


def test_peak_of_known_allocations(device: torch.device) -> None:
    given = torch.zeros(MEGA, device=device)

    def call() -> None:
        first = given + 1  # 4 MB
        second = first.double()  # 8 MB more: the peak
        del first
        third = torch.empty(MEGA // 4, device=device)  # 1 MB beside 8
        del second, third

    assert peak_extra_bytes(call, device) == pytest.approx(12 * MEGA, abs=BLOCKS)
    assert peak_extra_bytes(lambda: given.add_(1), device) == pytest.approx(0, abs=BLOCKS)


def test_a_gradient_and_what_an_operator_holds_for_itself_count(device: torch.device) -> None:
    leaf = torch.zeros(MEGA, device=device, requires_grad=True)
    assert peak_extra_bytes(lambda: leaf.sum().backward(), device) >= 4 * MEGA
    values = torch.rand(MEGA, device=device)
    inside = peak_extra_bytes(lambda: values.sort().values.sum(), device)
    assert inside >= 12 * MEGA  # values and indices


def test_nothing_is_written_to_the_console(capfd: pytest.CaptureFixture[str]) -> None:
    peak_extra_bytes(lambda: torch.zeros(3), torch.device("cpu"))
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_the_peak_of_the_loop_follows_from_few_positives() -> None:
    cpu = torch.device("cpu")
    problem = make_problem(Cell("paper", "x", 20_000, 600), cpu, torch.float32, seed=0)

    def peak(number: int) -> int:
        problem.logits.grad = None
        return peak_extra_bytes(lambda: forward_backward("loop", fewer_positives(problem, number)), cpu)

    probes = PROBES["loop"][0], PROBES["loop"][-1]
    assert extrapolate(probes, [peak(number) for number in probes], 600) == pytest.approx(peak(600), rel=0.01)


def test_free_memory_is_some_and_less_than_all(device: torch.device) -> None:
    assert 1 << 20 < free_bytes(device) < 1 << 62
