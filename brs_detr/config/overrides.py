"""Change single keys of a config: `--set optim_wrapper.optimizer.lr=1e-4`."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from brs_detr.errors import UserError, did_you_mean


def apply_overrides(config: MutableMapping[str, Any], assignments: Iterable[str]) -> None:
    """Change keys of a config in place.

    Args:
        config: nested mappings and lists.
        assignments: `key=value` each. The key is a path with dots, places in a list are numbers
            (`param_scheduler.0.gamma=0.5`). The value is a Python literal; what is none is taken as a string.

    Raises:
        UserError: an assignment lacks its `=`, names a key that the config does not have (the message names the
            nearest one that it has), or gives a text where a number or a truth value belongs.
    """
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator or not key:
            raise UserError(
                f"--set {assignment} is not of the form key=value.", "Example: --set train_cfg.val_interval=2"
            )
        _set(config, key.strip(), parse_value(text.strip()))


def parse_value(text: str) -> Any:
    """A Python literal, or the text itself where it is none."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _set(config: Any, key: str, value: Any) -> None:
    *parents, last = key.split(".")
    node, walked = config, ""
    for part in parents:
        node = node[_existing(node, part, walked, key)]
        walked += f"{part}."
    place = _existing(node, last, walked, key)
    if isinstance(node, tuple):
        raise UserError(f"--set {key}: {walked.rstrip('.')} is a tuple.", f"Set all of it, now {node!r}.")
    _require_same_kind(node[place], value, key)
    node[place] = value


def _existing(node: Any, part: str, walked: str, key: str) -> str | int:
    """Turn one part of a key into a place that exists in `node`."""
    if isinstance(node, Mapping):
        valid = {str(name): name for name in node}
    elif isinstance(node, (list, tuple)):
        valid = {str(index): index for index in range(len(node))}
    else:
        raise UserError(f"--set {key}: {walked.rstrip('.')} is {node!r} and has no keys.", "Drop the rest of the key.")
    if part not in valid:
        raise UserError(f"--set {key}: the config has no key {walked}{part}.", _nearest(part, list(valid), walked))
    return valid[part]


def _nearest(part: str, valid: list[str], walked: str) -> str:
    if not valid:
        return f"{walked.rstrip('.')} is empty."
    return did_you_mean(f"{walked}{part}", [f"{walked}{name}" for name in valid])


def _require_same_kind(old: Any, new: Any, key: str) -> None:
    if isinstance(old, (bool, int, float)) and isinstance(new, str):
        kind = "True or False" if isinstance(old, bool) else "a number"
        raise UserError(f"--set {key}={new}: {kind} belongs there, now {old!r}.", "Check the value.")
