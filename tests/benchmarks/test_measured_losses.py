from __future__ import annotations

import losses
import pytest
import torch
from losses import Settings, measure_size

from measuring.problems import IMPLEMENTATIONS, Cell, forward_backward, make_problem

CPU = torch.device("cpu")
CELL = Cell("paper", "small", 2000, 100)
BATCH = Cell("co-detr", "batch", 3000, 30, num_rows=3)


@pytest.mark.parametrize("cell", [CELL, BATCH])
def test_every_implementation_is_measured(cell: Cell, device: torch.device) -> None:
    records = measure_size(cell, Settings(device=device, repeats=2, budget_s=1.0))
    assert [record.implementation for record in records] == list(IMPLEMENTATIONS)
    for record in records:
        assert (record.num_logits, record.num_positives, record.skipped) == (cell.num_logits, cell.num_positives, None)
        assert 1 <= record.repeats <= 2
        assert record.median_s > 0 and record.peak_extra_bytes >= 4 * cell.num_logits
        assert record.operations >= cell.num_logits
        assert record.minimum_bytes == 20 * cell.num_logits
        assert record.bytes_per_s == pytest.approx(record.minimum_bytes / record.median_s)
    operations = {record.implementation: record.operations for record in records}
    assert operations["loop"] > operations["bucketed"] > operations["bce"]


@pytest.mark.parametrize("cell", [CELL, BATCH])
def test_slow_and_fast_forms_have_one_gradient(cell: Cell) -> None:
    problem = make_problem(cell, CPU, torch.float64, seed=0)
    gradients = {}
    for name in ("loop", "exact", "bucketed_matrix", "bucketed"):
        forward_backward(name, problem)
        gradients[name] = problem.logits.grad
    assert gradients["loop"].abs().max() > 0
    torch.testing.assert_close(gradients["loop"], gradients["exact"])
    torch.testing.assert_close(gradients["bucketed_matrix"], gradients["bucketed"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes(dtype: torch.dtype) -> None:
    records = measure_size(CELL, Settings(dtype=dtype, repeats=1))
    assert all(record.median_s for record in records)
    assert records[0].minimum_bytes == {torch.float64: 40, torch.bfloat16: 14}[dtype] * 2000


def test_matrices_that_do_not_fit_are_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "free_bytes", lambda device: 80_000)
    records = measure_size(CELL, Settings(repeats=1, implementations=("bucketed_matrix", "bucketed")))
    assert records[0].skipped == "needs 0.0 GB, 0.0 GB free"
    assert (records[0].median_s, records[0].peak_extra_bytes, records[0].operations) == (None, None, None)
    assert records[0].repeats == 0
    assert records[1].median_s > 0


def test_memory_that_runs_out_is_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(problem: object) -> None:
        raise MemoryError

    monkeypatch.setitem(IMPLEMENTATIONS, "exact", fail)
    records = measure_size(CELL, Settings(repeats=1, implementations=("exact", "focal")))
    assert [record.skipped for record in records] == ["out of memory", None]
