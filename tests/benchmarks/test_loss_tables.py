from __future__ import annotations

import dataclasses

from bench_records import made_up, made_up_result
from rich.console import Console

from measuring.loss_results import BenchResult, console_tables, markdown_table
from measuring.problems import Cell


def test_markdown() -> None:
    lines = markdown_table(made_up_result()).splitlines()
    assert lines[:4] == [
        "Forward and backward, median ms; Some CPU @ 2 GHz (2 threads), PyTorch 2.9.0+cpu, float32.",
        "",
        "| size | logits | positives | loop | matrices | bucketed | exact | focal | BCE | loop / bucketed | "
        "matrices / bucketed | exact / bucketed | exact / focal |",
        "| :-- |" + " --: |" * 12,
    ]
    assert (
        "| 100K, 1 % | 100,000 | 1,000 | 50.0 | 8.00 | 2.00 | 2.50 | 1.00 | 0.250 | 25.0 | 4.00 | 1.25 | 2.50 |"
        in lines
    )
    assert "| 1M, 5 % | 1,000,000 | 50,000 | 500 | - | 20.0 | 25.0 | 10.0 | 2.50 | 25.0 | - | 1.25 | 2.50 |" in lines
    assert lines[-1] == "* matrices at 1M, 5 %: needs 13.0 GB, 9.1 GB free"
    assert len([line for line in lines if line.startswith("|")]) == 2 + 18


def test_other_quantities_and_a_part_of_the_implementations() -> None:
    result = made_up_result("co-detr", ("exact", "focal"))
    assert "| RPN | 500,000 | 500 | 20.0 | 20.0 | 1.00 |" in markdown_table(result, "memory")
    assert "| RPN | 500,000 | 500 | 2.50 | 2.50 | 1.00 |" in markdown_table(result, "operations")
    bandwidth = markdown_table(result, "bandwidth")
    assert "| size | logits | positives | exact | focal |" in bandwidth
    assert "Copying memory reads and writes 12.3 GB/s." in bandwidth


def test_numbers_have_three_digits() -> None:
    cell = Cell("paper", "x", 1000, 10)
    seconds = (1.23456e-6, 0.99999e-3, 12.3456e-3, 99.99e-3, 1.23456)
    records = [
        dataclasses.replace(made_up(cell, "exact"), name=str(place), median_s=median)
        for place, median in enumerate(seconds)
    ]
    rows = markdown_table(BenchResult(made_up_result().environment, records)).splitlines()[4:]
    assert [row.split(" | ")[3].rstrip(" |") for row in rows] == ["0.001", "1.00", "12.3", "100", "1,235"]


def test_the_console_gets_times_and_quotients() -> None:
    console = Console(width=100)
    with console.capture() as capture:
        for table in console_tables(made_up_result()):
            console.print(table)
    words = " ".join(capture.get().split())
    assert "100K, 1 % 50.0 8.00 2.00 2.50 1.00 0.250" in words
    assert "100K, 1 % 25.0 4.00 1.25 2.50" in words
