"""One process and several give the same results, and no process hangs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from forked_runs import run_script
from scalars import read_scalars

from brs_detr.checkpoints.plain_file import load_plain
from brs_detr.run.run_folder import RunFolder
from brs_detr.training.train import TrainedRun

JOINED = """
optim_wrapper.update(optimizer=dict(_delete_=True, type="SGD", lr=0.01))  # AdamW amplifies rounding
param_scheduler = []
gathering = dict(gather_ranking=True)
model["backbone"].update(norm_eval=True, frozen_stages=0)
model["query_head"].update(gathering)
model["rpn_head"].update(gathering)
model["roi_head"]["bbox_head"].update(gathering)
model["atss_head"].update(gathering)
"""


@pytest.fixture(scope="module")
def folder(tiny_config: Path, shapes: Path, trained: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tiny_config.with_name("joined.py").write_text(tiny_config.read_text() + JOINED)
    out = tmp_path_factory.mktemp("several")
    run_script("several_processes.py", tiny_config, shapes, trained.work_dir, out)
    return out


def weights(path: Path) -> torch.Tensor:
    values = load_plain(path)["state_dict"].values()
    return torch.cat([value.flatten().double() for value in values if value.is_floating_point()])


@pytest.mark.parametrize("num_processes", [2, 3])
@pytest.mark.fault(
    "Several processes",
    "an evaluation whose images do not divide evenly among processes",
    "no image counts twice; AP and predictions equal those of one process, to the last digit",
)
def test_an_evaluation_gives_the_same_on_any_number(num_processes: int, folder: Path) -> None:
    """Four images, which three processes cannot share evenly."""
    alone, together = RunFolder(folder / "evaluated1"), RunFolder(folder / f"evaluated{num_processes}")
    assert json.loads(alone.predictions.read_text())
    assert together.predictions.read_text() == alone.predictions.read_text()
    first, second = (read_scalars(run.scalars).val[-1] for run in (alone, together))
    assert first["step"] == 2
    assert {key: value for key, value in second.items() if "coco" in key} == {
        key: value for key, value in first.items() if "coco" in key
    }


@pytest.mark.parametrize("num_processes", [2, 3])
def test_a_checkpoint_is_evaluated_the_same_by_any_number(num_processes: int, folder: Path) -> None:
    """All processes have the metrics, and the first one has all predictions."""
    alone, *together = (
        json.loads((folder / f"evaluated{number}_rank{rank}.json").read_text())
        for number in (1, num_processes)
        for rank in range(number)
    )
    assert alone["predictions"]
    assert together[0] == alone
    assert together[1:] == [{"metrics": alone["metrics"], "predictions": []}] * (num_processes - 1)


@pytest.mark.fault(
    "Several processes",
    "a process, or all, without objects for a whole epoch",
    "nothing hangs; the weights are those of one process with the whole batch",
)
def test_a_process_without_objects_trains_as_one_with_the_whole_batch(folder: Path) -> None:
    """In the first epoch neither process has objects, in the second only one does; all rank together."""
    runs = [RunFolder(folder / f"joined{number}") for number in (1, 2)]
    alone, together, before = map(weights, (runs[0].last, runs[1].last, runs[0].previous))
    assert 0 < (together - alone).norm() <= 1e-6 * (alone - before).norm()
    first, second = (read_scalars(run.scalars).train for run in runs)
    assert len(first) == len(second) == 6
    assert all(record["loss"] == 0 for record in (*first[:3], *second[:3]))
