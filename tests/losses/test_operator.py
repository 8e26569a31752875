"""The operator in PyTorch: schema, fake tensors, `torch.compile`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from brs_detr.losses import (
    APLoss,
    BucketedAPLoss,
    BucketedRankSortLoss,
    RankSortLoss,
    rank_sort_loss,
    self_balancing_weight,
)
from brs_detr.losses.operator import attach

LOSSES = [APLoss(interpolated=True), BucketedAPLoss(), RankSortLoss(), BucketedRankSortLoss(delta=0.0)]


def problem(device: torch.device, num_rows: int = 3, num_logits: int = 20) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(num_rows, num_logits, generator=random).to(device)
    targets = (torch.rand(num_rows, num_logits, generator=random) * 2 - 1).clamp(min=0).to(device)
    return logits, targets


@pytest.mark.parametrize("bucketed", [False, True])
@pytest.mark.parametrize("sorting", [False, True])
@pytest.mark.parametrize("shape", [(3, 20), (20,)])
def test_the_operator_keeps_its_promises(
    bucketed: bool, sorting: bool, shape: tuple[int, ...], device: torch.device
) -> None:
    logits, targets = problem(device, 1 if len(shape) == 1 else shape[0])
    logits, targets = logits.view(shape), targets.view(shape)
    torch.library.opcheck(torch.ops.brs_detr.ranking_terms, (logits, targets, 0.5, bucketed, False, sorting, 20))


class Scorer(nn.Module):
    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.linear, self.loss = nn.Linear(4, 1), loss

    def forward(self, features: Tensor, targets: Tensor) -> Tensor:
        loss = self.loss(self.linear(features).squeeze(-1), targets)
        loss = loss.rank + loss.sort if isinstance(loss, tuple) else loss
        box_loss = features.square().mean()
        return (loss + box_loss * self_balancing_weight(loss.sum(), box_loss)).sum()


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_a_module_compiles_without_a_graph_break(loss: nn.Module, dynamic: bool, device: torch.device) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = Scorer(loss).to(device)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for num_logits in (20, 31):
        features = torch.randn(2, num_logits, 4, device=device)
        targets = (torch.rand(2, num_logits, device=device) * 2 - 1).clamp(min=0)
        expected = torch.autograd.grad(model(features, targets), list(model.parameters()))
        actual = torch.autograd.grad(compiled(features, targets), list(model.parameters()))
        torch.testing.assert_close(actual, expected)


def test_wrong_values_are_found_in_a_compiled_module() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(rank_sort_loss, backend="aot_eager", fullgraph=True)
    with pytest.raises(ValueError, match="targets must be 0"):
        compiled(torch.zeros(2, requires_grad=True), torch.tensor([0.0, 3.0]))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_deterministic_algorithms_are_all_there_is(loss: nn.Module, device: torch.device) -> None:
    logits, targets = problem(device, num_logits=5000)
    results = []
    torch.use_deterministic_algorithms(True)
    try:
        for _ in range(3):
            leaf = logits.clone().requires_grad_()
            output = loss(leaf, targets)
            sum(term.sum() for term in (output if isinstance(output, tuple) else (output,))).backward()
            results.append(leaf.grad)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_the_gradient_is_the_stated_one_times_what_comes_from_above() -> None:
    logits = torch.zeros(2, requires_grad=True)
    (loss,) = attach(logits, torch.tensor([0.25]), torch.tensor([[1.0, -1.0]]))
    assert loss.item() == 0.25
    (8 * loss).backward()
    assert logits.grad.tolist() == [8, -8]


def test_a_second_derivative_is_refused() -> None:
    logits = torch.zeros(1, requires_grad=True)
    (loss,) = attach(logits, torch.tensor([0.5]), torch.ones(1, 1))
    (gradient,) = torch.autograd.grad(loss.square(), logits, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_logits_without_gradient_give_a_plain_number() -> None:
    (loss,) = attach(torch.zeros(1), torch.tensor([0.5]), torch.ones(1, 1))
    assert not loss.requires_grad
