"""Data loaders and their worker processes, and the registration of our classes for evaluation."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from brs_detr.data.loading import registry

if TYPE_CHECKING:
    from mmengine import Config, ConfigDict
    from torch.utils.data import DataLoader

SECONDS_TO_END = 30
"""Time that torchrun gives a process to end."""


def mend_workers(config: Config) -> None:
    """Set up the workers of all data loaders in a config, and drop `persistent_workers` if there are none.

    PyTorch refuses `persistent_workers=True` with `num_workers=0`.
    """
    for phase in ("train", "val", "test"):
        loader = config.get(f"{phase}_dataloader")
        if loader:
            loader.worker_init_fn = {"type": "begin_worker"}
            if loader.get("num_workers", 0) == 0:
                loader.persistent_workers = False


def begin_worker(worker_id: int) -> None:
    """Set the signal handlers of a data loader worker.

    The worker ignores signals that also reach the training, which needs its images until the step is done. On SIGTERM
    it ends after a delay, because Python waits for its worker processes when it exits.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(SECONDS_TO_END))


def end_workers(loading: object) -> None:
    """End the worker processes of a data loader's iterator, which could outlive an exception.

    A worker that waits for a lock held by a killed worker does not end by itself.
    """
    if isinstance(loading, _MultiProcessingDataLoaderIter):
        loading._shutdown_workers()
        for worker in loading._workers:
            if worker.is_alive():
                worker.kill()


def build_loader(loader: ConfigDict) -> DataLoader:
    """Build a data loader for evaluation, which reads every image once in the order of the annotation file."""
    from mmengine.runner import Runner

    return Runner.build_dataloader({**loader, "persistent_workers": False})


def register() -> None:
    """Register our classes for evaluation, and those for models and data."""
    registry.register()
    from mmengine.registry import FUNCTIONS, METRICS

    from brs_detr.evaluation.coco_metric import CocoAPMetric

    FUNCTIONS.register_module(module=begin_worker, force=True)
    METRICS.register_module(module=CocoAPMetric, force=True)
