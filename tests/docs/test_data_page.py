"""``docs/data.md`` lists every kind of finding with its severity, and no other."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import brs_detr.data
from brs_detr.data.kinds import INDIVISIBLE, SEVERITIES, UNREADABLE_SPLIT, FaultKind
from brs_detr.data.loading.registry import register

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
ROW = re.compile(rf"^\| (.+?) \| ({'|'.join(SEVERITIES)}) \| .*\|$", re.MULTILINE)


def test_every_finding_is_listed_with_its_severity() -> None:
    register()  # before mmdet is imported by some of the modules
    modules = [
        importlib.import_module(module.name)
        for module in pkgutil.walk_packages(brs_detr.data.__path__, "brs_detr.data.")
    ]
    kinds = {value for module in modules for value in vars(module).values() if isinstance(value, FaultKind)}
    made_when_found = {(UNREADABLE_SPLIT, "error"), (INDIVISIBLE, "error")}  # their cure depends on the case
    listed = ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert set(listed) == {(kind.what, kind.severity) for kind in kinds} | made_when_found
    assert len(listed) == len(set(listed))
    order = [list(SEVERITIES).index(severity) for _, severity in listed]
    assert order == sorted(order)
