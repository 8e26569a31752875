"""Check and read the config in a checkpoint, which may be hostile: everything in it must be known to be safe."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brs_detr.config.config import import_modules
from brs_detr.config.config_text import PlainConfig, parse_config_text
from brs_detr.data.loading.registry import register
from brs_detr.errors import UserError

if TYPE_CHECKING:
    from mmengine import Config

SCOPE = "mmdet"
"""The only registry scope in which names are looked up."""

_LAYERS = {
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
"""Layers and their arguments, which have their own builders."""
ALLOWED_TYPES = {
    # detectors, backbones, necks
    *("ATSS", "AnyWidthDeformableDETR", "CascadeRCNN", "CoDETR", "FasterRCNN", "MaskRCNN", "PAA", "RetinaNet"),
    *("ResNet", "SwinTransformer", "TimmBackbone", "ChannelMapper", "FPN"),
    # heads
    *("ATSSHead", "DeformableDETRHead", "FCNMaskHead", "PAAHead", "RPNHead", "RetinaHead", "Shared2FCBBoxHead"),
    *("CoATSSHead", "CoDeformDETRHead", "CoRoIHead", "CascadeRoIHead", "StandardRoIHead"),
    *("RankingATSSHead", "RankingCoATSSHead", "RankingCoDeformDETRHead", "RankingFCNMaskHead", "RankingPAAHead"),
    *("RankingRPNHead", "RankingRetinaHead", "RankingRoIHead", "RankingShared2FCBBoxHead"),
    # losses
    *("ALRPLoss", "APLoss", "BucketedAPLoss", "BucketedRankSortLoss", "DRLoss", "RankSortLoss"),
    *("CrossEntropyLoss", "DiceLoss", "FocalLoss", "GIoULoss", "L1Loss", "SmoothL1Loss"),
    # parts of heads
    *("AnchorGenerator", "DeltaXYWHBBoxCoder", "DetDataPreprocessor", "SingleRoIExtractor"),
    *("ATSSAssigner", "HungarianAssigner", "MaxIoUAssigner", "PseudoSampler", "RandomSampler"),
    *("BBoxL1Cost", "FocalLossCost", "IoUCost"),
    # transforms
    *("LoadAnnotations", "LoadImage", "LoadImageFromFile", "LoadMasks", "PackDetInputs", "Resize"),
    *_LAYERS,
}
"""Types that the config in a file may name, without scope or dots."""

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
    "num": 10**10,  # a sampler that takes everything
}
_LARGEST_OTHER = 100_000
"""Limit for all other numbers, above every size, count and temperature of a detector."""

_KINDS: dict[str, Any] = {
    **dict.fromkeys(("max_per_img", "nms_pre"), int),
    **dict.fromkeys(("iou_threshold", "min_bbox_size", "score_thr"), (int, float)),
    "nms": Mapping,
}
"""Types of settings that no initialiser checks; with another type, mmdet would fail at the first image."""

_KNOWN_PACKAGES = {"brs_detr", "co_detr", "mmcv", "mmdet", "mmengine", "timm", "torch", "torchvision"}
_ORIGINS = {"init_cfg", "pretrained", "weights_file"}
"""Keys for the origin of initial weights. They are dropped unread, because the file has its own weights."""
_OWN_PACKAGES = {"brs_detr", "co_detr"}
_HARMLESS = re.compile(rf"(({SCOPE}|mmcv|mmengine)\.)?[\w-]*")
_PIPELINE = "test_dataloader.dataset.pipeline"
_MAX_SHOWN = 5
_MAX_BATCH = 64  # limit for images per batch, and for worker processes


@dataclass(frozen=True)
class Refusal:
    """An entry of a config that is not known to be safe.

    Args:
        key: key, such as ``model.bbox_head.bbox_coder.type``.
        value: value of the key.
        reason: sentence without its subject.
        can_act: whether the value could make a trusting program run, import, open or download something. Otherwise,
            it is only unknown.
    """

    key: str
    value: Any
    reason: str
    can_act: bool

    def __str__(self) -> str:
        shown = repr(self.value)
        return f"{self.key} = {shown if len(shown) <= 100 else shown[:97] + '...'} {self.reason}"


def find_refusals(config: Mapping[str, Any]) -> list[Refusal]:
    """List the entries of a config from which no model must be built, in the order of use.

    Args:
        config: config in a file. Only its `model`, test pipeline, `default_scope` and `custom_imports` are checked and
            used.
    """
    register()
    imports = [*_imports(config)]
    if not imports:
        import_modules(config)
    parts = {"model": without_origins(config.get("model")), _PIPELINE: _innermost(config, "test").get("pipeline")}
    refused = [refusal for key, part in parts.items() for refusal in _value(part, key, None, "")]
    return [*_scope(config.get("default_scope"), "default_scope"), *imports, *refused]


def require_allowed(config: Mapping[str, Any], source: str, *, is_used: bool = True) -> None:
    """Raise if something in the config of a file is not known to be safe.

    Args:
        config: see `find_refusals`.
        source: name of the file, for messages.
        is_used: whether a model is built from the config. If only weights are read, unknown but harmless values pass.

    Raises:
        UserError: the message lists the refused entries.
    """
    refused = [refusal for refusal in find_refusals(config) if is_used or refusal.can_act]
    if refused:
        raise UserError(
            f"{source} is refused because of its config:\n  " + "\n  ".join(shown_refusals(refused)),
            _hint(refused),
        )


def _hint(refusals: Sequence[Refusal]) -> str:
    modules = [one.value for one in refusals if one.key == "custom_imports" and isinstance(one.value, str)]
    if modules:
        own = " ".join(f"--import {name}" for name in modules)
        return (
            f"If this is your own code, add {own} (in Python, import it before). Otherwise, add --trust-file if you "
            "trust the author of the file as you would trust a program."
        )
    types = [one.value for one in refusals if one.key.endswith(".type")]
    return (
        "A model is built only from the classes that the configs of this package use. "
        + ("If a class is your own, name its module: --import MODULE. " if types else "")
        + "If you trust the author of the file as you would trust a program, add --trust-file."
    )


def shown_refusals(refusals: Sequence[Refusal]) -> list[str]:
    """Describe the first refusals, and count the others."""
    left = len(refusals) - _MAX_SHOWN
    return [*map(str, refusals[:_MAX_SHOWN]), *([f"and {left} more"] if left > 0 else [])]


def require_harmless(text: Any, source: str) -> None:
    """Raise if a config could run, import, open or download something, although only the weights of its file are read.

    Args:
        text: text of the config; anything else passes.
        source: name of the file, for messages.

    Raises:
        UserError: see `require_allowed`; or the text is more than plain data.
    """
    if not isinstance(text, str):
        return
    try:
        config = parse_config_text(text, source)
    except UserError as error:
        raise UserError(
            error.message, "If you trust its author as you would trust a program, add --trust-file."
        ) from None
    require_allowed(config, source, is_used=False)


def read_stored_config(text: str, source: str, is_trusted: bool = False) -> Config:
    """Read the used parts of a config in a file: the model, its test pipeline, and the location of its dataset.

    Args:
        text: text of the config.
        source: name of the file, for messages.
        is_trusted: accept any model and pipeline, and import what they need.

    Returns:
        A config for evaluation. Everything else in it comes from this package.

    Raises:
        UserError: the text is more than plain data, has no model, or has something that is not known to be safe.
    """
    config = parse_config_text(text, source)
    if not isinstance(config.get("model"), Mapping):
        raise UserError(f"{source} is not a checkpoint of this package: its config has no model.", "Train again.")
    if is_trusted:
        import_modules(config)
    else:
        require_allowed(config, source)
    used: dict[str, dict[str, Any]] = {
        f"{phase}_dataloader": {"dataset": _stored_paths(config, phase)} for phase in ("train", "val", "test")
    }
    used["test_dataloader"]["dataset"].update(test_mode=True, pipeline=_innermost(config, "test").get("pipeline"))
    used["test_dataloader"].update(
        {"batch_size": 1, "num_workers": 2, "sampler": {"type": "DefaultSampler", "shuffle": False}},
        **_stored_counts(config),
    )
    used["test_evaluator"] = {"type": "CocoAPMetric", "masks": _has_masks(config)}
    return PlainConfig({"default_scope": SCOPE, "model": without_origins(config.model), **used})


def is_harmless(value: Any) -> bool:
    """Whether a setting has only numbers and names, and nothing that could be imported, opened or downloaded."""
    if isinstance(value, Mapping):
        return all(map(is_harmless, (*value.keys(), *value.values())))
    if isinstance(value, (list, tuple)):
        return all(map(is_harmless, value))
    return re.fullmatch(r"[\w-]*", value) is not None if isinstance(value, str) else not isinstance(value, bytes)


def without_origins(node: Any) -> Any:
    """Copy a config without the keys for initial weights."""
    if isinstance(node, Mapping):
        return {key: without_origins(value) for key, value in node.items() if key not in _ORIGINS}
    return type(node)(map(without_origins, node)) if isinstance(node, (list, tuple)) else node


def _innermost(config: Mapping[str, Any], phase: str) -> Mapping[str, Any]:
    """Return the dataset of a phase without mmengine's wrappers; empty if the config has none."""
    node = config.get(f"{phase}_dataloader")
    while isinstance(node, Mapping) and isinstance(node.get("dataset"), Mapping):
        node = node["dataset"]
    return node if isinstance(node, Mapping) else {}


