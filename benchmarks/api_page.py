"""Write docs/api.md from the docstrings of everything that ``from brs_detr import ...`` offers.

python benchmarks/api_page.py
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import brs_detr

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
ORDER = ("Detector", "Detections", "finetune", "train", "evaluate", "calibrate", "export", "check")
INTRODUCTION = """# Python API

`python benchmarks/api_page.py` generates this page from docstrings. Every name is imported on first use:

```python
from brs_detr import Detections, Detector, calibrate, check, evaluate, export, finetune, train
```

Errors that a user can fix are `brs_detr.errors.UserError`; the message says what is wrong and what to do. The losses
are on their own page, [losses.md](losses.md).
"""


def api_markdown() -> str:
    """Return the whole page."""
    if sorted(ORDER) != sorted({*brs_detr.__all__} - {"__version__"}):
        raise ValueError(f"{ORDER} are not the names of brs_detr.__all__")
    return "\n".join([INTRODUCTION, *(_entry(name, getattr(brs_detr, name)) for name in ORDER)])


def _entry(name: str, thing: Any) -> str:
    parts = [f"## {name}\n", _signature(name, thing), _prose(inspect.getdoc(thing) or "")]
    if inspect.isclass(thing):
        for member, value in _members(thing).items():
            parts.append(f"### {name}.{member}\n")
            if inspect.isfunction(value):
                parts.append(_signature(member, value))
            parts.append(_prose(inspect.getdoc(value) or ""))
    return "\n".join(parts)


def _members(kind: type) -> dict[str, Any]:
    """Return public methods and properties, and `__call__`, including those of base classes."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__[:-1]):
        found |= {
            name: value
            for name, value in vars(base).items()
            if isinstance(value, property) or (inspect.isfunction(value) and (name == "__call__" or name[0] != "_"))
        }
    return found


def _signature(name: str, thing: Any) -> str:
    signature = inspect.signature(thing)
    arguments = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in arguments:
            arguments.append("*")
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        arguments += [f"{parameter.name}: {parameter.annotation}{default}"] * (parameter.name != "self")
    returns = "" if inspect.isclass(thing) else f" -> {signature.return_annotation}"
    line = f"{name}({', '.join(arguments)}){returns}"
    if len(line) > 100:
        line = f"{name}(\n{''.join(f'    {argument},{chr(10)}' for argument in arguments)}){returns}"
    return f"```text\n{line}\n```\n"


def _prose(doc: str) -> str:
    """Convert a docstring to Markdown: section names in bold, their entries as a list, examples as code."""
    lines: list[str] = []
    section = ""
    for line in doc.split("\n"):
        if heading := re.fullmatch(r"(Args|Returns|Raises):", line):
            section = heading[1].replace("Args", "Arguments")
            lines.append(f"**{section}**\n")
        elif section and re.match(r"    \S", line):
            name, colon, text = line.strip().partition(": ")
            is_entry = section != "Returns" and colon and re.fullmatch(r"[\w, ]+", name)
            lines.append(f"- `{name}`: {text}" if is_entry else line.strip())
        elif section and line.strip():
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line.replace(">>> ", "    "))
    return "\n".join(lines).strip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(api_markdown(), encoding="utf-8")
