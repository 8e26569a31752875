"""Data loaders from a config, and the names that a config of an evaluation may use."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from brs_detr.data.loading import registry

if TYPE_CHECKING:
    from mmengine import Config, ConfigDict
    from torch.utils.data import DataLoader

SECONDS_TO_END = 30
"""As long as torchrun waits for a process that it has told to end."""


def mend_workers(config: Config) -> None:
    """Let processes that load data leave signals to the training, and `num_workers=0` stand alone.

    PyTorch refuses the latter together with `persistent_workers=True`.
    """
    for phase in ("train", "val", "test"):
        loader = config.get(f"{phase}_dataloader")
        if loader:
            loader.worker_init_fn = {"type": "begin_worker"}
            if loader.get("num_workers", 0) == 0:
                loader.persistent_workers = False


def begin_worker(worker_id: int) -> None:
    """What a process that loads data does first.

    Signals that reach it as well as the training are not for it: that needs its images until the step is done. But who
    is told to end does so after a while: Python waits for such processes when it ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(SECONDS_TO_END))


def end_workers(loading: object) -> None:
    """End the processes that an iterator of PyTorch's has begun; without it they may outlive an exception.

    One that waits for what another has taken with it when it was killed does not end by itself.
    """
    if isinstance(loading, _MultiProcessingDataLoaderIter):
        loading._shutdown_workers()
        for worker in loading._workers:
            if worker.is_alive():
                worker.kill()


def build_loader(loader: ConfigDict) -> DataLoader:
    """The loader of an evaluation: every image once, in the order of the annotation file."""
    from mmengine.runner import Runner

    return Runner.build_dataloader({**loader, "persistent_workers": False})


def register() -> None:
    """Make what an evaluation is built from available to configs, models and data too."""
    registry.register()
    from mmengine.registry import FUNCTIONS, METRICS

    from brs_detr.evaluation.coco_metric import CocoAPMetric

    FUNCTIONS.register_module(module=begin_worker, force=True)
    METRICS.register_module(module=CocoAPMetric, force=True)
