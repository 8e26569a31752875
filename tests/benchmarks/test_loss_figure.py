from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brs_detr.errors import UserError
from measuring.loss_results import BenchResult, Record, plot_losses
from measuring.problems import paper_cells, select_cells

ENVIRONMENT = {"device": "cpu", "device_name": "a CPU", "num_threads": 2, "torch": "2.9.0", "dtype": "float32"}
COLOURS = {"loop": (213, 94, 0), "exact": (0, 180, 125), "bucketed": (0, 130, 210)}


def result(*names: str, suite: str = "paper") -> BenchResult:
    records = [
        Record(*cell, name, 3, cell.num_logits * 1e-8 * (place + 1), 1, cell.num_logits * (place + 1), 1, 1.0, None)
        for cell in select_cells(suite)
        for place, name in enumerate(names)
    ]
    return BenchResult(ENVIRONMENT, records)


def colours_in(path: Path) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).tolist()}


def test_every_implementation_that_was_measured_is_drawn(tmp_path: Path) -> None:
    plot_losses(result("loop", "exact"), tmp_path / "new" / "losses.png")
    found = colours_in(tmp_path / "new" / "losses.png")
    assert COLOURS["loop"] in found and COLOURS["exact"] in found and COLOURS["bucketed"] not in found


def test_what_was_skipped_ends_its_line(tmp_path: Path) -> None:
    records = result("loop", "exact").records
    largest = paper_cells()[-1].name
    skipped = [
        dataclasses.replace(record, median_s=None, operations=None, skipped="no room")
        if (record.name, record.implementation) == (largest, "loop")
        else record
        for record in records
    ]
    plot_losses(BenchResult(ENVIRONMENT, skipped), tmp_path / "losses.svg")
    assert (tmp_path / "losses.svg").read_text().count("does not fit") == 2  # as text in a comment of each label


def test_one_size_is_drawn_too(tmp_path: Path) -> None:
    plot_losses(BenchResult(ENVIRONMENT, result("exact").records[:1]), tmp_path / "losses.png")
    assert COLOURS["exact"] in colours_in(tmp_path / "losses.png")


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing of the paper's grid"):
        plot_losses(result("exact", suite="co-detr"), tmp_path / "losses.png")
    for name in ("losses.xyz", "losses"):
        with pytest.raises(UserError, match="no known image suffix"):
            plot_losses(result("exact"), tmp_path / name)
    assert list(tmp_path.iterdir()) == []
