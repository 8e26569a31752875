"""All steps from a row of the paper to its entry in the ledger, with a tiny model."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from brs_detr.cli import main
from brs_detr.reproduce.ledger import MASK_METRICS, LedgerEntry, read_ledger
from brs_detr.reproduce.tables import ROWS

ROW = ["reproduce", "table5", "--row", "brs-r50", "--smoke"]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def entry_of(out: Path) -> LedgerEntry:
    (entry,) = read_ledger(out / "ledger.json")
    return dataclasses.replace(entry, date="")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a smoke test that was not interrupted."""
    out = tmp_path_factory.mktemp("reproduce") / "out"
    result = invoke(*ROW, "--out", out)
    assert result.exit_code == 0, result.output
    assert "brs-r50: every step works" in result.output
    return out


def test_a_trial_writes_everything_into_the_ledger(uninterrupted: Path) -> None:
    entry = entry_of(uninterrupted)
    assert (entry.row, entry.kind, entry.verdict, entry.seed) == ("brs-r50", "smoke", "smoke", 0)
    assert (entry.effective_batch, entry.num_processes) == (16, 1)
    assert entry.config == "brs-co-deformable-detr_r50_8xb2-12e_coco"
    assert 0 <= entry.metrics["AP"] < 1
    assert {"device", "torch", "mmdet", "python"} <= entry.environment.keys()
    for file in (entry.weights, entry.log, "smoke/brs-r50/seed0/recipe.py", "smoke/brs-r50/seed0/eval/pictures.jpg"):
        assert (uninterrupted / file).is_file(), file