def _stored_paths(config: Mapping[str, Any], phase: str) -> dict[str, Any]:
    """Return the location of a phase's dataset as text, which only `eval` without ``--data`` opens."""
    dataset = _innermost(config, phase)
    prefix = dataset.get("data_prefix")
    images = prefix.get("img") if isinstance(prefix, Mapping) else None
    root, file = (str(dataset.get(name) or "") for name in ("data_root", "ann_file"))
    return {"type": "CocoFolderDataset", "data_root": root, "ann_file": file, "data_prefix": {"img": str(images or "")}}


def _stored_counts(config: Mapping[str, Any]) -> dict[str, int]:
    loader = config.get("test_dataloader")
    counts = {name: loader.get(name) for name in ("batch_size", "num_workers")} if isinstance(loader, Mapping) else {}
    return {name: count for name, count in counts.items() if isinstance(count, int) and 0 <= count <= _MAX_BATCH}


def _has_masks(config: Mapping[str, Any]) -> bool:
    """Whether masks are evaluated, by our metric or by mmdet's."""
    evaluator = config.get("test_evaluator")
    metrics = evaluator if isinstance(evaluator, list) else [evaluator]
    return any(
        bool(metric.get("masks")) or "segm" in (metric.get("metric") or ())
        for metric in metrics
        if isinstance(metric, Mapping)
    )


