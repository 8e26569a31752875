from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from brs_detr.errors import UserError
from brs_detr.reproduce.ledger import METRICS, LedgerEntry, add_to_ledger, entry_line, kept_metrics, read_ledger, tables


def entry(ap: float = 0.5, **changes) -> LedgerEntry:
    one = LedgerEntry(
        row="brs-r50",
        kind="trained",
        metrics=dict.fromkeys(METRICS, ap),
        paper_ap=0.501,
        seed=0,
        config="brs-co-deformable-detr_r50_8xb2-12e_coco",
        config_hash="a" * 64,
        data_hash="b" * 64,
        effective_batch=16,
        num_processes=8,
        weights="brs-r50/seed0/run/checkpoints/last.pth",
        log="brs-r50/seed0/run/train.log",
        environment={"device": "a GPU"},
        date="2026-01-01",
    )
    return dataclasses.replace(one, **changes)


@pytest.mark.parametrize(
    ("ap", "verdict"),
    [
        *((0.501, "reproduced"), (0.504, "reproduced"), (0.498, "reproduced")),
        *((0.5041, "above"), (0.4979, "below"), (0.0, "below")),
    ],
)
def test_verdicts(ap: float, verdict: str) -> None:
    assert entry(ap).verdict == verdict
    assert entry(ap).difference == pytest.approx(ap - 0.501)


def test_another_loss_has_a_line_of_its_own() -> None:
    entries = [entry(0.5), entry(0.51, loss="exact", config_hash="c" * 64)]
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(*tables(entries, ["table5"]))
    lines = [line for line in console.export_text().splitlines() if line.split()[:1] == ["brs-r50"]]
    assert len(lines) == 2 and "50.00" in lines[0] and "--loss exact" in lines[1] and "51.00" in lines[1]
    assert entry_line(entries[1]).startswith("brs-r50 --loss exact")


def test_a_trial_is_not_compared() -> None:
    trial = entry(0.501, kind="smoke")
    assert (trial.verdict, trial.difference) == ("smoke", None)
    assert "not comparable" in entry_line(trial)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    ledger = tmp_path / "new" / "ledger.json"
    assert read_ledger(ledger) == []
    first, second = entry(), entry(0.502, seed=1)
    add_to_ledger(ledger, first)
    add_to_ledger(ledger, second)
    assert read_ledger(ledger) == [first, second]
    stored = json.loads(ledger.read_text())["entries"][0]
    assert (stored["difference"], stored["verdict"]) == (-0.001, "reproduced")
    assert list(ledger.parent.iterdir()) == [ledger]


def test_the_same_run_again_takes_the_place_of_the_first(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.json"
    for one in (entry(), entry(seed=1), entry(0.51, date="2026-01-02"), entry(config_hash="c" * 64)):
        add_to_ledger(ledger, one)
    assert [(one.seed, one.metrics["AP"], one.config_hash[0]) for one in read_ledger(ledger)] == [
        *((1, 0.5, "a"), (0, 0.51, "a"), (0, 0.5, "c"))
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "damaged or not a ledger"),
        ("[]", "damaged or not a ledger"),
        ('{"format_version": 1, "entries": [{}]}', "damaged or not a ledger"),
        ('{"format_version": 1, "entries": 3}', "damaged or not a ledger"),
        ('{"format_version": 9, "entries": []}', "a later version"),
    ],
)
def test_a_file_that_is_no_ledger_stays_as_it_is(tmp_path: Path, text: str, message: str) -> None:
    ledger = tmp_path / "ledger.json"
    ledger.write_text(text)
    with pytest.raises(UserError, match=message):
        add_to_ledger(ledger, entry())
    assert ledger.read_text() == text


def shown(*entries: LedgerEntry) -> dict[str, str]:
    """The printed lines of Table 5 by row."""
    console = Console(width=200)
    with console.capture() as capture:
        console.print(tables(entries, ["table5"])[0])
    lines = [line.split() for line in capture.get().splitlines()]
    return {words[0]: " ".join(words[1:]) for words in lines if words}


def test_tables_show_the_mean_over_seeds_and_leave_the_rest_empty() -> None:
    found = shown(entry(0.5), entry(0.502, seed=1), entry(0.9, kind="smoke"))
    assert found["brs-r50"].startswith("BRS-DETR R-50 12 50.1 50.10 ± 0.14 +0.00 50.1")
    assert found["brs-r50"].endswith("reproduced: trained, seeds 0, 1")
    assert found["co-r50"] == "Co-DETR R-50 12 49.3 - - - - - - - not run"


def test_what_was_trained_here_goes_before_released_weights() -> None:
    released = entry(0.499, kind="released weights", seed=None)
    assert shown(released)["brs-r50"].endswith("reproduced: released weights")
    assert shown(entry(0.4), released)["brs-r50"].endswith("below: trained, seed 0")


def test_results_of_another_recipe_or_other_data_are_not_averaged() -> None:
    found = shown(entry(0.4, config_hash="c" * 64), entry(0.3, data_hash="d" * 64), entry(0.501))
    assert found["brs-r50"].startswith("BRS-DETR R-50 12 50.1 50.10 +0.00 50.1")
    assert found["brs-r50"].endswith("reproduced: trained, seed 0")


def test_groups_of_classes_are_kept(tmp_path: Path) -> None:
    found = dict.fromkeys((*METRICS, "mask_AP", "AP_rare", "mask_AP_frequent", "AR_100"), 0.25)
    one = entry(metrics=kept_metrics(found))
    assert one.metrics.keys() == found.keys() - {"AR_100"}
    add_to_ledger(tmp_path / "ledger.json", one)
    assert read_ledger(tmp_path / "ledger.json") == [one]
