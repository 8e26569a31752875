"""Fit a map from scores to probabilities to detections that are known to be right or wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, log_expit

from brs_detr.runtime.score_map import ScoreMap, logit

NUM_FOLDS = 5
_OFFSET_STD, _SLOPE_STD = 1.0, 0.5
"""Standard deviations of the prior of a class around all classes: offset in logits, and logarithm of the slope."""
_MOST_STEPS = 10
_LEAST_OF_A_STEP = 5
"""Fewest right and fewest wrong detections per step of an isotonic map."""
_PRIOR_COUNT = 4.0
"""Weight of the line in a step of an isotonic map, in detections."""
_LEAST_RISE = 0.05
"""Smallest slope of an isotonic map, relative to the slope of the line."""
_LEAST_DISTANCE = 1e-6
"""Smallest distance of two steps, relative to their logit; float32 cannot tell closer ones apart."""
_MOST_ROWS, _CELLS = 50_000, 32
"""With more detections, a line is fitted to cells of them; and the number of cells per standard deviation of logits."""


@dataclass(frozen=True)
class Labelled:
    """D detections that are known to be right or wrong.

    Args:
        logits: [D] logits of the scores.
        labels: int [D].
        is_true: bool [D], whether each found an object of its class.
        images: int [D], index or id of the image of each.
        num_classes: C.
    """

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    is_true: NDArray[np.bool_]
    images: NDArray[np.int64]
    num_classes: int

    def at(self, rows: NDArray[Any] | slice) -> Labelled:
        """Select or reorder detections."""
        return Labelled(self.logits[rows], self.labels[rows], self.is_true[rows], self.images[rows], self.num_classes)


@dataclass(frozen=True)
class FittedMap:
    """A map from scores to probabilities, and how it was chosen.

    Args:
        kind: `shared slope`, `Platt` or `isotonic`.
        score_map: the map.
        held_out: mean log loss per detection on held-out images, by kind.
    """

    kind: str
    score_map: ScoreMap
    held_out: dict[str, float]


def fit_score_map(data: Labelled) -> FittedMap | None:
    """Choose and fit a map from score to precision.

    The map is a logistic function of the logit for each class (Platt, 1999), with its own or a shared slope, or an
    isotonic map (Zadrozny and Elkan, KDD 2002). Offset and slope of a class have a normal prior around those of all
    classes, which keeps classes with few detections close to them. The kind is chosen by log loss on held-out images;
    a more complex one has to be better by more than the standard error.

    Args:
        data: detections on images that the detector was not trained on.

    Returns:
        The map, or None if no detection is right, so that no probability can be estimated.
    """
    if not data.is_true.any():
        return None
    data = data.at(np.lexsort((data.logits, data.labels)))  # the order that the functions below expect
    has_classes = len(np.unique(data.labels)) > 1
    fits, losses = _fits(data, has_classes), _held_out_losses(data, has_classes)
    best = "shared slope"
    for kind in fits:
        gain = losses[best] - losses[kind] if losses else np.zeros(0)  # [folds]
        if len(gain) > 1 and gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)):
            best = kind
    return FittedMap(best, fits[best], {kind: float(loss.mean()) for kind, loss in losses.items()})


def log_loss(score_map: ScoreMap, data: Labelled) -> float:
    """Return the mean log loss: ``-log`` of the probability of the actual outcome."""
    probabilities = score_map(expit(data.logits), data.labels)
    signs = np.where(data.is_true, 1.0, -1.0)
    return float(-log_expit(signs * logit(probabilities)).mean())


def _fits(data: Labelled, has_classes: bool) -> dict[str, ScoreMap]:
    """Fit a map of each kind, simplest first; with a single class all slopes are shared."""
    fits = {"shared slope": _lines(data, own_slopes=False)}
    if has_classes:
        fits["Platt"] = _lines(data, own_slopes=True)
    return {**fits, "isotonic": _steps(data, next(reversed(fits.values())))}


def _held_out_losses(data: Labelled, has_classes: bool) -> dict[str, NDArray[np.float64]]:
    """Return the log losses of each kind on the held-out parts of the folds."""
    losses = defaultdict(list)
    for training, held_out in _folds(data):
        for kind, score_map in _fits(training, has_classes).items():
            losses[kind].append(log_loss(score_map, held_out))
    return {kind: np.array(of_folds) for kind, of_folds in losses.items()}


def _folds(data: Labelled) -> Iterator[tuple[Labelled, Labelled]]:
    """Yield training and held-out detections. Every image is held out once, if others have a right detection."""
    _, indices = np.unique(data.images, return_inverse=True)
    for fold in range(min(NUM_FOLDS, indices.max() + 1)):
        is_held_out = indices % NUM_FOLDS == fold
        training = data.at(~is_held_out)
        if is_held_out.any() and training.is_true.any():
            yield training, data.at(is_held_out)


def _lines(data: Labelled, own_slopes: bool) -> ScoreMap:
    """Fit lines by logistic regression under the prior.

    Logits are first scaled to mean 0 and standard deviation 1, so that a common shift or scale has no effect.
    """
    mean, std = data.logits.mean(), float(data.logits.std())
    std = std if std > _LEAST_DISTANCE else 1.0
    num_classes, every = data.num_classes, (data.logits - mean) / std
    is_wrong, of_wrong = data.labels[~data.is_true], every[~data.is_true]
    num_wrong, sum_wrong = np.bincount(is_wrong, minlength=num_classes), np.bincount(is_wrong, of_wrong, num_classes)
    scaled, labels, numbers = _cells(every, data.labels)

    def cost(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        (log_slope, offset), offsets, log_slopes = np.split(parameters * scale, [2, 2 + num_classes])
        slopes = np.exp(log_slopes if own_slopes else np.full(num_classes, log_slope))
        mapped = slopes[labels] * scaled + offsets[labels]
        # log(1 - p) = log(p) - logit: of the wrong detections, only the sum of logits counts
        loss = num_wrong @ offsets + sum_wrong @ slopes - (numbers * log_expit(mapped)).sum()
        pulls = numbers * expit(-mapped)
        pulled = num_wrong - np.bincount(labels, pulls, num_classes)
        stretched = (sum_wrong - np.bincount(labels, pulls * scaled, num_classes)) * slopes
        moved, bent = (offsets - offset) / _OFFSET_STD**2, (log_slopes - log_slope) / _SLOPE_STD**2
        prior = (moved * (offsets - offset)).sum() / 2 + (bent * (log_slopes - log_slope)).sum() / 2
        # The slope and offset of all classes have a wide prior, so that the fit is finite without wrong detections
        prior += (log_slope - np.log(2)) ** 2 / 2 + (offset / 4) ** 2 / 2
        of_all = [(-bent if own_slopes else stretched).sum() + log_slope - np.log(2), offset / 16 - moved.sum()]
        gradient = [of_all, pulled + moved, (stretched + bent) if own_slopes else []]
        return float(loss + prior), np.concatenate(gradient) * scale

    # Scales that make the curvature about 1 in all directions, whatever the number of detections of a class
    curvature = [np.bincount(labels, numbers * scaled**power / 4, num_classes) for power in (0, 2)]
    common = num_classes / _SLOPE_STD**2 if own_slopes else curvature[1].sum()
    own: list[Any] = [curvature[0] + 1 / _OFFSET_STD**2, (curvature[1] + 1 / _SLOPE_STD**2) if own_slopes else []]
    scale = np.concatenate([[common + 1, num_classes / _OFFSET_STD**2], *own]) ** -0.5
    bounds = [(-6 / scale[0], 6 / scale[0])] + [(None, None)] * (len(scale) - 1)
    found = minimize(cost, np.zeros(len(scale)), jac=True, method="L-BFGS-B", bounds=bounds).x * scale
    slopes = np.exp(found[2 + num_classes :] if own_slopes else np.full(num_classes, found[0])) / std
    return ScoreMap.lines(slopes, found[2 : 2 + num_classes] - slopes * mean)


def _cells(
    logits: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Merge detections of a class with nearly the same score: mean logit, label, number. Few are not merged.

    Args:
        logits: [D] with standard deviation 1, ascending within each class.
        labels: [D] ascending.
    """
    if len(logits) <= _MOST_ROWS:
        return logits, labels, np.ones(len(logits), np.int64)
    cells = np.floor(logits * _CELLS)
    begins = np.flatnonzero(np.append(True, (np.diff(cells) != 0) | (np.diff(labels) != 0)))
    numbers = np.diff(begins, append=len(logits))
    return np.add.reduceat(logits, begins) / numbers, labels[begins], numbers


