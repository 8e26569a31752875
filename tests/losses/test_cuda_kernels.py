"""The Triton kernels: on a CUDA device if there is one, else in Triton's interpreter on the CPU."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from problems import Problem, problems
from torch import Tensor

from brs_detr.losses.cpu import rows as cpu
from brs_detr.losses.cuda import launch as cuda

# Lanes beyond the last positive divide zero by zero; what they get is never stored.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 1e-5, torch.bfloat16: 1e-5}
KINDS = {
    "ap": {"bucketed": False, "interpolated": False, "sorting": False},
    "interpolated_ap": {"bucketed": False, "interpolated": True, "sorting": False},
    "bucketed_ap": {"bucketed": True, "interpolated": False, "sorting": False},
    "rank_sort": {"bucketed": False, "interpolated": False, "sorting": True},
    "bucketed_rank_sort": {"bucketed": True, "interpolated": False, "sorting": True},
}
Kind = dict[str, bool]
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def terms(module, logits: Tensor, targets: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """Compute values [T, L] and gradients [T, L, N] by one implementation, in tensors prefilled with 7."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    values = torch.full((1 + options["sorting"], len(logits)), 7, dtype=dtype, device=logits.device)
    gradients = torch.full((len(values), *logits.shape), 7, dtype=dtype, device=logits.device)
    module.write_terms(logits, targets.expand_as(logits), values, gradients, **options)
    return values, gradients


def assert_same(logits: Tensor, targets: Tensor, **options: Any) -> None:
    """Equal to 1e-9, or in lower precision to 1e-5 of the largest gradient."""
    tolerance = TOLERANCE[logits.dtype]
    values, gradients = terms(cpu, logits.cpu(), targets.cpu(), **options)
    actual_values, actual_gradients = terms(cuda, logits.to(DEVICE), targets.to(DEVICE), **options)
    torch.testing.assert_close(actual_values.cpu(), values, rtol=0, atol=tolerance)
    largest = gradients.abs().max().item() if gradients.numel() else 0.0
    torch.testing.assert_close(actual_gradients.cpu(), gradients, rtol=0, atol=tolerance * max(largest, 1e-3))


@each_kind
@given(problem=problems(max_size=12))
def test_equal_pytorch_on_made_up_problems(kind: Kind, problem: Problem) -> None:
    logits, targets, delta = problem
    if len(logits):
        assert_same(logits[None], targets[None], delta=delta, max_positives=len(logits), **kind)


DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
DELTAS = (0.0, 1e-6, 0.5, 10.0)
OFTEN = {*zip(DTYPES, DELTAS, strict=True), (torch.float32, 0.0)}  # the others in the slow suite


@each_kind
@pytest.mark.parametrize(
    ("dtype", "delta"),
    [
        pytest.param(*pair, marks=[] if pair in OFTEN else pytest.mark.slow)
        for pair in itertools.product(DTYPES, DELTAS)
    ],
)
def test_equal_pytorch_over_several_blocks(
    kind: Kind, dtype: torch.dtype, delta: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three rows, one without positives; blocks are so small that every loop of every kernel iterates."""
    monkeypatch.setattr("brs_detr.losses.cuda.launch.BLOCK", 64)
    monkeypatch.setattr("brs_detr.losses.cuda.launch.PAIR_BLOCK", 16)
    monkeypatch.setattr("brs_detr.losses.cuda.launch.SCAN_BLOCK", 32)
    monkeypatch.setattr("brs_detr.losses.cuda.launch.SLOTS", 300)
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 200, generator=random).mul_(2).to(dtype)
    targets = (torch.rand(3, 200, generator=random) * 1.5 - 0.75).clamp(min=0)
    targets[1] = 0
    targets[:, :10] = -1
    assert_same(logits, targets.to(dtype), delta=delta, max_positives=110, **kind)


@each_kind
def test_rows_share_targets_of_another_dtype(kind: Kind) -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 50, generator=random).to(torch.float16)
    targets = (torch.rand(50, generator=random) * 2 - 1).clamp(min=0)
    assert_same(logits, targets, delta=0.5, max_positives=50, **kind)


@each_kind
def test_the_same_input_gives_the_same_bits(kind: Kind) -> None:
    """Sums are of integers: neither the order of the logits nor that of the blocks changes them."""
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 300, generator=random).to(DEVICE)
    targets = (torch.rand(1, 300, generator=random) * 2 - 1).clamp(min=0).to(DEVICE)
    order = torch.randperm(300, generator=random).to(DEVICE)
    options = {"delta": 0.5, "max_positives": 300, **kind}
    values, gradients = terms(cuda, logits, targets, **options)
    permuted_values, permuted_gradients = terms(cuda, logits[:, order], targets[:, order], **options)
    assert torch.equal(permuted_values, values)
    assert torch.equal(permuted_gradients, gradients[:, :, order])


@pytest.mark.parametrize(
    ("logits", "targets", "max_positives"),
    [
        ([0.0, float("nan")], [0.5, 0.0], 2),
        ([0.0, float("inf")], [0.5, -1.0], 2),
        ([0.0, 1.0], [0.5, 1.5], 2),
        ([0.0, 1.0], [0.5, -0.5], 2),
        ([0.0, 1.0], [0.5, float("nan")], 2),
        ([0.0, 1.0], [0.5, 0.5], 1),
    ],
)
def test_wrong_input_is_asserted_on_the_device(logits: list[float], targets: list[float], max_positives: int) -> None:
    with pytest.raises(RuntimeError, match="logits must be finite.*targets must be 0.*more positives than"):
        terms(
            cuda,
            torch.tensor([[0.0, 0.0], logits]),
            torch.tensor([[0.5, 0.0], targets]),
            delta=0.5,
            max_positives=max_positives,
            **KINDS["rank_sort"],
        )


@pytest.mark.parametrize("capability", [pytest.param(80, marks=pytest.mark.slow), 90])
def test_kernels_compile_for_nvidia_gpus(capability: int) -> None:
    """Compile to machine code, which needs no GPU."""
    script = [Path(__file__).with_name("compile_kernels.py"), str(capability)]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    result = subprocess.run([sys.executable, *script], env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["48"]


@pytest.fixture
def problem_on_cuda() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 48_000, generator=random).cuda().requires_grad_()
    targets = torch.zeros(7, 48_000)
    targets[:, :40] = torch.rand(7, 40, generator=random)
    return logits, targets.cuda()


@pytest.mark.cuda
@each_kind
def test_nothing_is_read_back(kind: Kind, problem_on_cuda: tuple[Tensor, Tensor]) -> None:
    from brs_detr.losses.operator import ranking_losses

    torch.cuda.set_sync_debug_mode("error")
    try:
        losses = ranking_losses(*problem_on_cuda, 0.5, **kind)
        torch.stack(losses).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.cuda
@pytest.mark.parametrize("bucketed", [False, True])
def test_a_cuda_graph_captures_forward_and_backward(bucketed: bool, problem_on_cuda: tuple[Tensor, Tensor]) -> None:
    """Replay with another number of positives."""
    from brs_detr.losses.operator import ranking_losses

    logits, targets = problem_on_cuda

    def step() -> None:
        torch.stack(ranking_losses(logits, targets, 0.5, bucketed=bucketed, sorting=True)).sum().backward()

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    logits.grad = torch.zeros_like(logits)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits.grad.zero_()
        step()
    targets[:, 40:100] = 0.5
    graph.replay()
    replayed = logits.grad.clone()
    logits.grad = None
    step()
    assert torch.equal(replayed, logits.grad)
