"""Learn what scores mean from detections of which is known whether they are right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, log_expit

from brs_detr.runtime.score_map import ScoreMap, logit

KINDS = ("shared slope", "Platt", "isotonic")
"""Simplest first."""

NUM_FOLDS = 5
_OFFSET_STD, _SLOPE_STD = 1.0, 0.5
"""How far a class is expected to be from all classes: its offset in logits, its slope as a factor's logarithm."""
_MOST_STEPS = 10
_LEAST_OF_A_STEP = 5
"""Right and wrong detections, each, that a step of an isotonic map stands for."""
_PRIOR_COUNT = 4.0
"""Detections that a step is moved towards the line by."""
_LEAST_RISE = 0.05
"""Of an isotonic map, as a share of the slope of the line."""


@dataclass(frozen=True)
class Labelled:
    """D detections of which is known whether they are right.

    Args:
        logits: [D] of their scores.
        labels: int [D].
        is_true: bool [D], it found an object of its class.
        images: int [D], of which image.
        num_classes: C.
    """

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    is_true: NDArray[np.bool_]
    images: NDArray[np.int64]
    num_classes: int

    def at(self, rows: NDArray[np.bool_]) -> Labelled:
        """Some of them."""
        return Labelled(self.logits[rows], self.labels[rows], self.is_true[rows], self.images[rows], self.num_classes)


@dataclass(frozen=True)
class FittedMap:
    """A map, and how it was chosen.

    Args:
        kind: of `KINDS`.
        score_map: from scores to probabilities.
        held_out: log loss of a detection on images that were not learnt from, by kind.
    """

    kind: str
    score_map: ScoreMap
    held_out: dict[str, float]


def fit_score_map(data: Labelled) -> FittedMap | None:
    """Choose and fit a map from score to precision.

    A logistic line in the logit for each class (Platt, 1999), its slope of its own or shared, or an isotonic map
    (Zadrozny and Elkan, KDD 2002). Classes with few detections stay near all classes: offset and slope have a normal
    prior around those of all. The kind is chosen by log loss on held-out images; a less simple one has to be better by
    more than the standard error.

    Args:
        data: from images that the detector was not trained on.

    Returns:
        None where nothing was found that is right: no probability can be told.
    """
    if not data.is_true.any():
        return None
    fits = {"shared slope": _lines(data, own_slopes=False)}
    if len(np.unique(data.labels)) > 1:
        fits["Platt"] = _lines(data, own_slopes=True)
    fits["isotonic"] = _steps(data, next(reversed(fits.values())))
    losses = _held_out_losses(data, tuple(fits))
    best = "shared slope"
    for kind in fits:
        gain = losses[best] - losses[kind]  # [folds]
        if len(gain) > 1 and gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)):
            best = kind
    return FittedMap(best, fits[best], {kind: float(loss.mean()) for kind, loss in losses.items() if len(loss)})


def log_loss(score_map: ScoreMap, data: Labelled) -> float:
    """Mean of ``-log`` of the probability that was given to what came true."""
    probabilities = score_map(expit(data.logits), data.labels)
    signs = np.where(data.is_true, 1.0, -1.0)
    return float(-log_expit(signs * logit(probabilities)).mean())


