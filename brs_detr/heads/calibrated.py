"""Apply a learned score map to a trained detector."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brs_detr.runtime.score_map import LARGEST, SMALLEST, ScoreMap


class PiecewiseLinear(nn.Module):
    """A `ScoreMap` on logits."""

    starts: Tensor
    knots: Tensor
    lengths: Tensor
    slopes: Tensor

    def __init__(self, score_map: ScoreMap) -> None:
        super().__init__()
        for name, rows in {
            "starts": score_map.values[:, 0],  # [C]
            "knots": score_map.knots[:, :-1].T,  # [K - 1, C], where segments begin
            "lengths": np.diff(score_map.knots).T,
            "slopes": score_map.slopes.T,
        }.items():
            self.register_buffer(name, torch.from_numpy(rows).contiguous(), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Map ``logits`` of classes ``labels``; their shapes broadcast.

        Adds up the rise of each segment below a logit, so that rounding cannot swap the order of two logits.
        """
        mapped, last = self.starts[labels], len(self.knots) - 1
        for place in range(last + 1):
            length = logits - self.knots[place][labels]
            if place > 0:
                length = length.relu()
            if place < last:
                length = length.minimum(self.lengths[place][labels])
            mapped = mapped + self.slopes[place][labels] * length
        return mapped


class MappedScores(nn.Module):
    """A `ScoreMap` on scores, for detectors whose scores are not sigmoids of logits."""

    def __init__(self, score_map: ScoreMap) -> None:
        super().__init__()
        self.map = PiecewiseLinear(score_map)

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the probabilities of scores ``[...]`` in [0, 1] of classes ``labels [...]``."""
        wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
        logits = wide.clamp(min=SMALLEST).log() - (1 - wide).clamp(min=1 - LARGEST).log()
        return self.map(logits, labels).sigmoid().to(scores.dtype)


class MappedLogits(nn.Module):
    """A classification layer followed by a `ScoreMap`.

    Args:
        layer: convolution or linear layer with ``A * C`` outputs: C classes for each of A anchors.
        score_map: score map of C classes.
    """

    def __init__(self, layer: nn.Module, score_map: ScoreMap) -> None:
        super().__init__()
        self.layer, self.map = layer, PiecewiseLinear(score_map)
        self.num_classes = len(score_map.knots)

    @property
    def weight(self) -> Tensor:
        """Weight of the layer."""
        return self.layer.weight  # type: ignore[return-value]

    def forward(self, feats: Tensor) -> Tensor:
        """Return the mapped logits."""
        logits: Tensor = self.layer(feats)
        labels = torch.arange(self.weight.shape[0], device=logits.device) % self.num_classes
        is_map = isinstance(self.layer, nn.Conv2d)
        return self.map(logits, labels[:, None, None] if is_map else labels)


def calibrate_model(model: nn.Module, score_map: ScoreMap) -> None:
    """Apply a score map to a detector, in place.

    If scores are sigmoids of the logits of one layer, an affine map is folded into the weights of that layer and any
    other map is appended to it. Otherwise the scores of the detections are mapped by the model's attribute
    ``score_map``.

    Args:
        model: an mmdet detector or `CoDETR`, with its weights loaded.
        score_map: score map of the model's classes, learned for the head that it predicts with.
    """
    head, layers = _scoring_layers(model)
    for name in layers:
        parent, _, child = name.rpartition(".")
        owner = head.get_submodule(parent)
        layer: Any = owner.get_submodule(child)
        if score_map.is_affine:
            _fold(layer, score_map)
        else:
            owner.register_module(child, MappedLogits(layer, score_map).to(layer.weight))
    if not layers:
        model.score_map = MappedScores(score_map).to(next(model.parameters()))
        model.register_forward_hook(_map_detections, with_kwargs=True)


def _scoring_layers(model: Any) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the head that scores detections, and the layers whose sigmoids are these scores.

    There are no such layers if scores are averaged over stages, decayed by soft NMS, or compared with a threshold that
    was chosen for unmapped scores.
    """
    if hasattr(model, "eval_head"):
        head = getattr(model, f"{model.eval_head}_head")
    else:
        head = model.roi_head if getattr(model, "with_roi_head", False) else model.bbox_head
    settings, head = head.test_cfg or {}, getattr(head, "bbox_head", head)
    limit = max(settings.get("score_thr") or 0, getattr(head, "lowest_score", 0))
    suppression = (settings.get("nms") or {}).get("type", "nms")
    is_plain = not isinstance(head, nn.ModuleList) and limit <= 0 and suppression == "nms"
    return head, tuple(getattr(head, "score_layers", ())) if is_plain else ()


def _fold(layer: Any, score_map: ScoreMap) -> None:
    """Fold an affine map into the weights and biases of each class."""
    rows = torch.arange(layer.weight.shape[0]) % len(score_map.knots)
    slopes = torch.from_numpy(score_map.slopes[:, 0])[rows].to(layer.weight.device)
    offsets = torch.from_numpy(score_map.offsets)[rows].to(layer.weight.device)
    with torch.no_grad():
        weight = layer.weight.double() * slopes.reshape(-1, *[1] * (layer.weight.dim() - 1))
        layer.weight.copy_(weight)
        layer.bias.copy_(layer.bias.double() * slopes + offsets)


def _map_detections(model: Any, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
    mode = kwargs.get("mode", args[2] if len(args) > 2 else "tensor")
    if mode == "predict":
        for sample in output:
            found = sample.pred_instances
            found.scores = model.score_map(found.scores, found.labels)
            sample.pred_instances = found[found.scores.sort(descending=True, stable=True).indices]
    return output
