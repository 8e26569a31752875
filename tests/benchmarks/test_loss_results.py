from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from bench_records import ENVIRONMENT, made_up_result

from brs_detr.errors import UserError
from measuring.loss_results import read_result
from measuring.results import default_path, require_writable, write_result


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text("an earlier one")
    result = made_up_result()
    write_result(file, result.environment, [dataclasses.asdict(record) for record in result.records])
    assert read_result(file) == result
    assert list(tmp_path.iterdir()) == [file]
    record = json.loads(file.read_text())["records"][0]
    wanted = {"num_logits", "num_positives", "implementation", "median_s", "peak_extra_bytes", "operations"}
    assert wanted <= record.keys()


def test_the_name_says_device_and_version() -> None:
    assert default_path(ENVIRONMENT, "losses") == Path("benchmarks/results/losses_some-cpu-2-ghz_torch2.9.0.json")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "it is not JSON"),
        ("[]", "it has no object 'environment'"),
        ('{"environment": {}, "records": []}', "it has no list 'records'"),
        ('{"environment": {}, "records": [7]}', "record 0 has no"),
        ('{"environment": {}, "records": [{"suite": "paper"}]}', "record 0 has no 'bytes_per_s'"),
    ],
)
def test_other_files_are_refused(content: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(UserError, match="other.json is not a result") as refusal:
        read_result(tmp_path / "other.json")
    assert reason in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot open the result"):
        read_result(tmp_path / "none.json")


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        require_writable(tmp_path / "file" / "result.json")
    with pytest.raises(UserError, match="is a folder"):
        require_writable(tmp_path)
    require_writable(tmp_path / "new" / "result.json")
    assert list((tmp_path / "new").iterdir()) == []
