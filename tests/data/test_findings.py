from __future__ import annotations

from pathlib import Path

import pytest

from brs_detr.data.findings import Example, Finding, Findings
from brs_detr.data.kinds import SEVERITIES, FaultKind
from brs_detr.errors import UserError

ERROR, WARNING, NOTE = (FaultKind(severity, f"cure of {severity}", severity) for severity in SEVERITIES)


def test_an_error_is_fatal_and_nothing_else_is() -> None:
    assert [kind.is_fatal for kind in (ERROR, WARNING, NOTE)] == [True, False, False]
    assert FaultKind("what", "cure").is_fatal


def test_fifty_examples_are_kept_and_three_are_shown() -> None:
    finding = Finding.of(ERROR, [f"e{number}" for number in range(80)])
    assert (finding.count, len(finding.shown), finding.examples) == (80, 50, ("e0", "e1", "e2"))
    assert str(finding) == "error: 80 (e0; e1; e2; and 77 more)"


def test_a_total_says_of_how_many() -> None:
    assert str(Finding.of(NOTE, ["e"], total=9)) == "note: 1 of 9 (e)"


def test_findings_of_one_kind_are_joined() -> None:
    example = Example("second", image_id=3)
    joined = Finding.of(ERROR, ["first"]).joined(Finding.of(ERROR, [example] * 60))
    assert joined.count == 61 and joined.shown[:2] == (Example("first"), example) and len(joined.shown) == 50


def test_findings_are_told_apart_by_severity_and_errors_refused() -> None:
    findings = Findings(Path("train.json"), tuple(Finding.of(kind, ["here"]) for kind in (NOTE, ERROR, WARNING)))
    assert [finding.kind for finding in findings.fatal] == [ERROR]
    assert [finding.kind for finding in findings.warnings] == [WARNING]
    assert findings.count(NOTE) == 1
    with pytest.raises(UserError) as caught:
        findings.refuse_fatal()
    assert str(caught.value) == "train.json cannot be used:\n  - error: 1 (here)\n      cure of error"
