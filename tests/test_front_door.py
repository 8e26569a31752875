"""`from brs_detr import ...`: every name exists, is documented, and is imported on first use."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import brs_detr

NAMES = [name for name in brs_detr.__all__ if name != "__version__"]


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_documented(name: str) -> None:
    code = f"from brs_detr import {name}; print(callable({name}), {name}.__name__, {name}.__doc__)"
    is_callable, own_name, doc = run(code).split(" ", 2)
    assert (is_callable, own_name) == ("True", name)
    assert "Args:" in doc
    assert name in dir(brs_detr)


def test_nothing_is_imported_before_it_is_used() -> None:
    assert run("import brs_detr, sys; print('torch' in sys.modules, 'numpy' in sys.modules)") == "False False"
    code = "import brs_detr.losses, sys; print([name for name in ('mmengine', 'mmdet', 'PIL') if name in sys.modules])"
    assert run(code) == "[]"


def test_other_names_are_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'detector'"):
        _ = brs_detr.detector  # type: ignore[attr-defined]


def test_the_package_is_typed() -> None:
    assert (Path(brs_detr.__file__).parent / "py.typed").is_file()
    assert inspect.signature(brs_detr.check).return_annotation == "DataReport"