def _held_out_losses(data: Labelled, kinds: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """Log loss of each kind on each fold that has something right to learn from."""
    losses: dict[str, list[float]] = {kind: [] for kind in kinds}
    for learnt, held_out in _folds(data):
        lines = {kind: _lines(learnt, own_slopes=kind == "Platt") for kind in kinds if kind != "isotonic"}
        fits = {**lines, "isotonic": _steps(learnt, next(reversed(lines.values())))}
        for kind in kinds:
            losses[kind].append(log_loss(fits[kind], held_out))
    return {kind: np.array(of_folds) for kind, of_folds in losses.items()}


def _folds(data: Labelled) -> Iterator[tuple[Labelled, Labelled]]:
    """Every image is held out once."""
    _, places = np.unique(data.images, return_inverse=True)
    for fold in range(min(NUM_FOLDS, places.max() + 1)):
        is_held_out = places % NUM_FOLDS == fold
        learnt = data.at(~is_held_out)
        if is_held_out.any() and learnt.is_true.any():
            yield learnt, data.at(is_held_out)


def _lines(data: Labelled, own_slopes: bool) -> ScoreMap:
    """Logistic regression: the most probable lines under the prior.

    Logits are brought to mean 0 and standard deviation 1 first, so that a common shift or scale changes nothing.
    """
    mean, std = data.logits.mean(), max(float(data.logits.std()), 1e-6)
    scaled, signs = (data.logits - mean) / std, np.where(data.is_true, 1.0, -1.0)
    num_classes = data.num_classes

    def cost(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        log_slope, offset = parameters[:2]
        of_class, log_factors = parameters[2 : 2 + num_classes], parameters[2 + num_classes :]
        slopes = np.exp(log_slope + log_factors[data.labels] if own_slopes else np.full(len(scaled), log_slope))
        margins = signs * (slopes * scaled + offset + of_class[data.labels])
        pulls = -signs * expit(-margins)  # derivative by the logit
        stretched = pulls * slopes * scaled
        prior = ((of_class / _OFFSET_STD) ** 2).sum() / 2 + ((log_factors / _SLOPE_STD) ** 2).sum() / 2
        # All slopes and offsets together have a wide prior, so that data without anything wrong, or with little, end
        prior += (log_slope - np.log(2)) ** 2 / 2 + (offset / 4) ** 2 / 2
        gradient: list[Any] = [
            [stretched.sum() + log_slope - np.log(2), pulls.sum() + offset / 16],
            np.bincount(data.labels, pulls, num_classes) + of_class / _OFFSET_STD**2,
        ]
        if own_slopes:
            gradient.append(np.bincount(data.labels, stretched, num_classes) + log_factors / _SLOPE_STD**2)
        return float(-log_expit(margins).sum() + prior), np.concatenate(gradient)

    start = np.zeros(2 + num_classes * (2 if own_slopes else 1))
    found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=[(-6, 6)] + [(None, None)] * (len(start) - 1)).x
    slopes = np.full(num_classes, np.exp(found[0]) / std)
    if own_slopes:
        slopes *= np.exp(found[2 + num_classes :])
    return ScoreMap.lines(slopes, found[1] + found[2 : 2 + num_classes] - slopes * mean)


def _steps(data: Labelled, lines: ScoreMap) -> ScoreMap:
    """An isotonic map of each class with enough detections, near its line; that line for the others.

    Between its steps, which are a few groups of detections, it is straight; beyond them it goes on as the line does.
    """
    rows = [_steps_of_class(data.at(data.labels == label), lines, label) for label in range(data.num_classes)]
    most = max(len(knots) for knots, _ in rows)
    slopes = lines.slopes[:, 0]
    padded = [_padded(*row, most, slope) for row, slope in zip(rows, slopes, strict=True)]
    return ScoreMap(*(np.array(side) for side in zip(*padded, strict=True)))


def _steps_of_class(data: Labelled, lines: ScoreMap, label: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    logits, is_true, slope, offset = data.logits, data.is_true, lines.slopes[label, 0], lines.offsets[label]
    num_steps = min(_MOST_STEPS, min(int(is_true.sum()), int((~is_true).sum())) // _LEAST_OF_A_STEP)
    if num_steps < 2:
        return np.array([0.0, 1.0]), np.array([offset, offset + slope])
    order = np.argsort(logits, kind="stable")
    logits, is_true = logits[order], is_true[order]
    expected = expit(slope * logits + offset)
    doubt = np.cumsum(expected * (1 - expected) + 1e-9)  # most of what can be learnt lies where the line is not sure
    step = np.minimum((doubt / doubt[-1] * num_steps).astype(int), num_steps - 1)
    counts = np.bincount(step, minlength=num_steps)
    kept = counts > 0
    means = (np.bincount(step, logits, num_steps)[kept]) / counts[kept]
    near = expit(slope * means + offset)
    shares = (np.bincount(step, is_true, num_steps)[kept] + _PRIOR_COUNT * near) / (counts[kept] + _PRIOR_COUNT)
    rising = isotonic_regression(shares, weights=counts[kept] + _PRIOR_COUNT).x
    values = logit(rising)
    knots, ascending = [means[0]], [values[0]]
    for knot, value in zip(means[1:], values[1:], strict=True):
        least = ascending[-1] + _LEAST_RISE * slope * (knot - knots[-1])
        if knot > knots[-1]:
            knots.append(knot)
            ascending.append(max(value, least))
    return (
        np.array([knots[0] - 1, *knots, knots[-1] + 1]),
        np.array([ascending[0] - slope, *ascending, ascending[-1] + slope]),
    )


def _padded(
    knots: NDArray[np.float64], values: NDArray[np.float64], number: int, slope: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """With more knots on the line that the last segment lies on."""
    further = np.arange(1, number - len(knots) + 1)
    return np.append(knots, knots[-1] + further), np.append(values, values[-1] + slope * further)
