from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from brs_detr.cli import main
from brs_detr.errors import UserError
from brs_detr.run import locks
from brs_detr.run.locks import Holder, hold_run
from brs_detr.run.run_folder import RunFolder

QUIET = Console(quiet=True)
ELSEWHERE = Holder("node7", 4711, "2030-01-01T00:00:00+00:00", boot="another", job="17", restarts=1)


@contextmanager
def training(folder: Path) -> Iterator[subprocess.Popen]:
    """A process that holds the lock of a run, as a training does."""
    script = f"""
from pathlib import Path
from rich.console import Console
from brs_detr.run.run_folder import RunFolder
from brs_detr.run.locks import _hold
with _hold(RunFolder(Path({str(folder)!r})), Console(quiet=True)):
    print("held", flush=True)
    input()
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run folder with some files of a training."""
    run = RunFolder(tmp_path / "run")
    run.last.parent.mkdir(parents=True)
    run.last.write_bytes(b"weights")
    tuning = {"start": "nothing", "weights": "random weights"}
    run.record.write_text(json.dumps({"seed": 1, "tuning": tuning, "overrides": [], "config": "r18", "amp": False}))
    return run


def leave_behind(run: RunFolder, holder: Holder) -> None:
    run.lock.write_text(json.dumps(asdict(holder)))


def contents(folder: Path) -> dict[Path, tuple[int, bytes | None]]:
    paths = [folder, *folder.rglob("*")]
    return {path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None) for path in paths}


@pytest.mark.fault(
    "Interruptions",
    "a second training in the folder of a running one, with or without `--resume`",
    "refused, with host and process of the first; nothing is written",
)
def test_a_second_training_is_refused(run: RunFolder, tiny_config: Path, shapes: Path) -> None:
    with training(run.path) as first:
        before = contents(run.path)
        for resume in ([], ["--resume"], ["--resume", "auto"]):
            for command in (["train", tiny_config, "--data", shapes], ["finetune", shapes, "--model", tiny_config]):
                result = CliRunner().invoke(main, list(map(str, [*command, "--work-dir", run.path, *resume])))
                assert result.exit_code == 2, result.output
                assert f"Another training runs in {run.path}: process {first.pid} on " in result.stderr
        assert contents(run.path) == before


def test_the_lock_goes_with_its_holder(run: RunFolder, tmp_path: Path) -> None:
    with hold_run(run, QUIET):
        assert json.loads(run.lock.read_text())["process"] == os.getpid()
    assert not run.lock.exists() and run.last.exists()
    with pytest.raises(RuntimeError), hold_run(RunFolder(tmp_path / "a" / "new"), QUIET):
        raise RuntimeError
    assert not (tmp_path / "a").exists()
    (tmp_path / "mine").mkdir()
    with hold_run(RunFolder(tmp_path / "mine"), QUIET):
        pass
    assert (tmp_path / "mine").exists()


@pytest.mark.fault(
    "Interruptions",
    "the lock of a training that was killed",
    "recognised as stale and reported; the next training continues",
)
def test_the_lock_of_a_killed_training(run: RunFolder) -> None:
    with training(run.path) as first:
        first.kill()
        first.wait()
        assert run.lock.exists()
        console = Console(file=(text := io.StringIO()), width=500)
        with hold_run(run, console):
            assert json.loads(run.lock.read_text())["process"] == os.getpid()
    assert f"The previous training was killed: process {first.pid} on " in text.getvalue()
    assert not run.lock.exists()


@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.fault(
    "Several processes",
    "the lock of a training on another machine that has crashed",
    "released with the machine on file systems that share locks; elsewhere the message names the file to remove",
)
def test_the_lock_of_another_machine(is_shared: bool, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_behind(run, ELSEWHERE)
    monkeypatch.setattr(locks, "is_locked_for_all", lambda _: is_shared)
    if is_shared:
        with hold_run(run, QUIET):
            pass
        return
    before = contents(run.path)
    with (
        pytest.raises(UserError, match=r"may still run in .*: process 4711 on node7, since 2030(.|\n)*remove .*\.lock"),
        hold_run(run, QUIET),
    ):
        pass
    assert contents(run.path) == before


@pytest.mark.parametrize(("restarts", "goes_on"), [(2, True), (1, False)])
@pytest.mark.fault(
    "Several processes",
    "Slurm requeues a killed training on another node",
    "it resumes, because Slurm has ended the previous one",
)
def test_a_job_that_was_queued_again(
    restarts: int, goes_on: bool, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_behind(run, ELSEWHERE)
    monkeypatch.setattr(locks, "is_locked_for_all", lambda _: False)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
    if goes_on:
        with hold_run(run, QUIET):
            pass
    else:  # a second step of the job that still runs
        with pytest.raises(UserError, match="may still run"), hold_run(run, QUIET):
            pass


def test_where_there_are_no_locks_the_record_stands(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def no_lock(*_: object, wait: bool) -> Iterator[None]:
        yield None

    monkeypatch.setattr(locks, "hold", no_lock)
    with hold_run(run, QUIET), pytest.raises(UserError, match="may still run"), hold_run(run, QUIET):
        pass
    assert not run.lock.exists()


def test_a_machine_that_is_gone_for_good_may_hold_a_lock(run: RunFolder) -> None:
    with training(run.path):
        here = Holder(**json.loads(run.lock.read_text()))
        leave_behind(run, replace(here, boot="another"))
        with pytest.raises(UserError, match=r"If that machine is gone for good, remove .*\.lock"), hold_run(run, QUIET):
            pass


def test_a_lock_that_is_not_written_yet(run: RunFolder) -> None:
    with training(run.path):
        run.lock.write_text("")
        with pytest.raises(UserError, match="a process that has just started"), hold_run(run, QUIET):
            pass


def test_the_first_process_is_refused_for_all(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = pickle.loads(pickle.dumps(UserError("Another training runs.", "Wait.")))  # as it is sent
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(locks, "from_first", lambda _: refusal)
    with pytest.raises(UserError, match=r"Another training runs\.\n  Wait\."), hold_run(run, QUIET):
        pass
    monkeypatch.setattr(locks, "from_first", lambda _: None)
    with hold_run(run, QUIET):
        assert not run.lock.exists()
