"""Check whether a top-k selection or a non-maximum suppression kept the best of its own candidates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor

LAST_BITS = 2.0**-20
"""Difference between two scores or two IoUs that float32 rounding may hide."""


@dataclass(frozen=True)
class Choice:
    """A selection among the N candidates of an image.

    Args:
        name: name of the stage.
        scores: ``[N]``.
        chosen: ``[K]`` indices of the selected candidates; -1 marks an unused slot.
        num_kept: number of candidates that the stage keeps, if there are enough.
        boxes: ``[N, 4]`` (x1, y1, x2, y2) in pixels; None without suppression.
        labels: ``[N]``; boxes suppress each other only within a label.
        iou_threshold: IoU with a better box of the same label above which a box is dropped; None without suppression.
        limits: pairs of values ``[N]`` and a limit. A candidate qualifies only if all its values exceed their limits.
    """

    name: str
    scores: Tensor
    chosen: Tensor
    num_kept: int
    boxes: Tensor | None = None
    labels: Tensor | None = None
    iou_threshold: float | None = None
    limits: tuple[tuple[Tensor, float], ...] = ()

    def fault(self) -> str | None:
        """Describe what is wrong with the selection, or return None if it is right up to rounding.

        Without ties, top-k and greedy suppression have a single valid result: no two selected boxes overlap too much,
        and every other candidate scores less than all selected ones or overlaps a better selected box. This is checked
        in float64.
        """
        chosen = self.chosen[self.chosen >= 0]
        scores = self.scores.double()
        num_distinct = len(chosen[chosen < len(scores)].unique())
        if len(chosen) > self.num_kept or num_distinct < len(chosen):
            return f"{len(chosen)} of at most {self.num_kept} candidates, {num_distinct} of them different"
        surely, possibly = self._qualifies()
        if not possibly[chosen].all():
            index = int(chosen[~possibly[chosen]][0])
            return f"candidate {index} was chosen, which scores {self.scores[index]:g} and is below a limit"
        is_missed = surely.clone()
        is_missed[chosen] = False
        if len(chosen) == self.num_kept:
            is_missed &= scores > scores[chosen].min() + self._slack(scores)
        if self.iou_threshold is not None and len(chosen):
            overlaps = self._overlaps(chosen, chosen).triu(1)
            if (overlaps > self.iou_threshold + LAST_BITS).any():
                return f"two boxes were kept that overlap by {overlaps.max():.6f}, over {self.iou_threshold:g}"
            is_missed &= ~self._is_suppressed(chosen, is_missed)
        if is_missed.any():
            index = int(scores.masked_fill(~is_missed, -torch.inf).argmax())
            lowest = f", while one of {scores[chosen].min():g} was" if len(chosen) else ""
            return f"{int(is_missed.sum())} candidates were not chosen; the best scores {self.scores[index]:g}{lowest}"
        return None

    def _slack(self, scores: Tensor) -> Tensor:
        """Return the rounding error of scores; libraries compute a sigmoid to the last bit of 1, not of its value."""
        return LAST_BITS * scores.abs().clamp(min=1.0)

    def _qualifies(self) -> tuple[Tensor, Tensor]:
        """Return masks ``[N]`` of candidates that are certainly, and possibly, above all limits."""
        surely = possibly = torch.isfinite(self.scores)
        for values, limit in self.limits:
            slack = LAST_BITS if limit else 0.0  # nothing rounds to 0
            surely, possibly = surely & (values.double() > limit + slack), possibly & (values.double() > limit - slack)
        return surely, possibly

    def _overlaps(self, some: Tensor, others: Tensor) -> Tensor:
        """Return the IoUs ``[S, T]`` of boxes with the same label, 0 for different labels."""
        assert self.boxes is not None and self.labels is not None
        ious = torchvision.ops.box_iou(self.boxes[some].double(), self.boxes[others].double()).nan_to_num(0.0)
        return ious * (self.labels[some, None] == self.labels[others])

    def _is_suppressed(self, chosen: Tensor, is_asked: Tensor) -> Tensor:
        """Return a mask ``[N]`` of the asked candidates that overlap a chosen one with at least their score."""
        asked = is_asked.nonzero()[:, 0]
        scores = self.scores.double()
        is_better = scores[chosen] >= (scores - self._slack(scores))[asked, None]
        is_near = self._overlaps(asked, chosen) > self.iou_threshold - LAST_BITS  # type: ignore[operator]
        suppressed = torch.zeros_like(is_asked)
        suppressed[asked] = (is_better & is_near).any(1)
        return suppressed
