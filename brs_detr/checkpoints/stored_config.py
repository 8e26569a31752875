"""The config inside a file: text by somebody else, of which a model is built only where all of it is known.

text -> data -> refusals -> model
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brs_detr.checkpoints.allowed_types import (
    ALLOWED_TYPES,
    SCOPE,
    is_kind_allowed,
    is_number_allowed,
    is_of_this_program,
    is_word_allowed,
    takes_argument,
)
from brs_detr.config.config import import_modules
from brs_detr.config.config_text import PlainConfig, parse_config_text
from brs_detr.data.loading.registry import register
from brs_detr.errors import UserError

if TYPE_CHECKING:
    from mmengine import Config

_ORIGINS = {"init_cfg", "pretrained", "weights_file"}
"""Where weights come from before a training: those of the file take their place, so these are left out unread."""
_OWN_PACKAGES = {"brs_detr", "co_detr"}
_HARMLESS = re.compile(rf"(({SCOPE}|mmcv|mmengine)\.)?[\w-]*")
_PIPELINE = "test_dataloader.dataset.pipeline"
_MOST_SHOWN = 5
_MOST_AT_A_TIME = 64
"""Images of a batch, and processes that load them."""


@dataclass(frozen=True)
class Refusal:
    """A place of a config that is not known to be safe.

    Args:
        key: such as ``model.bbox_head.bbox_coder.type``.
        value: that stands there.
        reason: a sentence without its subject.
        can_act: whether a program that believes it could run, import, open or fetch something; otherwise it is only
            unknown here.
    """

    key: str
    value: Any
    reason: str
    can_act: bool

    def __str__(self) -> str:
        shown = repr(self.value)
        return f"{self.key} = {shown if len(shown) <= 100 else shown[:97] + '...'} {self.reason}"


def find_refusals(config: Mapping[str, Any]) -> list[Refusal]:
    """Every place of a config from a file that a model must not be built from, in the order in which they are used.

    Args:
        config: its `model`, its pipeline for images, `default_scope` and `custom_imports` are looked at; the rest is
            not used.
    """
    register()
    imports = [*_imports(config)]
    if not imports:
        import_modules(config)
    parts = {"model": without_origins(config.get("model")), _PIPELINE: _stored_pipeline(config)}
    refused = [refusal for key, part in parts.items() for refusal in _value(part, key, None, "")]
    return [*_scope(config.get("default_scope"), "default_scope"), *imports, *refused]


def require_allowed(config: Mapping[str, Any], source: str, *, is_used: bool = True) -> None:
    """Refuse the config of a file.

    Args:
        config: see `find_refusals`.
        source: the file, for the message.
        is_used: whether a model is built from it. Where only weights are read, names that are merely unknown pass.

    Raises:
        UserError: something in it is not known to be safe.
    """
    found = [refusal for refusal in find_refusals(config) if is_used or refusal.can_act]
    if found:
        raise UserError(
            f"{source} is refused for what its config asks for:\n  " + "\n  ".join(shown_refusals(found)),
            "A model is built only of what the configs of this package use. If you trust the author of the file as "
            "you would trust a program, add --trust-file.",
        )


def shown_refusals(refusals: Sequence[Refusal]) -> list[str]:
    """The first refusals in words, and how many more there are."""
    left = len(refusals) - _MOST_SHOWN
    return [*map(str, refusals[:_MOST_SHOWN]), *([f"and {left} more"] if left > 0 else [])]


def require_harmless(text: Any, source: str) -> None:
    """Refuse a file for a config that could act, where its weights are read and its config is not used.

    Args:
        text: of the config; None where the file has none.
        source: the file, for the message.

    Raises:
        UserError: see `require_allowed`; or it is no plain data.
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
    """What is used of the config in a file: the model, how images are prepared, and where the data set lies.

    Args:
        text: as the file has it.
        source: the file, for messages.
        is_trusted: take the model and the preparation as they are, and import what they need.

    Returns:
        A config to evaluate with; all else in it is ours.

    Raises:
        UserError: it is no plain data, has no model, or something in it is not known to be safe.
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
    used["test_dataloader"]["dataset"].update(test_mode=True, pipeline=_stored_pipeline(config))
    used["test_dataloader"].update(
        {"batch_size": 1, "num_workers": 2, "sampler": {"type": "DefaultSampler", "shuffle": False}},
        **_stored_counts(config),
    )
    used["test_evaluator"] = {"type": "CocoAPMetric", "masks": _has_masks(config)}
    return PlainConfig({"default_scope": SCOPE, "model": without_origins(config.model), **used})


def is_harmless(value: Any) -> bool:
    """Whether a setting is made of numbers and names: nothing that could be imported, opened or fetched."""
    if isinstance(value, Mapping):
        return all(map(is_harmless, (*value.keys(), *value.values())))
    if isinstance(value, (list, tuple)):
        return all(map(is_harmless, value))
    return re.fullmatch(r"[\w-]*", value) is not None if isinstance(value, str) else not isinstance(value, bytes)


def without_origins(node: Any) -> Any:
    """A copy of a config that does not say where weights come from."""
    if isinstance(node, Mapping):
        return {key: without_origins(value) for key, value in node.items() if key not in _ORIGINS}
    return type(node)(map(without_origins, node)) if isinstance(node, (list, tuple)) else node


def _innermost(config: Mapping[str, Any], phase: str) -> Mapping[str, Any]:
    """The data set of a phase, below mmengine's wrappers; empty where the config has none."""
    node = config.get(f"{phase}_dataloader")
    while isinstance(node, Mapping) and isinstance(node.get("dataset"), Mapping):
        node = node["dataset"]
    return node if isinstance(node, Mapping) else {}