def _imports(config: Mapping[str, Any]) -> Iterator[Refusal]:
    asked = config.get("custom_imports") or {}
    names = asked.get("imports") if isinstance(asked, Mapping) else asked
    for name in [names] if isinstance(names, str) else names or []:
        if not isinstance(name, str) or (name.split(".")[0] not in _OWN_PACKAGES and name not in sys.modules):
            yield Refusal("custom_imports", name, "could be any code", can_act=True)


def _scope(value: Any, key: str) -> Iterator[Refusal]:
    if value not in (None, SCOPE):
        yield Refusal(key, value, f"is not {SCOPE!r}", can_act=True)


def _value(value: Any, key: str, kind: str | None, argument: str) -> Iterator[Refusal]:
    """Yield refusals in the value of an argument of a type; ``kind`` is None in a dictionary without a type."""
    if value is not None and not isinstance(value, _KINDS.get(argument, object)):
        yield Refusal(key, value, "has the wrong type", can_act=False)
    if isinstance(value, Mapping):
        yield from _dictionary(value, key)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _value(item, f"{key}.{index}", kind, argument)
    elif isinstance(value, str):
        if not _is_word_allowed(value, kind, argument):
            yield Refusal(key, value, "is not a known value there", can_act=not _HARMLESS.fullmatch(value))
    elif isinstance(value, (int, float)):
        if not abs(value) <= _LARGEST.get(argument, _LARGEST_OTHER):  # NaN is not
            yield Refusal(key, value, "is not a plausible number", can_act=False)
    elif value is not None:
        yield Refusal(key, value, "is neither number nor text", can_act=True)


