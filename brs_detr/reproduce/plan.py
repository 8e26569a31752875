"""What reproducing a row will take, before it begins."""

from __future__ import annotations

from dataclasses import dataclass

from brs_detr.config.config import load_config
from brs_detr.reproduce.batch import Batch, share_out
from brs_detr.reproduce.data_sets import DATA_SETS
from brs_detr.reproduce.tables import Row

_DETR_GPUS = 8  # of the paper, with 2 images each
_DETECTOR_GPUS = 4  # of the paper, with 4 images each
_SLURM_HOURS = 48.0  # where nothing is known


@dataclass(frozen=True)
class Plan:
    """A training of a row.

    Args:
        row: what to reproduce.
        batch: how the effective batch comes about.
        gpu_hours: predicted, of A100s; None where nothing is published to predict it from.
        origin: of that prediction.
        gib: predicted memory of a GPU; None for detectors whose cost is not counted.
    """

    row: Row
    batch: Batch
    gpu_hours: float | None
    origin: str
    gib: float | None

    @property
    def steps_an_epoch(self) -> int:
        """Optimizer steps."""
        return -(-DATA_SETS[self.row.data].epoch // self.batch.effective)

    @property
    def hours(self) -> float:
        """On as many A100s as there are processes; a guess where nothing is published."""
        return _SLURM_HOURS if self.gpu_hours is None else self.gpu_hours / self.batch.num_processes

    def lines(self) -> list[str]:
        """The plan in words."""
        row, steps, num_gpus = self.row, self.steps_an_epoch, self.batch.num_processes
        kind = "mask AP" if row.metric == "mask_AP" else "AP"
        figure = "no published AP" if row.paper_ap is None else f"{100 * row.paper_ap:.1f} {kind} in the paper"
        loss = f", {row.loss}" if row.loss else ""
        lines = [
            f"{row.detector}, {row.backbone}{loss}: {figure}",
            f"  config  {row.config}",
            f"  steps   {steps * row.epochs:,}: {row.epochs} epochs of {steps:,}",
            f"  batch   {self.batch}",
        ]
        if self.gpu_hours is None:
            lines.append("  time    unknown: no time of an iteration is published")
        else:
            lines.append(f"  time    about {self.hours:.0f} h on {num_gpus} A100, of {self.origin}")
        if self.gib is not None:
            lines.append(
                f"  memory  about {self.gib:.0f} GiB a GPU for weights, optimizer and what the backward pass needs"
            )
        return lines


def batch_of(row: Row, num_processes: int) -> Batch:
    """The batch of a row that is trained, on a number of processes.

    Raises:
        UserError: 16 images cannot be shared out evenly.
    """
    return share_out(num_processes, load_config(str(row.config)).train_dataloader.batch_size)


def make_plan(row: Row, num_processes: int) -> Plan:
    """Predict time and memory.

    Of a DETR from what the model computes and keeps, of the others from the time that is published for them.

    Args:
        row: one with a config.
        num_processes: one a GPU.

    Raises:
        UserError: 16 images cannot be shared out evenly.
    """
    batch = batch_of(row, num_processes)
    if row.loss:
        return _of_detector(row, batch)
    from brs_detr.reproduce.cost import REFERENCE, predicted_hours, training_cost

    cost = training_cost(load_config(str(row.config)))
    hours = predicted_hours(cost, training_cost(load_config(REFERENCE)))
    share = batch.images_per_process / 2
    gib = (cost.state_bytes + share * cost.activation_bytes) / 2**30
    return Plan(row, batch, _DETR_GPUS * hours, "the paper's 0.69 s a step on 8 for R-50", gib)


def _of_detector(row: Row, batch: Batch) -> Plan:
    if row.paper_s is None:
        return Plan(row, batch, None, "", None)
    steps = row.epochs * -(-DATA_SETS[row.data].epoch // batch.effective)
    gpu_hours = _DETECTOR_GPUS * steps * row.paper_s / 3600
    return Plan(row, batch, gpu_hours, f"the published {row.paper_s} s a step on {_DETECTOR_GPUS}", None)
