"""Where a run writes its losses and metrics to, besides the console."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from brs_detr.errors import UserError

if TYPE_CHECKING:
    from mmengine import Config

SERVICES = {"wandb": "WandbVisBackend", "mlflow": "MLflowVisBackend"}


def set_loggers(config: Config, services: Iterable[str], images_per_step: int, run_name: str) -> None:
    """Write `metrics.csv`, mmengine's `scalars.json` and TensorBoard's events, and tell services that were asked for.

    What the config itself lists stays.

    Args:
        config: changed in place.
        services: of `SERVICES`.
        images_per_step: of all processes together.
        run_name: what a service calls the run.

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
