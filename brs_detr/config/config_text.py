"""Write a config as text, and read it back without executing it, as mmengine would."""

from __future__ import annotations

import ast
import pprint
from typing import Any

from mmengine import Config

from brs_detr.errors import UserError

_NUMBERS = {"inf": float("inf"), "nan": float("nan")}


class PlainConfig(Config):
    """mmengine's Config with a fast `pretty_text`. The original takes a second for each checkpoint."""

    @property
    def pretty_text(self) -> str:
        """The config as one assignment of a literal per key."""
        items = self.to_dict().items()
        return "".join(f"{key} = {pprint.pformat(value, width=120, sort_dicts=False)}\n" for key, value in items)


def parse_config_text(text: str, source: str = "the config") -> Config:
    """Parse the output of `pretty_text`, ours or mmengine's: assignments of literals and of `dict(key=literal)`.

    Args:
        text: the config as text.
        source: origin of the text, for error messages.

    Raises:
        UserError: the text contains anything else.
    """
    try:
        config = dict(_assignment(line) for line in ast.parse(text).body)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:  # the last two: deep nesting
        reason = str(error) or type(error).__name__
        raise UserError(f"The config in {source} cannot be read as plain data: {reason}", "Train again.") from None
    return PlainConfig(config)


def _assignment(line: ast.stmt) -> tuple[str, Any]:
    if not isinstance(line, ast.Assign) or len(line.targets) != 1 or not isinstance(line.targets[0], ast.Name):
        raise ValueError(f"line {line.lineno} is not of the form name = value")
    return line.targets[0].id, _value(line.value)


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        return _dict_call(node)
    if isinstance(node, ast.Dict):
        return {_value(key): _value(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.Name) and node.id in _NUMBERS:
        return _NUMBERS[node.id]
    return ast.literal_eval(node)


def _dict_call(node: ast.Call) -> dict[str, Any]:
    if not isinstance(node.func, ast.Name) or node.func.id != "dict" or node.args:
        raise ValueError(f"line {node.lineno} calls something other than dict(key=value)")
    return {keyword.arg: _value(keyword.value) for keyword in node.keywords if keyword.arg}