@pytest.mark.fault(
    "Reproducing the paper", "a row is killed", "the same command resumes it; the ledger gets the same entry"
)
def test_a_run_that_was_killed_ends_with_the_same_entry(uninterrupted: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "brs_detr.cli", *ROW, "--out", str(tmp_path)]
    run = tmp_path / "smoke" / "brs-r50" / "seed0" / "run"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        deadline = time.monotonic() + 300
        while not (run / "checkpoints" / "last.pth").exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        output = process.communicate()[0]
    assert process.returncode == -signal.SIGKILL, output
    assert json.loads((run / "run.json").read_text())["status"] == "running"
    assert not (tmp_path / "ledger.json").exists()
    result = invoke(*ROW, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert entry_of(tmp_path) == entry_of(uninterrupted)
    again = invoke(*ROW, "--out", tmp_path)
    assert "The training is complete" in again.output
    assert entry_of(tmp_path) == entry_of(uninterrupted)


@pytest.mark.slow
def test_two_processes_share_the_batch(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "brs_detr.cli", *ROW, "--gpus", "2", "--out", str(tmp_path)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    entry = entry_of(tmp_path)
    assert (entry.num_processes, entry.effective_batch) == (2, 16)


@pytest.mark.slow
def test_two_machines_train_one_row(tmp_path: Path) -> None:
    """This machine plays both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        head = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "brs_detr.cli", *ROW, "--machines", "2", "--head", head, "--out", str(tmp_path)]
    streams = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    processes = [subprocess.Popen([*command, "--rank", rank], **streams, env=environment) for rank in ("0", "1")]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    entry = entry_of(tmp_path)
    assert (entry.num_processes, entry.effective_batch) == (2, 16)


@pytest.mark.slow
def test_two_processes_that_were_killed_go_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "brs_detr.cli", *ROW, "--gpus", "2", "--out"]
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([*command, str(whole)], check=True, capture_output=True, env=environment)
    last = halves / "smoke" / "brs-r50" / "seed0" / "run" / "checkpoints" / "last.pth"
    process = subprocess.Popen([*command, str(halves)], stdout=subprocess.DEVNULL, env=environment)
    while not last.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(["pkill", "-KILL", "-f", str(halves)], check=True)  # torchrun and its workers
    time.sleep(1)
    again = subprocess.run([*command, str(halves)], capture_output=True, text=True, env=environment)
    assert again.returncode == 0, again.stdout + again.stderr
    assert entry_of(halves) == entry_of(whole)


@pytest.mark.fault("Reproducing the paper", "the recipe has changed since the run started", "refused")
def test_a_run_of_another_recipe_is_not_continued(uninterrupted: Path, tmp_path: Path) -> None:
    shutil.copytree(uninterrupted / "smoke", tmp_path / "smoke")
    recipe = tmp_path / "smoke" / "brs-r50" / "seed0" / "recipe.py"
    recipe.write_text(recipe.read_text() + "# changed\n")
    result = invoke(*ROW, "--out", tmp_path)
    assert result.exit_code == 2
    assert "holds a run with another recipe" in result.output


@pytest.mark.parametrize(
    ("table", "row", "masks"), [("table2", "rs-atss-r50", False), ("table8", "brs-mask-rcnn-r50-lvis", True)]
)
def test_a_trial_of_another_detector(table: str, row: str, masks: bool, tmp_path: Path) -> None:
    result = invoke("reproduce", table, "--row", row, "--smoke", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert f"{row}: every step works" in result.output
    entry = entry_of(tmp_path)
    assert (entry.kind, entry.metric) == ("smoke", "mask_AP" if masks else "AP")
    assert set(MASK_METRICS) <= entry.metrics.keys() if masks else not set(MASK_METRICS) & entry.metrics.keys()
    shown = invoke("reproduce", "--show", table, "--out", tmp_path)
    assert f"Smoke test: {row}" in shown.output


def test_a_plan_of_another_detector(tmp_path: Path) -> None:
    result = invoke("reproduce", "table1", "--row", "brs-cascade-rcnn-r50", "--gpus", "2", "--plan", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "Cascade R-CNN, R-50, BRS: 41.1 AP in the paper" in result.output
    assert "16 = 2 processes x 4 images x 2 accumulated" in result.output
    assert "about 14 h on 2 A100, of the published 0.29 s a step on 4" in " ".join(result.output.split())
    unknown = invoke("reproduce", "table1", "--row", "alrp-faster-rcnn-r50", "--gpus", "4", "--plan", "--out", tmp_path)
    assert "no published AP" in unknown.output and "time    unknown" in unknown.output


def test_show_prints_all_tables_and_says_what_is_empty(uninterrupted: Path, tmp_path: Path) -> None:
    result = invoke("reproduce", "--show", "--out", uninterrupted)
    assert result.exit_code == 0, result.output
    for text in ("Table 5", "Table 6", "57.2", "H-Deformable-DETR", "Smoke test: brs-r50: every step works"):
        assert text in result.output
    assert result.output.count("not run") == 6 + 2 + 2 + sum(bool(row.loss) for row in ROWS)
    assert "There are no results yet" in invoke("reproduce", "--show", "--out", tmp_path).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reproduce"], "Name a table"),
        (["reproduce", "table7", "--eval-only"], "No weights are released for a row of table7"),
        (["reproduce", "table8", "--coco", "data/coco"], "--coco has no effect here: these rows use --lvis DIR"),
        (["reproduce", "table9"], "'table9' is not one of 'table1', 'table2'"),
        (["reproduce", "table5", "--row", "brs-r51"], "Did you mean 'brs-r50'"),
        (["reproduce", "table5", "--data", "demo"], "--data is for --smoke"),
        (["reproduce", "table5", "--weights", "x.pth"], "--weights is for --eval-only"),
        (["reproduce", "table5", "--smoke", "--gpus", "3"], "cannot be shared evenly by 3 GPUs"),
        (["reproduce", "table5", "--smoke", "--data", "nowhere"], "There is no dataset folder nowhere"),
        (["reproduce", "table6", "--row", "dino-r50"], "is not trained by this package"),
        (["reproduce", "table6", "--row", "dn-detr-r50", "--eval-only"], "is not trained by this package"),
        (["reproduce", "table5", "--row", "brs-r50", "--eval-only", "--coco", "nowhere"], "is not COCO 2017"),
        (["reproduce", "table5", "--smoke", "--machines", "2"], "Add --head HOST:PORT"),
        (["reproduce", "table5", "--smoke", "--machines", "2", "--head", "a:1", "--rank", "2"], "Ranks go from 0 to 1"),
        (["reproduce", "table5", "--slurm", "x.sh"], "name it with --row"),
        (["reproduce", "table5", "--row", "brs-r50", "--slurm", "x.sh"], "add --gpus N"),
        (
            ["reproduce", "table6", "--row", "dino-r50", "--eval-only", "--slurm", "x.sh"],
            "--eval-only cannot be combined",
        ),
        (["reproduce", "table6", "--row", "dino-r50", "--eval-only", "--plan"], "--eval-only cannot be combined"),
        (["reproduce", "table5", "--eval-only", "--smoke"], "--eval-only cannot be combined"),
        (["reproduce", "table6", "--row", "dino-r50", "--eval-only", "--mirror", "http://x"], "--mirror is for"),
        (["reproduce", "table5", "--smoke", "--machines", "2", "--head", "a:1"], "train one row at a time"),
    ],
)
def test_wrong_input(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = invoke(*arguments, "--out", tmp_path)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "ledger.json").exists()


def test_the_script_for_slurm_has_the_machines_and_the_command(tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    machines = ["--gpus", "4", "--machines", "2", "--slurm", script]
    result = invoke("reproduce", "table5", "--row", "co-r50", "--seed", "3", "--out", tmp_path, *machines)
    assert result.exit_code == 0, result.output
    text = script.read_text()
    assert "#SBATCH --nodes=2" in text and "#SBATCH --gpus-per-node=4" in text
    assert f"reproduce table5 --row co-r50 --gpus 4 --seed 3 --coco data/coco --out {tmp_path} " in text
    assert subprocess.run(["bash", "-n", script]).returncode == 0


def test_without_a_gpu_no_training_of_months_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = invoke("reproduce", "table5", "--row", "brs-r50", "--out", tmp_path)
    assert result.exit_code == 2
    assert "This machine has no GPU" in result.output