def _is_word_allowed(text: str, kind: str | None, argument: str) -> bool:
    if argument == "model_name":
        return kind == "TimmBackbone" and _TIMM_NAME.fullmatch(text) is not None
    return text in _WORDS.get(argument, ()) or (kind is not None and text == _parameters(kind).get(argument))


def _dictionary(value: Mapping[str, Any], key: str) -> Iterator[Refusal]:
    kind = value.get("type")
    if "type" in value and not (isinstance(kind, str) and kind in ALLOWED_TYPES):
        if isinstance(kind, str) and _is_of_this_program(kind):
            yield from _own_arguments(value, key)
            return
        is_harmless = isinstance(kind, str) and _HARMLESS.fullmatch(kind) is not None
        yield Refusal(f"{key}.type", kind, "is not a known type", can_act=not is_harmless)
        kind = None
    for name, child in value.items():
        child_key = f"{key}.{name}"
        if name == "_scope_":
            yield from _scope(child, child_key)
        elif name == "type":
            continue
        elif isinstance(name, str) and (kind is None or _takes_argument(kind, name)):
            yield from _value(child, child_key, kind, name)
        else:
            can_act = any(refusal.can_act for refusal in _value(child, child_key, None, str(name)))
            yield Refusal(child_key, child, f"is not an argument of {kind}", can_act)


def _own_arguments(value: Any, key: str) -> Iterator[Refusal]:
    """Yield refusals in typed dictionaries among the arguments of a class of the running program."""
    if isinstance(value, Mapping):
        for name, child in value.items():
            if name == "_scope_":
                yield from _scope(child, f"{key}.{name}")
            elif isinstance(child, Mapping) and "type" in child:
                yield from _dictionary(child, f"{key}.{name}")
            else:
                yield from _own_arguments(child, f"{key}.{name}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            is_typed = isinstance(item, Mapping) and "type" in item
            yield from (_dictionary if is_typed else _own_arguments)(item, f"{key}.{index}")


def _takes_argument(kind: str, argument: str) -> bool:
    parameters = _LAYERS.get(kind) or _parameters(kind)
    return argument in parameters or (kind == "TimmBackbone" and argument.isidentifier())


def _is_of_this_program(kind: str) -> bool:
    """Whether the running program has registered this class itself; then it is as trusted as the program."""
    cls = _class_of(kind)
    return cls is not None and cls.__module__.split(".")[0] not in _KNOWN_PACKAGES


def _parameters(kind: str) -> dict[str, Any]:
    """Names and defaults of the arguments of a class, with those that it passes on to its base classes."""
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
    if getattr(cls, "takes_criterion_options", False):
        from brs_detr.heads.ranking import RankingCriterion

        parameters = inspect.signature(RankingCriterion).parameters.values()
        found |= {one.name: one.default for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY}
    return found


def _class_of(kind: str) -> type | None:
    """Return the registered class with a name, without importing anything."""
    from mmdet.registry import MODELS, TASK_UTILS, TRANSFORMS

    for registry in (MODELS, TASK_UTILS, TRANSFORMS):
        while registry is not None:
            if kind in registry.module_dict:
                found = registry.module_dict[kind]
                return found if inspect.isclass(found) else None
            registry = registry.parent
    return None
