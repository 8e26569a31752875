"""Pairs of a box and a class, and what remains of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brs_detr.mm.ops.nms_keep import NmsKeep

NOTHING = -1.0
"""Score of a place that holds no candidate."""


class Candidates(NamedTuple):
    """N pairs an image: boxes ``[B, N, 4]`` in pixels, scores ``[B, N]``, below 0 where there is none, labels."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def at(self, places: Tensor) -> Candidates:
        """Those at ``[B, K]`` places."""
        return Candidates(
            self.boxes.gather(1, places[..., None].expand(-1, -1, 4)),
            self.scores.gather(1, places),
            self.labels.gather(1, places),
        )

    def best(self, num_kept: int) -> tuple[Candidates, Tensor]:
        """The K best of each image, best first, and their places ``[B, K]``.

        Where there are fewer, nothing fills the last places, which are then -1.

        That the number is always the same keeps the shapes behind it simple: with the smaller of two sizes in each, a
        program of many classes takes minutes to trace.
        """
        filled = Candidates(
            F.pad(self.boxes, (0, 0, 0, num_kept)),
            F.pad(self.scores, (0, num_kept), value=NOTHING),
            F.pad(self.labels, (0, num_kept)),
        )
        scores, places = filled.scores.topk(num_kept)
        return filled.at(places), places.masked_fill(scores < 0, -1)

    def only(self, is_kept: Tensor) -> Candidates:
        """The same places with nothing where a mask ``[B, N]`` is false."""
        return self._replace(scores=self.scores.masked_fill(~is_kept, NOTHING))

    def suppressed(self, nms_keep: NmsKeep, num_labels: int, iou_threshold: float) -> Candidates:
        """Without those that overlap a better one of their label by more than a threshold."""
        return self.only(nms_keep(*self, num_labels, iou_threshold))


def join(levels: list[Candidates]) -> Candidates:
    """The candidates of all levels."""
    return Candidates(*(torch.cat(parts, 1) for parts in zip(*levels, strict=True)))


def mapped(found: Candidates, places: Tensor, score_map: nn.Module) -> tuple[Candidates, Tensor]:
    """Detections and their places ``[B, K]`` with scores that are probabilities, best first again.

    Args:
        found: the detections of each image.
        places: among its candidates.
        score_map: a `brs_detr.heads.calibrated.MappedScores`.
    """
    is_nothing = found.scores < 0
    probabilities = score_map(found.scores, found.labels).masked_fill(is_nothing, NOTHING)
    order = probabilities.topk(probabilities.shape[1]).indices
    return found._replace(scores=probabilities).at(order), places.gather(1, order)


def within(boxes: Tensor, image_sizes: Tensor) -> Tensor:
    """Clip boxes ``[B, ..., 4]`` to images of ``[B, 2]`` (h, w)."""
    limits = image_sizes.flip(1).repeat(1, 2).to(boxes.dtype)  # [B, 4] w, h, w, h
    return boxes.clamp(min=0).minimum(limits.unflatten(0, (-1, *[1] * (boxes.dim() - 2))))
