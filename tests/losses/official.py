"""Reference numbers of the official losses: their names, and how long gradients are shortened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brs_detr.losses import ap_loss, bucketed_ap_loss, bucketed_rank_sort_loss, rank_sort_loss

FIXTURES = Path(__file__).parents[1] / "golden" / "losses"
DELTAS = (0.0, 0.5, 1.0)
FUNCTIONS = ("RankSort", "BucketedRankSort", "APLoss", "BucketedAPLoss")
LONGEST_GRADIENT = 200
NUM_WAVES = 8


def official_name(function: str, case: dict[str, Any]) -> str:
    """If negatives are tied with positives, return the name of the bucketed numbers of a stable sort."""
    return function + "_stable_sort" if case["pos_neg_tie"] and "Bucketed" in function else function


def fingerprint(gradient: np.ndarray) -> np.ndarray:
    """Return the gradient or, if it is long, every 41st entry and its products with eight waves."""
    if len(gradient) <= LONGEST_GRADIENT:
        return gradient
    waves = np.cos(np.outer(np.arange(NUM_WAVES) ** 2, np.arange(len(gradient))))
    return np.concatenate([gradient[::41], waves @ gradient.astype(np.float64)])


def ours(function: str, logits: Tensor, targets: Tensor, delta: float) -> tuple[Tensor, ...]:
    """Call our counterpart of an official function."""
    if function == "APLoss":
        return (ap_loss(logits, targets, delta, interpolated=True),)
    if function == "BucketedAPLoss":
        return (bucketed_ap_loss(logits, targets, delta),)
    return (rank_sort_loss if function == "RankSort" else bucketed_rank_sort_loss)(logits, targets, delta)


def ours_with_gradient(
    function: str, logits: np.ndarray, targets: np.ndarray, delta: float, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """Return the losses and the gradient of their sum, in float64."""
    leaf = torch.tensor(logits, dtype=torch.float64, device=device, requires_grad=True)
    losses = ours(function, leaf, torch.tensor(targets, dtype=torch.float64, device=device), delta)
    torch.stack(losses).sum().backward()
    return torch.stack(losses).detach().cpu().numpy(), leaf.grad.cpu().numpy()


def assert_gradients_equal(actual: np.ndarray, official: np.ndarray, num_logits: int, name: str) -> None:
    """Compare to 1e-9; official gradients of 20,000 logits are in float32, and eight sums over them vary more."""
    if num_logits < 20_000:
        np.testing.assert_allclose(actual, official, rtol=0, atol=1e-9, err_msg=name)
    else:
        num_entries = len(official) - NUM_WAVES * (len(official) < num_logits)
        np.testing.assert_allclose(actual[:num_entries], official[:num_entries], rtol=1e-7, atol=1e-11, err_msg=name)
        np.testing.assert_allclose(actual[num_entries:], official[num_entries:], rtol=0, atol=2e-7, err_msg=name)
