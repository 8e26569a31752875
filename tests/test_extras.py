from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from brs_detr.extras import EXTRAS, add_extra, extra_of

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def note_source(monkeypatch: pytest.MonkeyPatch, source: dict | None) -> None:
    """Pretend that pip recorded the source of the package."""
    distribution = SimpleNamespace(read_text=lambda name: source and json.dumps(source))
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: distribution)


@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        ({"url": "file:///home/me/my%20clone", "dir_info": {"editable": True}}, ["-e", "/home/me/my clone[serve]"]),
        ({"url": "file:///home/me/clone", "dir_info": {}}, ["/home/me/clone[serve]"]),
        ({"url": "file:///w/brs_detr-1.whl", "archive_info": {}}, ["/w/brs_detr-1.whl[serve]"]),
        ({"url": "https://h/brs_detr-1.whl", "archive_info": {}}, ["brs-detr[serve] @ https://h/brs_detr-1.whl"]),
        (
            {"url": "https://h/brs.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            ["brs-detr[serve] @ git+https://h/brs.git@abc"],
        ),
    ],
)  # fmt: skip
def test_an_extra_is_added_from_where_the_package_came_from(
    source: dict, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    note_source(monkeypatch, source)
    (command,) = re.findall("`(.*)`", add_extra("serve"))
    assert shlex.split(command) == ["pip", "install", *arguments]


def test_where_nothing_is_noted_both_ways_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    note_source(monkeypatch, None)
    assert "`pip install -e '.[paa]'` in a clone" in add_extra("paa")
    assert "`pip install 'FILE.whl[paa]'`" in add_extra("paa")


def test_extras_are_those_of_the_package() -> None:
    table = re.search(r"\[project.optional-dependencies\]\n(.*?)\n\n", PYPROJECT.read_text(), re.DOTALL)[1]
    assert set(EXTRAS) == set(re.findall(r"^(\w+) = ", table, re.MULTILINE)) - {"train", "test"}


def test_the_extra_that_brings_a_module() -> None:
    assert extra_of("yaml") == extra_of("mmdet.models") == "lite"
    assert (extra_of("onnxruntime"), extra_of("sklearn.mixture"), extra_of("json")) == ("runtime", "paa", None)
