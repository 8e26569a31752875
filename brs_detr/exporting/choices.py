"""Whether a detector chose the best of its own candidates: top-k and non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor

LAST_BITS = 2.0**-20
"""Difference of two scores or two IoUs that rounding in float32 may bridge."""


@dataclass(frozen=True)
class Choice:
    """The best of the N candidates of an image, as something chose them.

    Args:
        name: of the stage.
        scores: ``[N]``.
        chosen: ``[K]`` places of those that were chosen, -1 where there was nothing left to choose.
        num_kept: K, or fewer where there are fewer candidates.
        boxes: ``[N, 4]`` (x1, y1, x2, y2) in pixels; None where nothing is suppressed.
        labels: ``[N]``; only boxes of one label suppress each other.
        iou_threshold: a box that overlaps a better one of its label by more is dropped; None drops nothing.
        limits: places may be chosen where every value ``[N]`` is above its limit; by name of what is limited.
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
        """What is wrong with the choice, in words; None where it is right up to the last bits of rounding.

        Greedy suppression and the choice of the K best give, without ties, the one set for which holds: no two of its
        boxes overlap too much, and whatever is not in it scores less than all of it, or overlaps a better one of it.
        Everything is computed in float64 from the candidates as they are.
        """
        chosen = self.chosen[self.chosen >= 0]
        scores = self.scores.double()
        num_different = len(chosen[chosen < len(scores)].unique())
        if len(chosen) > self.num_kept or num_different < len(chosen):
            return f"{len(chosen)} of at most {self.num_kept} places, {num_different} of them different"
        surely, possibly = self._may_be_chosen()
        if not possibly[chosen].all():
            place = int(chosen[~possibly[chosen]][0])
            return f"candidate {place} was chosen, which scores {self.scores[place]:g} and is below a limit"
        is_left = surely.clone()
        is_left[chosen] = False
        if len(chosen) == self.num_kept:
            is_left &= scores > scores[chosen].min() + self._slack(scores)
        if self.iou_threshold is not None and len(chosen):
            overlaps = self._overlaps(chosen, chosen).triu(1)
            if (overlaps > self.iou_threshold + LAST_BITS).any():
                return f"two boxes were kept that overlap by {overlaps.max():.6f}, over {self.iou_threshold:g}"
            is_left &= ~self._is_suppressed(chosen, is_left)
        if is_left.any():
            place = int(scores.masked_fill(~is_left, -torch.inf).argmax())
            least = f", while one of {scores[chosen].min():g} was" if len(chosen) else ""
            return f"{int(is_left.sum())} candidates were not chosen; the best scores {self.scores[place]:g}{least}"
        return None

    def _slack(self, scores: Tensor) -> Tensor:
        """Libraries compute a sigmoid to the last bit of 1, not of a small score."""
        return LAST_BITS * scores.abs().clamp(min=1.0)

    def _may_be_chosen(self) -> tuple[Tensor, Tensor]:
        """Masks ``[N]``: surely above all limits, and possibly."""
        surely = possibly = torch.isfinite(self.scores)
        for values, limit in self.limits:
            slack = LAST_BITS if limit else 0.0  # nothing rounds at 0
            surely, possibly = surely & (values.double() > limit + slack), possibly & (values.double() > limit - slack)
        return surely, possibly

    def _overlaps(self, some: Tensor, others: Tensor) -> Tensor:
        """IoU ``[S, T]`` of boxes of one label, 0 between labels."""
        assert self.boxes is not None and self.labels is not None
        ious = torchvision.ops.box_iou(self.boxes[some].double(), self.boxes[others].double()).nan_to_num(0.0)
        return ious * (self.labels[some, None] == self.labels[others])

    def _is_suppressed(self, chosen: Tensor, is_asked: Tensor) -> Tensor:
        """Mask ``[N]`` of the asked candidates that overlap a chosen one which scores as much or more."""
        asked = is_asked.nonzero()[:, 0]
        scores = self.scores.double()
        is_better = scores[chosen] >= (scores - self._slack(scores))[asked, None]
        is_near = self._overlaps(asked, chosen) > self.iou_threshold - LAST_BITS  # type: ignore[operator]
        suppressed = torch.zeros_like(is_asked)
        suppressed[asked] = (is_better & is_near).any(1)
        return suppressed
