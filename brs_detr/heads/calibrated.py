"""Let a trained detector score in probabilities."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from brs_detr.runtime.score_map import LARGEST, SMALLEST, ScoreMap


class PiecewiseLinear(nn.Module):
    """A `ScoreMap` on logits: a line for each class, and what the slope changes by at each knot."""

    slopes: Tensor
    offsets: Tensor
    knots: Tensor
    changes: Tensor

    def __init__(self, score_map: ScoreMap) -> None:
        super().__init__()
        slopes = torch.from_numpy(score_map.slopes)
        for name, values in {
            "slopes": slopes[:, 0],
            "offsets": torch.from_numpy(score_map.offsets),
            "knots": torch.from_numpy(score_map.knots)[:, 1:-1],
            "changes": slopes.diff(),
        }.items():
            self.register_buffer(name, values.to(torch.get_default_dtype()).contiguous(), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Map ``logits`` of classes ``labels``, which have or broadcast to one shape."""
        mapped = self.offsets[labels] + self.slopes[labels] * logits
        for place in range(self.knots.shape[1]):
            mapped = mapped + self.changes[labels, place] * (logits - self.knots[labels, place]).relu()
        return mapped


class MappedScores(nn.Module):
    """A `ScoreMap` on scores, for detectors whose scores are not the sigmoids of logits."""

    def __init__(self, score_map: ScoreMap) -> None:
        super().__init__()
        self.map = PiecewiseLinear(score_map)

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Probabilities of scores ``[...]`` in [0, 1] of classes ``[...]``."""
        least = max(SMALLEST, torch.finfo(scores.dtype).tiny)
        clipped = scores.double().clamp(least, LARGEST)
        return self.map(clipped.log() - (-clipped).log1p(), labels).sigmoid().to(scores.dtype)


class MappedLogits(nn.Module):
    """A layer that gives logits, and a `ScoreMap` behind it.

    Args:
        layer: its output has C classes, or several times C with the classes of an anchor side by side, in dimension 1
            of maps and in the last one otherwise.
        score_map: of C classes.
    """

    def __init__(self, layer: nn.Module, score_map: ScoreMap) -> None:
        super().__init__()
        self.layer, self.map = layer, PiecewiseLinear(score_map)
        self.num_classes = len(score_map.knots)

    @property
    def weight(self) -> Tensor:
        """Of the layer."""
        return self.layer.weight  # type: ignore[return-value]

    def forward(self, feats: Tensor) -> Tensor:
        """Logits of probabilities."""
        logits: Tensor = self.layer(feats)
        labels = torch.arange(self.weight.shape[0], device=logits.device) % self.num_classes
        is_map = isinstance(self.layer, nn.Conv2d)
        return self.map(logits, labels[:, None, None] if is_map else labels)


def calibrate_model(model: nn.Module, score_map: ScoreMap) -> None:
    """Let a detector score in probabilities, in place.

    Where its scores are sigmoids of logits, a map that is a line for each class goes into the weights of the layer that
    gives them, and another one behind it. Otherwise the scores of its detections are mapped, in their attribute
    ``score_map``.

    Args:
        model: of mmdet or Co-DETR, with its weights.
        score_map: of its classes, for the head that it predicts with.
    """
    heads = _predicting_heads(model)
    layers = tuple(getattr(heads[0], "score_layers", ()))
    if not layers:
        model.score_map = MappedScores(score_map).to(next(model.parameters()).device)
        model.register_forward_hook(_map_detections, with_kwargs=True)
        return
    for head in heads:
        for name in layers:
            parent, _, child = name.rpartition(".")
            owner = head.get_submodule(parent)
            layer: Any = owner.get_submodule(child)
            if score_map.is_affine:
                _fold(layer, score_map)
            else:
                owner.register_module(child, MappedLogits(layer, score_map).to(layer.weight.device))


def _predicting_heads(model: Any) -> list[nn.Module]:
    """The head that scores detections; of Cascade R-CNN all stages, whose logits are averaged."""
    if hasattr(model, "eval_head"):
        head = getattr(model, f"{model.eval_head}_head")
    else:
        head = model.roi_head if getattr(model, "with_roi_head", False) else model.bbox_head
    head = getattr(head, "bbox_head", head)
    return list(head) if isinstance(head, nn.ModuleList) else [head]


def _fold(layer: Any, score_map: ScoreMap) -> None:
    """Multiply the rows of each class, and move their bias."""
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
