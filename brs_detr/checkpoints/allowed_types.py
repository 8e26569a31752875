"""What the config inside a file may be made of: types by their whole names, and the words that their arguments take."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

SCOPE = "mmdet"
"""The one registry that names are looked up in."""

DETECTORS = {"ATSS", "AnyWidthDeformableDETR", "CascadeRCNN", "CoDETR", "FasterRCNN", "MaskRCNN", "PAA", "RetinaNet"}
BACKBONES = {"ResNet", "SwinTransformer", "TimmBackbone"}
NECKS = {"ChannelMapper", "FPN"}
HEADS = {
    *("ATSSHead", "DeformableDETRHead", "FCNMaskHead", "PAAHead", "RPNHead", "RetinaHead", "Shared2FCBBoxHead"),
    *("CoATSSHead", "CoDeformDETRHead", "CoRoIHead", "CascadeRoIHead", "StandardRoIHead"),
    *("RankingATSSHead", "RankingCoATSSHead", "RankingCoDeformDETRHead", "RankingFCNMaskHead", "RankingPAAHead"),
    *("RankingRPNHead", "RankingRetinaHead", "RankingRoIHead", "RankingShared2FCBBoxHead"),
}
LOSSES = {
    *("ALRPLoss", "APLoss", "BucketedAPLoss", "BucketedRankSortLoss", "DRLoss", "RankSortLoss"),
    *("CrossEntropyLoss", "DiceLoss", "FocalLoss", "GIoULoss", "L1Loss", "SmoothL1Loss"),
}
PARTS = {
    *("AnchorGenerator", "DeltaXYWHBBoxCoder", "DetDataPreprocessor", "SingleRoIExtractor"),
    *("ATSSAssigner", "HungarianAssigner", "MaxIoUAssigner", "PseudoSampler", "RandomSampler"),
    *("BBoxL1Cost", "FocalLossCost", "IoUCost"),
}
LAYERS = {
    "BN": {"requires_grad", "eps", "momentum"},
    "SyncBN": {"requires_grad", "eps", "momentum"},
    "GN": {"requires_grad", "eps", "num_groups"},
    "LN": {"requires_grad", "eps"},
    "ReLU": {"inplace"},
    "GELU": set[str](),
    "DCNv2": {"deform_groups", "fallback_on_stride"},
    "RoIAlign": {"output_size", "sampling_ratio", "aligned", "pool_mode"},
    "nms": {"iou_threshold", "max_num", "score_threshold", "class_agnostic", "split_thr"},
    "soft_nms": {"iou_threshold", "sigma", "min_score", "method", "max_num", "class_agnostic", "split_thr"},
}
"""With their arguments, since they are built in ways of their own."""
TRANSFORMS = {"LoadAnnotations", "LoadImage", "LoadImageFromFile", "LoadMasks", "PackDetInputs", "Resize"}

ALLOWED_TYPES = DETECTORS | BACKBONES | NECKS | HEADS | LOSSES | PARTS | LAYERS.keys() | TRANSFORMS

_WORDS = {
    "add_extra_convs": {"on_input", "on_lateral", "on_output"},
    "box_format": {"xyxy", "xywh"},
    "eval_head": {"query", "roi", "atss"},
    "imdecode_backend": {"cv2", "pillow"},
    "interpolation": {"bilinear", "nearest", "area", "bicubic", "lanczos"},
    "iou_mode": {"iou", "iof", "giou"},
    "meta_keys": {
        *("img_id", "img_path", "img_shape", "ori_shape", "scale_factor", "instances"),
        *("flip", "flip_direction", "neg_category_ids", "homography_matrix"),
    },
    "method": {"naive", "linear", "gaussian"},
    "pool_mode": {"avg", "max"},
    "reduction": {"none", "mean", "sum"},
    "style": {"caffe", "pytorch"},
}
_TIMM_NAME = re.compile(r"[a-z]\w*(\.\w+)?")

_LARGEST = {
    **{"output_size": 64, "sampling_ratio": 64},
    **{"num_layers": 100, "stacked_convs": 100, "num_convs": 100},
    "num": 10**10,  # of a sampler that takes all
}
LARGEST = 100_000
"""Of any other number: more than every size, count and temperature of a detector."""

_KINDS: dict[str, Any] = {
    **dict.fromkeys(("max_per_img", "nms_pre"), int),
    **dict.fromkeys(("iou_threshold", "min_bbox_size", "score_thr"), (int, float)),
    "nms": Mapping,
}
"""Of settings for detections, which no initialiser looks at: mmdet would trip over another kind in the first image."""

_KNOWN_PACKAGES = {"brs_detr", "co_detr", "mmcv", "mmdet", "mmengine", "timm", "torch", "torchvision"}


def is_word_allowed(text: str, kind: str | None, argument: str) -> bool:
    """Whether an argument of a type may have this text: one of a known set, or what it is by default."""
    if argument == "model_name":
        return kind == "TimmBackbone" and _TIMM_NAME.fullmatch(text) is not None
    return text in _WORDS.get(argument, ()) or (kind is not None and text == _parameters(kind).get(argument))


def is_number_allowed(number: float, argument: str) -> bool:
    """Whether a number is of the size that the argument may have; NaN is not."""
    return abs(number) <= _LARGEST.get(argument, LARGEST)


def is_kind_allowed(value: Any, argument: str) -> bool:
    """Whether a setting is one number, or several, or settings of its own, as its readers believe; None is unset."""
    return value is None or isinstance(value, _KINDS.get(argument, object))


def takes_argument(kind: str, argument: str) -> bool:
    """Whether a type that is allowed has an argument of this name."""
    parameters = LAYERS.get(kind) or _parameters(kind)
    return argument in parameters or (kind == "TimmBackbone" and argument.isidentifier())


def is_of_this_program(kind: str) -> bool:
    """Whether the running program has registered this class of its own: then it is as trusted as the program."""
    cls = _class_of(kind)
    return cls is not None and cls.__module__.split(".")[0] not in _KNOWN_PACKAGES


def _parameters(kind: str) -> dict[str, Any]:
    """Names and defaults of what a class takes, with what it passes on to the classes that it is made of."""
    cls = _class_of(kind)
    found: dict[str, Any] = {}
    for ancestor in () if cls is None else inspect.getmro(cls):
        initialiser = vars(ancestor).get("__init__")
        if not inspect.isfunction(initialiser):
            continue
        parameters = inspect.signature(initialiser).parameters.values()
        found = {**{one.name: one.default for one in parameters if one.name != "self"}, **found}
        if not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
            break
    return found


def _class_of(kind: str) -> type | None:
    """The class that a name stands for; nothing is imported to find it."""
    from mmdet.registry import MODELS, TASK_UTILS, TRANSFORMS

    for registry in (MODELS, TASK_UTILS, TRANSFORMS):
        while registry is not None:
            if kind in registry.module_dict:
                found = registry.module_dict[kind]
                return found if inspect.isclass(found) else None
            registry = registry.parent
    return None
