"""Train and evaluate on several processes: `python several_processes.py CONFIG DATA TRAINED FOLDER`.

TRAINED is the folder of a run of two epochs. Written into FOLDER: `evaluated1` to `evaluated3`, that run evaluated on
so many processes, and `evaluated1_rank0.json` and so on, its best checkpoint as each of them measures it; `joined1` and
`joined2`, a training in which neither of two processes meets an object in the first epoch, and the second one does not
in the second either; on one process the same images are one batch.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from forked_runs import finish, start
from mmengine.dist import get_world_size
from rich.console import Console

from brs_detr.checkpoints.checkpoint import read_checkpoint
from brs_detr.evaluation.evaluate import evaluate
from brs_detr.training.train import train
from brs_detr.training.training_samples import TrainingSamples

QUIET = Console(quiet=True)


def lose_objects() -> None:
    """Remove the objects of all images in the first epoch, and of every second image in the second."""
    read = TrainingSamples.__getitem__
    num_read = 0

    def get(self: TrainingSamples, index: int) -> Any:
        nonlocal num_read
        sample = read(self, index)
        truth = sample["data_samples"].gt_instances
        truth.bboxes.tensor = truth.bboxes.tensor.double()
        is_second = num_read % 2 == 1 if get_world_size() == 1 else is_rank_one
        num_read += 1
        if self.epoch == 0 or is_second:
            sample["data_samples"].gt_instances = truth[:0]
        return sample

    from mmengine.dist import get_rank

    is_rank_one = get_rank() == 1
    TrainingSamples.__getitem__ = get


def main(config: Path, data: Path, trained: Path, folder: Path) -> None:
    def train_and_evaluate(name: str) -> Callable[[int], object]:
        shutil.copytree(trained, folder / name)
        overrides = ["val_dataloader.batch_size=1"]

        def work(rank: int) -> None:
            train(config, data, folder / name, epochs=2, resume=True, overrides=overrides, console=QUIET)
            checkpoint = read_checkpoint(trained)
            checkpoint.config.test_dataloader.batch_size = 1
            evaluation = evaluate(checkpoint, data, "val", console=QUIET)
            found = {"metrics": evaluation.metrics, "predictions": evaluation.predictions}
            (folder / f"{name}_rank{rank}.json").write_text(json.dumps(found))

        return work

    for num_processes in (1, 2, 3):
        finish(start(num_processes, train_and_evaluate(f"evaluated{num_processes}")))
    for num_processes in (1, 2):

        def learn(rank: int, num_processes: int = num_processes) -> None:
            from brs_detr.mm.platform import prepare
            from brs_detr.training import train as module

            prepare()
            join = module.join_processes

            def join_and_lose(config: Any) -> None:
                join(config)
                lose_objects()

            module.join_processes = join_and_lose
            torch.set_default_dtype(torch.float64)
            torch.float32 = torch.float64  # for code that uses it by name
            torch.Tensor.float = torch.Tensor.double
            shuffled = torch.randperm
            torch.randperm = lambda n, **kw: (
                shuffled(n, **kw) if "generator" in kw else torch.arange(n)
            )  # sampler, model
            from mmdet.models.task_modules import AnchorGenerator

            AnchorGenerator.grid_priors.__defaults__ = (torch.float64, "cpu")
            # Random weights predict the boxes that they refine, some of which are exact: |x| has no derivative there.
            overrides = [
                f"train_dataloader.batch_size={2 // num_processes}",
                f"load_from={trained}/checkpoints/last.pth",
            ]
            work_dir = folder / f"joined{num_processes}"
            train(config.with_name("joined.py"), data, work_dir, seed=3, epochs=2, overrides=overrides, console=QUIET)

        finish(start(num_processes, learn))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