def _steps(data: Labelled, lines: ScoreMap) -> ScoreMap:
    """Fit an isotonic map, close to the line, for each class with enough detections; other classes keep their line.

    Each step is the mean of a group of detections. The map is linear between steps and parallel to the line beyond.
    """
    bounds = np.searchsorted(data.labels, np.arange(data.num_classes + 1))
    by_class = (data.at(slice(*bounds[label : label + 2])) for label in range(data.num_classes))
    rows = [_steps_of_class(of_class, lines, label) for label, of_class in enumerate(by_class)]
    most = max(len(knots) for knots, _ in rows)
    slopes = lines.slopes[:, 0]
    padded = [_padded(*row, most, slope) for row, slope in zip(rows, slopes, strict=True)]
    return ScoreMap(*(np.array(side) for side in zip(*padded, strict=True)))


def _steps_of_class(data: Labelled, lines: ScoreMap, label: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    logits, is_true, slope, offset = data.logits, data.is_true, lines.slopes[label, 0], lines.offsets[label]
    num_steps = min(_MOST_STEPS, min(int(is_true.sum()), int((~is_true).sum())) // _LEAST_OF_A_STEP)
    if num_steps < 2:
        return np.array([0.0, 1.0]), np.array([offset, offset + slope])
    expected = expit(slope * logits + offset)
    doubt = np.cumsum(expected * (1 - expected) + 1e-9)  # finer steps where the line is uncertain
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
        if knot - knots[-1] > _LEAST_DISTANCE * max(abs(knot), 1):
            knots.append(knot)
            ascending.append(max(value, least))
    return (
        np.array([knots[0] - 1, *knots, knots[-1] + 1]),
        np.array([ascending[0] - slope, *ascending, ascending[-1] + slope]),
    )


def _padded(
    knots: NDArray[np.float64], values: NDArray[np.float64], number: int, slope: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Append knots on the extension of the last segment, up to ``number``."""
    further = np.arange(1, number - len(knots) + 1)
    return np.append(knots, knots[-1] + further), np.append(values, values[-1] + slope * further)
