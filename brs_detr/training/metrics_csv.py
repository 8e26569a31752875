"""`metrics.csv`: losses and metrics of a run as a table that any program opens."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from mmengine.visualization.vis_backend import BaseVisBackend

from brs_detr.analysis.coco_ap import METRIC_NAMES
from brs_detr.run.memory import peak_memory_mb
from brs_detr.run.metrics_file import read_rows, write_rows
from brs_detr.run.run_folder import RunFolder

FIRST = ("iteration", "epoch", "lr", "images_per_second", "memory_mb", "grad_norm", "loss")


class MetricsCsv(BaseVisBackend):
    """One row for each record of mmengine's log: losses by iteration, metrics by epoch; what was not measured is empty.

    Columns are those of `FIRST`, every other loss by name, then the COCO metrics. A run that is resumed goes on after
    the last row: see `brs_detr.training.unsaved`.

    Args:
        save_dir: of mmengine, `vis_data` in the run's folder.
        images_per_step: of all processes together.
    """

    def __init__(self, save_dir: str, images_per_step: int) -> None:
        super().__init__(save_dir)
        self.images_per_step = images_per_step
        self.path = RunFolder(Path(save_dir).parent).metrics
        self.columns: list[str] = []
        self.last_iteration = 0

    def _init_env(self) -> None:
        """Nothing to do: the file is begun by its first row."""

    @property
    def experiment(self) -> Path:
        """The file."""
        return self.path

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """Nothing to do: the run's folder holds the config."""

    def add_graph(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to do."""

    def add_image(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to do."""

    def add_scalar(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: a single number has no row."""

    def add_scalars(self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None, **_: Any) -> None:
        """Append a row.

        Args:
            scalar_dict: of a training iteration if there is a `loss` in it, else of an evaluation.
            step: the iteration or, of an evaluation, the epoch.
            file_path: not used.
        """
        values = {name.rpartition("/")[2]: value for name, value in scalar_dict.items()}
        if "loss" in values:
            self._add_training(values, step)
        elif self.columns or self._take_up():
            found = {name: values[name] for name in METRIC_NAMES if name in values}
            self._append({"iteration": self.last_iteration, "epoch": step, **found})

    def _take_up(self) -> bool:
        """Go on with the file of a run whose evaluation begins anew; whether there is one."""
        rows = read_rows(self.path)
        if rows:
            self.columns, self.last_iteration = list(rows[0]), int(rows[-1]["iteration"])
        return bool(rows)

    def _add_training(self, values: dict[str, Any], step: int) -> None:
        losses = sorted(name for name in values if "loss" in name and name != "loss")
        if not self.columns:
            self._begin([*FIRST, *losses, *METRIC_NAMES], step)
        self.last_iteration = step
        seconds = values.get("time")
        self._append(
            {
                "iteration": step,
                "memory_mb": round(peak_memory_mb()),
                "images_per_second": self.images_per_step / seconds if seconds else None,
                **{name: values[name] for name in ("epoch", "lr", "grad_norm", "loss", *losses) if name in values},
            }
        )

    def _begin(self, columns: list[str], first_iteration: int) -> None:
        """Write the head, and of an earlier part of the run what lies before its first iteration now."""
        self.columns = columns
        write_rows(self.path, columns, (row for row in read_rows(self.path) if int(row["iteration"]) < first_iteration))

    def _append(self, row: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow(row)
