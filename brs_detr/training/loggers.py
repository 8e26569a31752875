"""Loggers of losses and metrics: `metrics.csv`, TensorBoard, and optional services."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.visualization.vis_backend import BaseVisBackend

from brs_detr.analysis.coco_ap import METRIC_NAMES
from brs_detr.errors import UserError
from brs_detr.run.distributed import peak_memory_mb
from brs_detr.run.run_folder import RunFolder, read_rows, write_rows

if TYPE_CHECKING:
    from mmengine import Config

SERVICES = {"wandb": "WandbVisBackend", "mlflow": "MLflowVisBackend"}
FIRST = ("iteration", "epoch", "lr", "images_per_second", "memory_mb", "grad_norm", "loss")


class MetricsCsv(BaseVisBackend):
    """Write losses by iteration and metrics by epoch as rows of a CSV file.

    The columns are those of `FIRST`, every other loss by name, and the COCO metrics. Values that were not measured are
    empty. A resumed run appends to the file.

    Args:
        save_dir: mmengine's log folder, `vis_data` in the run folder.
        images_per_step: number of images per iteration, over all processes.
    """

    def __init__(self, save_dir: str, images_per_step: int) -> None:
        super().__init__(save_dir)
        self.images_per_step = images_per_step
        self.path = RunFolder(Path(save_dir).parent).metrics
        self.columns: list[str] = []
        self.last_iteration = 0

    def _init_env(self) -> None:
        """Do nothing: the file is created with its first row."""

    @property
    def experiment(self) -> Path:
        """The file."""
        return self.path

    def add_scalars(self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None, **_: Any) -> None:
        """Append a row: for iteration `step` if there is a `loss`, otherwise for the evaluation of epoch `step`."""
        values = {name.rpartition("/")[2]: value for name, value in scalar_dict.items()}
        if "loss" in values:
            self._add_training(values, step)
        elif self.columns or self._continue_file():
            metrics = {name: values[name] for name in METRIC_NAMES if name in values}
            self._append({"iteration": self.last_iteration, "epoch": step, **metrics})

    def _continue_file(self) -> bool:
        """Continue the file of a run that resumes with an evaluation. Returns whether the file has any rows."""
        rows = read_rows(self.path)
        if rows:
            self.columns, self.last_iteration = list(rows[0]), int(rows[-1]["iteration"])
        return bool(rows)

    def _add_training(self, values: dict[str, Any], step: int) -> None:
        losses = sorted(name for name in values if "loss" in name and name != "loss")
        if not self.columns:
            self._start_file([*FIRST, *losses, *METRIC_NAMES], step)
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

    def _start_file(self, columns: list[str], first_iteration: int) -> None:
        """Write the header, and keep the rows of a resumed run from before `first_iteration`."""
        self.columns = columns
        write_rows(self.path, columns, (row for row in read_rows(self.path) if int(row["iteration"]) < first_iteration))

    def _append(self, row: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow(row)


def set_loggers(config: Config, services: Iterable[str], images_per_step: int, run_name: str) -> None:
    """Add loggers to a config: `metrics.csv`, mmengine's `scalars.json`, TensorBoard events, and services.

    Loggers that the config already has are kept.

    Args:
        config: config of the run, changed in place.
        services: keys of `SERVICES`.
        images_per_step: number of images per iteration, over all processes.
        run_name: name of the run in the services.

    Raises:
        UserError: the package of a service is not installed.
    """
    backends: list[dict[str, Any]] = [
        {"type": "LocalVisBackend"},
        {"type": "TensorboardVisBackend"},
        {"type": "MetricsCsv", "images_per_step": images_per_step},
    ]
    for service in dict.fromkeys(services):
        if find_spec(service) is None:
            raise UserError(f"--log {service} needs the package {service}.", f"pip install {service}")
        options = {"init_kwargs": {"name": run_name}} if service == "wandb" else {"run_name": run_name}
        backends.append({"type": SERVICES[service], **options})
    visualizer = config.get("visualizer") or {"type": "Visualizer"}
    listed = visualizer.get("vis_backends") or []
    types = {backend["type"] for backend in listed}
    missing = [backend for backend in backends if backend["type"] not in types]
    config.visualizer = {**visualizer, "vis_backends": [*listed, *missing]}
