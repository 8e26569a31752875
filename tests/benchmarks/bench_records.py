"""Synthetic measurements."""

from __future__ import annotations

from measuring.loss_results import BenchResult, Record
from measuring.problems import Cell, paper_cells, select_cells

ENVIRONMENT = {
    "device": "cpu",
    "device_name": "Some CPU @ 2 GHz",
    "num_threads": 2,
    "torch": "2.9.0+cpu",
    "dtype": "float32",
    "copy_bytes_per_s": 12.3e9,
}
FACTORS = {"loop": 50.0, "bucketed_matrix": 8.0, "bucketed": 2.0, "exact": 2.5, "focal": 1.0, "bce": 0.25}


def made_up(cell: Cell, implementation: str, skipped: str | None = None) -> Record:
    median_s = FACTORS[implementation] * cell.num_logits * 1e-8
    measured = (31, median_s, 40 * cell.num_logits, 5 * cell.num_logits)
    repeats, seconds, peak, operations = (0, None, None, None) if skipped else measured
    bandwidth = None if skipped else 20 * cell.num_logits / median_s
    return Record(*cell, implementation, repeats, seconds, peak, operations, 20 * cell.num_logits, bandwidth, skipped)


def made_up_result(suite: str = "all", names: tuple[str, ...] = tuple(FACTORS)) -> BenchResult:
    largest = paper_cells()[-1]
    return BenchResult(
        dict(ENVIRONMENT),
        [
            made_up(cell, name, "needs 13.0 GB, 9.1 GB free" if (cell, name) == (largest, "bucketed_matrix") else None)
            for cell in select_cells(suite)
            for name in names
        ],
    )
