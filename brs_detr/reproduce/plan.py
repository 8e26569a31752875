"""What reproducing a row will take, before it begins."""

from __future__ import annotations

from dataclasses import dataclass

from brs_detr.reproduce.batch import Batch
from brs_detr.reproduce.coco import COCO_2017
from brs_detr.reproduce.tables import Row

PAPER_GPUS = 8


@dataclass(frozen=True)
class Plan:
    """A training of a row on COCO.

    Args:
        row: what to reproduce.
        batch: how the effective batch comes about.
        hours_on_8: predicted, on 8 A100 as in the paper.
        gib: predicted memory of a GPU.
    """

    row: Row
    batch: Batch
    hours_on_8: float
    gib: float

    @property
    def steps_an_epoch(self) -> int:
        """Optimizer steps."""
        return -(-COCO_2017["train"].num_images // self.batch.effective)

    @property
    def hours(self) -> float:
        """On as many A100s as there are processes."""
        return self.hours_on_8 * PAPER_GPUS / self.batch.num_processes

    def lines(self) -> list[str]:
        """The plan in words."""
        row, steps = self.row, self.steps_an_epoch
        num_gpus = self.batch.num_processes
        return [
            f"{row.detector}, {row.backbone}: {100 * row.paper_ap:.1f} AP in the paper",
            f"  config  {row.config}",
            f"  steps   {steps * row.epochs:,}: {row.epochs} epochs of {steps:,}",
            f"  batch   {self.batch}",
            f"  time    about {self.hours:.0f} h on {num_gpus} A100, of the paper's 0.69 s a step on 8 for R-50",
            f"  memory  about {self.gib:.0f} GiB a GPU for weights, optimizer and what the backward pass needs",
        ]


def make_plan(row: Row, batch: Batch) -> Plan:
    """Predict time and memory from what the model computes and keeps.

    Args:
        row: one with a config.
        batch: from `brs_detr.reproduce.batch.share_out`.
    """
    from brs_detr.engine.config import load_config
    from brs_detr.reproduce.cost import REFERENCE, predicted_hours, training_cost

    assert row.config is not None
    cost = training_cost(load_config(row.config))
    hours = predicted_hours(cost, training_cost(load_config(REFERENCE)))
    share = batch.images_per_process / 2
    return Plan(row, batch, hours, (cost.state_bytes + share * cost.activation_bytes) / 2**30)
