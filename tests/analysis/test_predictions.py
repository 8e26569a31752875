from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brs_detr.errors import UserError
from brs_detr.evaluation.report import read_predictions

GOOD = {"image_id": 1, "category_id": 2, "bbox": [1, 2.5, 3, 4], "score": 0.5}


def test_results_are_read_as_they_are(tmp_path: Path) -> None:
    entries = [GOOD, {**GOOD, "image_id": 3, "segmentation": {"size": [1, 1], "counts": "0"}}]
    (tmp_path / "a.json").write_text(json.dumps(entries))
    assert read_predictions(tmp_path / "a.json") == entries


@pytest.mark.parametrize("field", ["image_id", "category_id", "bbox", "score"])
@pytest.mark.parametrize("value", [None, "a", float("nan"), float("inf"), 10**400, [[]], {"a": 1}, "\ud800", [1, 2, 3]])
def test_an_entry_that_is_no_detection_is_named(tmp_path: Path, field: str, value: Any) -> None:
    (tmp_path / "a.json").write_text(json.dumps([GOOD, {**GOOD, field: value}]))
    with pytest.raises(UserError, match=r"a\.json: entry 1 is not a detection: \{"):
        read_predictions(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "holds a JSON dict, not a list"),
        ("[1]", "entry 0 is not a detection: 1"),
        ("[", "is not valid JSON"),
        ("[" * 200_000, "lists without end"),
        ("[" + "9" * 5000 + "]", "a number of more than 4,300 digits at line 1, column 2"),
        ('[{"bbox": [1e400, 1, 1, 1]}]', "entry 0 is not a detection"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=words):
        read_predictions(tmp_path / "a.json")
