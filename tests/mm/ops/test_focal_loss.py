from __future__ import annotations

import pytest
import torch
from mmcv.ops import sigmoid_focal_loss, softmax_focal_loss
from torch.autograd import gradcheck

LOSSES = {"sigmoid": sigmoid_focal_loss, "softmax": softmax_focal_loss}


def example(num_rows: int = 6, num_classes: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(num_rows, num_classes, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, num_classes, (num_rows,), generator=generator)
    return logits.requires_grad_(), targets, 0.5 + torch.rand(num_classes, generator=generator, dtype=torch.float64)


def definition(kind: str, logits, targets, gamma, alpha, weight) -> torch.Tensor:
    """Compute ``-alpha_t (1 - p_t)^gamma log p_t``, differentiable by autograd."""
    rows = weight[targets] if weight is not None else torch.ones(len(targets), dtype=torch.float64)
    if kind == "softmax":
        p = logits.softmax(1)[range(len(targets)), targets]
        return -alpha * (1 - p) ** gamma * p.log() * rows
    is_positive = torch.zeros_like(logits, dtype=torch.bool)
    is_positive[range(len(targets)), targets] = True
    p_t = torch.where(is_positive, logits, -logits).sigmoid()
    alpha_t = torch.where(is_positive, alpha, 1 - alpha)
    return -alpha_t * (1 - p_t) ** gamma * p_t.log() * rows[:, None]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
@pytest.mark.parametrize("kind", LOSSES)
def test_forward_and_backward_equal_the_definition(kind, gamma, weighted):
    logits, targets, weight = example()
    found = LOSSES[kind](logits, targets, gamma, 0.3, weight if weighted else None, "sum")
    expected = definition(kind, logits, targets, gamma, 0.3, weight if weighted else None).sum()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, logits), torch.autograd.grad(expected, logits))


@pytest.mark.parametrize("kind", LOSSES)
def test_gradcheck(kind):
    logits, targets, weight = example()
    assert gradcheck(lambda x: LOSSES[kind](x, targets, 2.0, 0.25, weight, "mean"), (logits,))


@pytest.mark.parametrize("kind", LOSSES)
def test_reductions(kind):
    logits, targets, _ = example()
    each = LOSSES[kind](logits, targets, 2.0, 0.25, None, "none")
    assert each.shape == (logits.shape if kind == "sigmoid" else targets.shape)
    torch.testing.assert_close(LOSSES[kind](logits, targets, 2.0, 0.25, None, "mean"), each.sum() / len(logits))


def test_sigmoid_keeps_its_digits_at_large_logits():
    """``log(1 - p)`` in float32 is 0 or -inf beyond logit 17; the loss there is ``0.75 x`` and its gradient 0.75."""
    logits = torch.tensor([[10.0, 17.0, 40.0, 100.0]], requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([4]), 2.0, 0.25, None, "none")
    exact = 0.75 * torch.nn.functional.softplus(logits.double()) * logits.double().sigmoid() ** 2
    torch.testing.assert_close(loss.double(), exact, rtol=1e-6, atol=0)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    (exact_gradient,) = torch.autograd.grad(exact.sum(), logits)
    torch.testing.assert_close(gradient, exact_gradient, rtol=1e-6, atol=0)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("kind", LOSSES)
def test_extreme_logits_stay_finite(kind, sign):
    logits = torch.tensor([[200.0 * sign, -200.0 * sign]], requires_grad=True)
    for gamma in (0.0, 0.5, 2.0):
        loss = LOSSES[kind](logits, torch.tensor([0]), gamma, 0.25, None, "sum")
        assert loss.isfinite()
        assert torch.autograd.grad(loss, logits)[0].isfinite().all()


@pytest.mark.parametrize("background", [-1, 4])
def test_sigmoid_background_is_negative_for_every_class(background):
    logits, _, weight = example()
    targets = torch.full((len(logits),), background)
    found = sigmoid_focal_loss(logits, targets, 2.0, 0.25, weight, "sum")
    p = logits.sigmoid()
    torch.testing.assert_close(found, -(0.75 * p**2 * (1 - p).log()).sum())


@pytest.mark.parametrize("kind", LOSSES)
def test_no_rows(kind):
    logits = torch.zeros(0, 3, requires_grad=True)
    loss = LOSSES[kind](logits, torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, "sum")
    loss.backward()
    assert loss == 0
    assert logits.grad.shape == (0, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("kind", LOSSES)
def test_dtypes(kind, dtype):
    logits, targets, _ = example()
    narrow = logits.detach().to(dtype).requires_grad_()
    loss = LOSSES[kind](narrow, targets, 2.0, 0.25, None, "sum")
    loss.backward()
    assert loss.dtype == narrow.grad.dtype == dtype
    torch.testing.assert_close(loss.double(), LOSSES[kind](logits, targets, 2.0, 0.25, None, "sum"), rtol=3e-2, atol=0)