def _stored_pipeline(config: Mapping[str, Any]) -> Any:
    return _innermost(config, "test").get("pipeline")


def _stored_paths(config: Mapping[str, Any], phase: str) -> dict[str, Any]:
    """Where a phase finds its data set; texts, which nothing but `eval` without ``--data`` opens."""
    dataset = _innermost(config, phase)
    prefix = dataset.get("data_prefix")
    images = prefix.get("img") if isinstance(prefix, Mapping) else None
    root, file = (str(dataset.get(name) or "") for name in ("data_root", "ann_file"))
    return {"type": "CocoFolderDataset", "data_root": root, "ann_file": file, "data_prefix": {"img": str(images or "")}}


def _stored_counts(config: Mapping[str, Any]) -> dict[str, int]:
    loader = config.get("test_dataloader")
    counts = {name: loader.get(name) for name in ("batch_size", "num_workers")} if isinstance(loader, Mapping) else {}
    return {name: count for name, count in counts.items() if isinstance(count, int) and 0 <= count <= _MOST_AT_A_TIME}


def _has_masks(config: Mapping[str, Any]) -> bool:
    """Whether masks are measured, by our metric or by mmdet's."""
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
    """Refusals of what one argument of a type is given; ``kind`` is None in a dictionary without a type."""
    if not is_kind_allowed(value, argument):
        yield Refusal(key, value, "is not of the kind that belongs there", can_act=False)
    if isinstance(value, Mapping):
        yield from _dictionary(value, key)
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            yield from _value(item, f"{key}.{place}", kind, argument)
    elif isinstance(value, str):
        if not is_word_allowed(value, kind, argument):
            yield Refusal(key, value, "is no text that is known there", can_act=not _HARMLESS.fullmatch(value))
    elif isinstance(value, (int, float)):
        if not is_number_allowed(value, argument):
            yield Refusal(key, value, "is no number of a detector's size", can_act=False)
    elif value is not None:
        yield Refusal(key, value, "is neither number nor text", can_act=True)


def _dictionary(value: Mapping[str, Any], key: str) -> Iterator[Refusal]:
    kind = value.get("type")
    if "type" in value and not (isinstance(kind, str) and kind in ALLOWED_TYPES):
        if isinstance(kind, str) and is_of_this_program(kind):
            yield from _own_arguments(value, key)
            return
        is_harmless = isinstance(kind, str) and _HARMLESS.fullmatch(kind) is not None
        yield Refusal(f"{key}.type", kind, "is no type that is known here", can_act=not is_harmless)
        kind = None
    for name, child in value.items():
        place = f"{key}.{name}"
        if name == "_scope_":
            yield from _scope(child, place)
        elif name == "type":
            continue
        elif isinstance(name, str) and (kind is None or takes_argument(kind, name)):
            yield from _value(child, place, kind, name)
        else:
            can_act = any(refusal.can_act for refusal in _value(child, place, None, str(name)))
            yield Refusal(place, child, f"is no argument of {kind}", can_act)


def _own_arguments(value: Any, key: str) -> Iterator[Refusal]:
    """Of a class of the running program: its arguments are its own business, what is built for it is not."""
    if isinstance(value, Mapping):
        for name, child in value.items():
            if name == "_scope_":
                yield from _scope(child, f"{key}.{name}")
            elif isinstance(child, Mapping) and "type" in child:
                yield from _dictionary(child, f"{key}.{name}")
            else:
                yield from _own_arguments(child, f"{key}.{name}")
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            is_typed = isinstance(item, Mapping) and "type" in item
            yield from (_dictionary if is_typed else _own_arguments)(item, f"{key}.{place}")
