"""Parity with the official losses, value and gradient, to 1e-9 in float64."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from official import (
    DELTAS,
    FIXTURES,
    FUNCTIONS,
    assert_gradients_equal,
    fingerprint,
    official_name,
    ours_with_gradient,
)
from safetensors.numpy import load

CASES = json.loads((FIXTURES / "cases.json").read_text())
ORACLE_LIMIT = 2000


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return load(lzma.decompress((FIXTURES / "arrays.safetensors.xz").read_bytes()))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("name", CASES)
def test_equals_official(
    name: str, delta: float, function: str, arrays: dict[str, np.ndarray], device: torch.device
) -> None:
    official = CASES[name]["results"][f"{delta}.{function}"]
    logits, targets = arrays[f"{name}.logits"], arrays[f"{name}.targets"]
    losses, gradient = ours_with_gradient(function, logits, targets, delta, device)
    if official["status"] == "ok":
        np.testing.assert_allclose(losses, list(official["losses"].values()), rtol=0, atol=1e-9)
        if (key := f"{name}.{delta}.{function}") in arrays:
            assert_gradients_equal(fingerprint(gradient), arrays[key], len(logits), key)
    else:
        assert_defined(function, logits, targets, delta, losses, gradient)


def assert_defined(
    function: str, logits: np.ndarray, targets: np.ndarray, delta: float, losses: np.ndarray, gradient: np.ndarray
) -> None:
    """Where the official code fails, or returns NaN or nothing, ours follows the equations."""
    assert np.isfinite(gradient).all()
    assert ((losses >= 0) & (losses <= 1)).all()
    assert abs(gradient.sum()) < 1e-9
    if len(logits) > ORACLE_LIMIT:
        return
    problem = torch.tensor(logits, dtype=torch.float64), torch.tensor(targets, dtype=torch.float64), delta
    terms = [oracle.ranking(*problem, bucketed="Bucketed" in function, interpolated=function == "APLoss")]
    if "RankSort" in function:
        terms.append(oracle.sorting(*problem))
    np.testing.assert_allclose(losses, [term.value for term in terms], rtol=0, atol=1e-9)
    np.testing.assert_allclose(gradient, sum(term.gradient for term in terms).numpy(), rtol=0, atol=1e-9)


def test_every_case_is_compared() -> None:
    statuses = [result["status"] for case in CASES.values() for result in case["results"].values()]
    assert len(statuses) == 77 * len(DELTAS) * (len(FUNCTIONS) + 1)  # and aLRP, see test_alrp.py
    assert set(statuses) == {"ok", "nan", "error", "empty_output"}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("delta", DELTAS)
def test_equals_official_in_full(golden_dir: Path, delta: float, function: str, device: torch.device) -> None:
    folder = golden_dir / "losses"
    cases = json.loads((folder / "cases_f64.json").read_text())
    with np.load(folder / "inputs.npz") as inputs, np.load(folder / "outputs_f64.npz") as outputs:
        for name, case in cases.items():
            key = f"{name}.d{delta}.{official_name(function, case)}"
            if f"{key}.grad" not in outputs:
                continue
            logits, targets = inputs[f"{name}.logits"], inputs[f"{name}.targets"]
            losses, gradient = ours_with_gradient(function, logits, targets, delta, device)
            np.testing.assert_allclose(losses, outputs[f"{key}.losses"].ravel(), rtol=0, atol=1e-9, err_msg=key)
            assert_gradients_equal(gradient, outputs[f"{key}.grad"], len(logits), key)
