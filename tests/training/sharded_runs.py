"""Train a model that is sharded over two processes, and one that is not: `python sharded_runs.py CONFIG DATA FOLDER`.

FOLDER receives the runs `copied`, `shared` (sharded), and `resumed` (sharded, interrupted after four of six steps).
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from forked_runs import finish, start
from rich.console import Console

from brs_detr.run.run_folder import RunFolder
from brs_detr.training.train import train
from brs_detr.training.train_loop import TrainLoop


class _Enough(Exception):
    pass


def main(config: Path, data: Path, folder: Path) -> None:
    def work(name: str, fsdp: bool, steps: int = 100) -> None:
        run_iter = TrainLoop.run_iter

        def run(self: TrainLoop, index: int, batch: Any) -> None:
            if self.iter == steps:
                raise _Enough
            run_iter(self, index, batch)

        TrainLoop.run_iter = run
        overrides = [f"fsdp={fsdp}", "train_cfg.save_minutes=0", "train_dataloader.batch_size=1"]
        run_folder = RunFolder(folder / name)
        options = dict(overrides=overrides, epochs=2, resume=run_folder.can_resume, seed=3, console=Console(quiet=True))
        with suppress(_Enough):
            train(config, data, run_folder.path, **options)

    finish(start(2, lambda rank: work("copied", False)))
    finish(start(2, lambda rank: work("shared", True)))
    finish(start(2, lambda rank: work("resumed", True, steps=4)))
    finish(start(2, lambda rank: work("resumed", True)))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
