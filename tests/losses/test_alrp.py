"""aLRP Loss: parity with the official numbers, and with the equations beyond them."""

from __future__ import annotations

import json
import lzma

import numpy as np
import pytest
import torch
from official import DELTAS, FIXTURES, assert_gradients_equal, fingerprint
from safetensors.numpy import load

from brs_detr.losses import ALRPLoss, alrp_loss
from brs_detr.losses.cpu.steps import step

CASES = json.loads((FIXTURES / "cases.json").read_text())


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return load(lzma.decompress((FIXTURES / "arrays.safetensors.xz").read_bytes()))


def oracle(logits: torch.Tensor, targets: torch.Tensor, box_losses: torch.Tensor, delta: float):
    """Compute both terms and the gradient of the first, positive by positive from the equations."""
    positives, negatives = logits[targets > 0], logits[targets == 0]
    errors, on_positives, on_negatives = [], torch.zeros_like(positives), torch.zeros_like(negatives)
    localisation = []
    for i, own in enumerate(positives):
        others = step(positives - own, delta)
        others[i] = 0
        above = step(negatives - own, delta)
        rank = 1 + others.sum() + above.sum()
        errors.append(above.sum() / rank)
        localisation.append(box_losses[positives >= own].sum() / rank)
        if above.sum() > 0:
            on_positives[i] = -(above.sum() + (others * box_losses).sum()) / rank
            on_negatives -= above * on_positives[i] / above.sum()
    gradient = torch.zeros_like(logits)
    gradient[targets > 0], gradient[targets == 0] = on_positives, on_negatives
    return torch.stack(errors).mean(), torch.stack(localisation).mean(), gradient / len(positives)


def ours(logits: np.ndarray, targets: np.ndarray, box_losses: np.ndarray, delta: float, device: torch.device):
    leaf = torch.tensor(logits, dtype=torch.float64, device=device, requires_grad=True)
    boxes = torch.tensor(box_losses, dtype=torch.float64, device=device, requires_grad=True)
    loss = alrp_loss(leaf, torch.tensor(targets, dtype=torch.float64, device=device), boxes, delta)
    (loss.classification + loss.localisation).backward()
    return loss.classification.item(), loss.localisation.item(), leaf.grad.cpu().numpy(), boxes.grad.cpu().numpy()


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("name", CASES)
def test_equals_official(name: str, delta: float, arrays: dict[str, np.ndarray], device: torch.device) -> None:
    official = CASES[name]["results"][f"{delta}.aLRPLoss"]
    logits, targets, box_losses = (arrays[f"{name}.{what}"] for what in ("logits", "targets", "regression_losses"))
    classification, localisation, gradient, box_gradient = ours(logits, targets, box_losses, delta, device)
    if official["status"] != "ok":
        assert np.isfinite([classification, localisation, *gradient, *box_gradient]).all()
        assert abs(gradient.sum()) < 1e-9
        return
    assert abs(classification - official["losses"]["cls_loss"]) < 1e-9
    key = f"{name}.{delta}.aLRPLoss"
    if key not in arrays:
        return
    assert_gradients_equal(fingerprint(gradient), arrays[key], len(logits), key)
    positives = logits[targets > 0]
    is_tied = len(set(positives)) < len(positives)  # then an unstable sort decides what ranks higher
    if f"{key}.rank" in arrays and not is_tied:
        rank, order = arrays[f"{key}.rank"].ravel(), np.argsort(-positives, kind="stable")
        expected = (box_losses.astype(np.float64)[order].cumsum() / rank[order]).mean()
        assert abs(localisation - expected) < 1e-9


@pytest.mark.parametrize("delta", [0.0, 0.3, 1.0])
def test_equals_the_equations(delta: float, device: torch.device) -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(300, generator=draw, dtype=torch.float64)
    targets = (torch.rand(300, generator=draw) < 0.1).double()
    targets[:20] = -1
    box_losses = torch.rand(int((targets > 0).sum()), generator=draw, dtype=torch.float64)
    classification, localisation, gradient, _ = ours(logits.numpy(), targets.numpy(), box_losses.numpy(), delta, device)
    expected = oracle(logits, targets, box_losses, delta)
    assert abs(classification - expected[0]) < 1e-12
    assert abs(localisation - expected[1]) < 1e-12
    np.testing.assert_allclose(gradient, expected[2].numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("targets", [[0.0, 0.0], [1.0, 1.0], [-1.0, -1.0], []])
def test_one_sided_input(targets: list[float], device: torch.device) -> None:
    box_losses = np.full(sum(target > 0 for target in targets), 0.5)
    classification, localisation, gradient, box_gradient = ours(
        np.linspace(-1, 1, len(targets)), np.array(targets), box_losses, 1.0, device
    )
    assert classification == 0
    assert (gradient == 0).all()
    assert (localisation > 0) == bool(len(box_losses))
    assert np.isfinite(box_gradient).all()


def test_wrong_number_of_box_losses() -> None:
    with pytest.raises(ValueError, match=r"box_losses must be of shape \[1\], got \[2\]"):
        alrp_loss(torch.zeros(3), torch.tensor([1.0, 0, 0]), torch.ones(2))


def test_balance_follows_the_period_before() -> None:
    module = ALRPLoss(period=2)
    logits, targets, boxes = torch.tensor([0.0, 0.4, -0.2]), torch.tensor([1.0, 0, 0]), torch.tensor([0.6])
    plain = alrp_loss(logits, targets, boxes)
    assert module(logits, targets, boxes).localisation == pytest.approx(50 * plain.localisation.item())
    module(logits, torch.zeros(3), boxes[:0])  # counts for nothing
    module(logits, targets, boxes)
    expected = (plain.classification + plain.localisation) / plain.localisation
    assert module.balance.item() == pytest.approx(expected.item())
    assert module(logits, targets, boxes).localisation == pytest.approx((expected * plain.localisation).item())
    module.load_state_dict(ALRPLoss(period=2).state_dict())
    assert module.balance == 50
    module.eval()
    module(logits, targets, boxes)
    assert module.sums[2] == 0
