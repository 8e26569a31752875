"""Which code runs each operator here, and why."""

from __future__ import annotations

from typing import NamedTuple

from brs_detr.mm.ops.extension import is_compiled


class Implementation(NamedTuple):
    """One operator, what runs it, and the reason for the choice."""

    op: str
    provider: str
    reason: str


_PROVIDERS = {
    "nms": "torchvision",
    "soft_nms": "numpy",
    "nms_match": "PyTorch",
    "bbox_overlaps": "PyTorch",
    "roi_align": "torchvision (max pooling: PyTorch)",
    "sigmoid_focal_loss": "PyTorch",
    "softmax_focal_loss": "PyTorch",
    "deform_conv2d": "torchvision",
    "modulated_deform_conv2d": "torchvision",
}


def implementations() -> list[Implementation]:
    """List every operator that brs_detr can supply and what runs it in this process.

    Raises:
        ModuleNotFoundError: mmcv is not installed.
    """
    if is_compiled():
        return [Implementation(op, "mmcv", "compiled extension found") for op in (*_PROVIDERS, _ATTENTION)]
    reason = "mmcv has no compiled extension"
    return [Implementation(op, provider, reason) for op, provider in _PROVIDERS.items()] + [_attention()]


_ATTENTION = "multi_scale_deformable_attention"


def _attention() -> Implementation:
    from brs_detr.mm.ops.deformops import find_operator

    operator, reason = find_operator()
    return Implementation(_ATTENTION, "PyTorch grid_sample" if operator is None else "deformops (Triton)", reason)
