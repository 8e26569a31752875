from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from brs_detr.cli import main
from brs_detr.cli.train import TrainingCommand, conclude, resumable, resume_option, wants_to_resume
from brs_detr.training.train import TrainedRun


def interrupt(work_dir: Path) -> None:
    with pytest.raises(SystemExit) as stop, resumable(work_dir):
        raise KeyboardInterrupt
    assert stop.value.code == 130


def test_interrupt_after_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["brs-detr", "finetune", "my data", "--resume"])
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.pth").touch()
    interrupt(tmp_path)
    assert "To resume:\n  brs-detr finetune 'my data' --resume\n" in capsys.readouterr().err


def test_interrupt_before_any(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interrupt(tmp_path)
    assert "Stopped before the first checkpoint." in capsys.readouterr().err


def test_run_that_was_never_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conclude(TrainedRun(tmp_path, 1, -1.0), with_report=False)
    assert capsys.readouterr().out == f"Not evaluated. The weights are in {tmp_path / 'checkpoints' / 'last.pth'}\n"


def test_only_the_first_process_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    conclude(TrainedRun(tmp_path, 1, -1.0), with_report=True)
    assert capsys.readouterr().out == ""


@pytest.mark.fault(
    "Interruptions",
    "the same command is run again, by a person or a scheduler",
    "`--resume auto` resumes from a checkpoint, or starts if there is none",
)
def test_going_on_where_there_is_something(tmp_path: Path) -> None:
    assert not wants_to_resume(None, tmp_path)
    assert wants_to_resume("last", tmp_path)  # later refused with a message
    assert not wants_to_resume("auto", tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "previous.pth").touch()
    assert wants_to_resume("auto", tmp_path)
    assert not wants_to_resume(None, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "resume"),
    [
        ([], None),
        (["--resume"], "last"),
        (["--resume", "auto"], "auto"),
        (["--resume=auto"], "auto"),
        (["--resume", "--amp"], "last"),
    ],
)
@pytest.mark.parametrize("is_last", [True, False])
def test_what_follows_resume_is_not_its_value(arguments: list[str], resume: str | None, is_last: bool) -> None:
    @click.command(cls=TrainingCommand)
    @click.argument("config")
    @click.option("--amp", is_flag=True)
    @resume_option
    def command(config: str, amp: bool, resume: str | None) -> None:
        click.echo(f"{config} {resume}")

    given = ["my.py", *arguments] if is_last else [*arguments, "my.py"]
    assert CliRunner().invoke(command, given).output == f"my.py {resume}\n"


def add(categories: list[dict[str, Any]]) -> None:
    categories.append({"id": 50, "name": "bird"})


def remove(categories: list[dict[str, Any]]) -> None:
    del categories[-1]


def rename(categories: list[dict[str, Any]]) -> None:
    categories[0]["name"] = "bird"


def reorder(categories: list[dict[str, Any]]) -> None:
    first, second = categories[:2]
    first["name"], second["name"] = second["name"], first["name"]


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (add, "new: bird."),
        (remove, "missing: cross."),
        (rename, "new: bird; missing: circle."),
        (reorder, "in another order: square, circle, where the run has circle, square."),
    ],
)
@pytest.mark.parametrize("command", ["train --resume", "train --resume auto", "finetune --resume"])
@pytest.mark.fault(
    "Checkpoints",
    "a run is resumed with data in which a class was added, removed, renamed or moved",
    "refused, with the names; nothing is written",
)
def test_other_classes_are_not_resumed(
    command: str,
    change: Callable[[list[dict[str, Any]]], None],
    difference: str,
    trained: TrainedRun,
    tiny_config: Path,
    shapes: Path,
    tmp_path: Path,
) -> None:
    run, data = (Path(shutil.copytree(path, tmp_path / path.name)) for path in (trained.work_dir, shapes))
    for file in (data / "annotations").iterdir():
        content = json.loads(file.read_text())
        change(content["categories"])
        known = {category["id"] for category in content["categories"]}
        content["annotations"] = [box for box in content["annotations"] if box["category_id"] in known]
        file.write_text(json.dumps(content))
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "tuning": {"start": "nothing", "weights": "none"}}))
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    name, *resume = command.split()
    given = {"train": [tiny_config, "--data", data], "finetune": [data, "--model", tiny_config]}[name]
    result = CliRunner().invoke(main, list(map(str, [name, *given, "--work-dir", run, *resume])))
    assert result.exit_code == 2, result.output
    assert f"does not have the classes of the run; {difference}" in result.stderr
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
