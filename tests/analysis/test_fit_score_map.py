"""A known miscalibration is recovered, and few detections do not make the fit diverge."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from brs_detr.analysis import fit_score_map as module
from brs_detr.analysis.fit_score_map import Labelled, fit_score_map, log_loss
from brs_detr.runtime.score_map import ScoreMap, logit

SLOPES, OFFSETS = np.array([0.4, 0.8, 1.6]), np.array([-2.0, -1.0, -3.0])


def detections(number: int, truth: Callable[..., NDArray[np.float64]], seed: int = 0, num_classes: int = 3) -> Labelled:
    """Make detections that are right with a probability whose logit is `truth(logits, labels)`."""
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(-1, 3, number), rng.integers(0, num_classes, number)
    is_true = rng.random(number) < expit(truth(logits, labels))
    return Labelled(logits, labels, is_true, rng.integers(0, 200, number), num_classes)


def steep(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """A map that is flat, then steep: not a line."""
    return np.where(logits > 0, 4 * logits, 0.2 * logits) - 1


def fitted(data: Labelled) -> tuple[str, ScoreMap]:
    result = fit_score_map(data)
    assert result is not None
    return result.kind, result.score_map


def largest_error(score_map: ScoreMap, truth: Callable[..., NDArray[np.float64]]) -> float:
    logits, labels = np.repeat(np.linspace(-6, 4, 41), 3), np.tile(np.arange(3), 41)
    return float(np.abs(score_map(expit(logits), labels) - expit(truth(logits, labels))).max())


def test_lines_of_their_own() -> None:
    def truth(logits, labels):
        return SLOPES[labels] * logits + OFFSETS[labels]

    kind, score_map = fitted(detections(20_000, truth))
    assert kind == "Platt"
    np.testing.assert_allclose(score_map.slopes[:, 0], SLOPES, rtol=0.1)
    np.testing.assert_allclose(score_map.offsets, OFFSETS, atol=0.25)
    assert largest_error(score_map, truth) < 0.05


def test_one_slope_for_all_is_the_simplest() -> None:
    def truth(logits, labels):
        return 0.7 * logits + OFFSETS[labels]

    kind, score_map = fitted(detections(6_000, truth))
    assert kind == "shared slope" and np.ptp(score_map.slopes) < 1e-12
    assert largest_error(score_map, truth) < 0.06


def test_no_line_at_all() -> None:
    kind, score_map = fitted(detections(20_000, steep))
    assert kind == "isotonic" and not score_map.is_affine
    assert largest_error(score_map, steep) < 0.12
    assert (score_map.slopes > 0).all()


@pytest.mark.parametrize("constant", [-30.0, 9.0])
def test_a_constant_is_taken_back(constant: float) -> None:
    """The offset and scale that a ranking loss leaves open do not change the probabilities."""
    data = detections(3_000, lambda logits, labels: logits - 1)
    moved = Labelled(data.logits + constant, data.labels, data.is_true, data.images, data.num_classes)
    (_, one), (_, other) = fitted(data), fitted(moved)
    np.testing.assert_allclose(one.slopes, other.slopes, rtol=1e-3)
    np.testing.assert_allclose(one.offsets, other.offsets + other.slopes[:, 0] * constant, atol=0.01)


@pytest.mark.parametrize("is_true", [True, False])
def test_three_detections_do_not_run_away(is_true: bool) -> None:
    common = detections(6_000, lambda logits, labels: logits - 1, num_classes=2)
    few = Labelled(
        np.append(common.logits, [0.9, 1.0, 1.1]),
        np.append(common.labels, [2, 2, 2]),
        np.append(common.is_true, [is_true] * 3),
        np.append(common.images, [0, 1, 2]),
        3,
    )
    _, score_map = fitted(few)
    of_all, rare = score_map(np.full(2, expit(1.0)), np.array([0, 2]))
    assert 0.4 < of_all < 0.6
    assert (0.5 < rare < 0.9) if is_true else (0.1 < rare < 0.5)
    assert 0.5 < score_map.slopes[2, 0] / score_map.slopes[0, 0] < 2


def test_a_class_that_was_never_found_is_like_all_others() -> None:
    data = detections(4_000, lambda logits, labels: logits - 1, num_classes=2)
    _, score_map = fitted(Labelled(data.logits, data.labels, data.is_true, data.images, 3))
    assert 0.4 < score_map(np.array([expit(1.0)]), np.array([2]))[0] < 0.6


def test_nothing_right_tells_nothing() -> None:
    assert fit_score_map(detections(100, lambda logits, labels: np.full(len(logits), -50.0))) is None
    nothing = np.zeros(0)
    assert fit_score_map(Labelled(nothing, nothing.astype(int), nothing.astype(bool), nothing.astype(int), 3)) is None


@pytest.mark.parametrize("number", [1, 2, 30])
def test_all_right_is_no_certainty(number: int) -> None:
    data = Labelled(np.full(number, 2.0), np.zeros(number, int), np.ones(number, bool), np.arange(number), 1)
    _, score_map = fitted(data)
    (probability,) = score_map(np.array([expit(2.0)]), np.array([0]))
    assert 0.5 < probability < 1 - 0.1 / number


def test_the_fit_is_better_than_the_raw_scores() -> None:
    def truth(logits, labels):
        return SLOPES[labels] * logits + OFFSETS[labels]

    _, score_map = fitted(detections(5_000, truth))
    unseen = detections(5_000, truth, seed=1)
    assert log_loss(score_map, unseen) < 0.8 * log_loss(ScoreMap.lines([1.0] * 3, [0.0] * 3), unseen)


@pytest.mark.parametrize("own_slopes", [False, True])
def test_lines_are_the_most_probable_ones(own_slopes: bool) -> None:
    """Compute the cost from the equations: a normal prior of classes around all of them, and a wide prior of these."""
    data = detections(600, lambda logits, labels: SLOPES[labels] * logits + OFFSETS[labels])
    mean, std = data.logits.mean(), data.logits.std()
    scaled, signs = (data.logits - mean) / std, np.where(data.is_true, 1, -1)

    def cost(parameters: NDArray[np.float64]) -> float:
        log_slope, offset, of_class, log_factors = np.split(parameters, [1, 2, 5])
        slopes = np.exp(log_slope + log_factors * own_slopes)[np.zeros(3, int) if not own_slopes else np.arange(3)]
        likelihood = log_expit(signs * (slopes[data.labels] * scaled + offset + of_class[data.labels])).sum()
        own = (of_class**2).sum() / 2 + 2 * (log_factors**2).sum()
        return float(own + ((log_slope - np.log(2)) ** 2 + (offset / 4) ** 2).sum() / 2 - likelihood)

    (log_slope, offset), of_class, log_factors = np.split(minimize(cost, np.zeros(8), tol=1e-9).x, [2, 5])
    slopes = np.exp(log_slope + log_factors * own_slopes) / std
    found = module._lines(data.at(np.argsort(data.labels)), own_slopes)
    np.testing.assert_allclose(found.slopes[:, 0], slopes, rtol=0.002)
    np.testing.assert_allclose(found.offsets, offset + of_class - slopes * mean, atol=0.005)


def test_cells_of_many_detections_change_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = detections(20_000, lambda logits, labels: SLOPES[labels] * logits + OFFSETS[labels])
    (kind, one_by_one), (_, few) = fitted(data), fitted(data.at(np.arange(20_000) % 4 == 0))
    monkeypatch.setattr(module, "_MOST_ROWS", 1_000)
    cells_kind, by_cells = fitted(data)
    assert cells_kind == kind == "Platt"
    difference, doubt = np.abs(by_cells.values - one_by_one.values), np.abs(few.values - one_by_one.values)
    assert difference.max() < 0.05 * doubt.max()


@pytest.mark.parametrize("seed", range(5))
def test_scores_that_float32_rounds_to_0_or_1_have_a_map(seed: int) -> None:
    """Two steps may have the same logit up to a rounding error."""
    rng = np.random.default_rng(seed)
    with np.errstate(over="ignore"):
        scores = expit(rng.normal(-150, 80, 2_000).astype(np.float32))
    is_true = rng.random(2_000) < 0.1
    data = Labelled(logit(scores), rng.integers(0, 2, 2_000), is_true, rng.integers(0, 50, 2_000), 2)
    kind, score_map = fitted(data)
    mapped = score_map(scores, data.labels)
    assert abs(mapped.mean() - is_true.mean()) < 0.02


def test_one_score_alone_gives_no_cliff() -> None:
    """No other score was observed."""
    data = Labelled(np.full(40, 2.0), np.zeros(40, int), np.arange(40) % 2 == 0, np.arange(40), 1)
    _, score_map = fitted(data)
    below, at = score_map(expit(np.array([1.0, 2.0])), np.zeros(2, int))
    assert 0.02 < below < at < 0.6
