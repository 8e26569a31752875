"""A Runner that logs to a file instead of the console."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from brs_detr.training.sharding import shard


class QuietRunner(Runner):
    """A Runner that prints nothing, and writes directly into its work dir: `train.log`, `config.py`, `vis_data/`."""

    _is_initialised = False
    _loaded: dict[str, Any] | None = None

    @property
    def _log_dir(self) -> str:
        """The work dir, instead of a subfolder named after the time."""
        return self._work_dir

    @_log_dir.setter
    def _log_dir(self, folder: str) -> None:
        pass

    @property
    def bare_model(self) -> nn.Module:
        """The model without its wrapper for distributed training."""
        return self.model.module if is_model_wrapper(self.model) else self.model

    def initialise_model(self) -> None:
        """Initialise the weights of the model once, since some models of mmdet would redraw them at every call."""
        if not self._is_initialised:
            super()._init_model_weights()
            self._is_initialised = True

    def _init_model_weights(self) -> None:
        self.initialise_model()

    @property
    def is_sharded(self) -> bool:
        """Whether the model is sharded over the processes (FSDP), see `brs_detr.training.sharding`."""
        return self.distributed and bool(self.cfg.get("fsdp"))

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Wrap the model for distributed training, unless it is sharded."""
        return model.to(get_device()) if self.is_sharded else super().wrap_model(model_wrapper_cfg, model)

    def train(self) -> nn.Module:
        """Train. A sharded model loads its weights before it is sharded."""
        if self.is_sharded:
            self.initialise_model()
            if self._load_from is not None:
                self._loaded = self.load_checkpoint(self._load_from)
                self._has_loaded = not self._resume
            shard(self.model)
        return super().train()

    def load_checkpoint(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load weights, and return the checkpoint without the config text, which mmengine would execute."""
        content: dict[str, Any] = self._loaded or super().load_checkpoint(*args, **kwargs)
        (content.get("meta") or {}).pop("config", None)
        return content

    def build_logger(self, log_level: int | str = "INFO", log_file: str | None = None, **kwargs: Any) -> MMLogger:
        """Log only to `train.log`, to which a resumed run appends."""
        log_file = log_file or str(Path(self.work_dir) / "train.log")
        logger = super().build_logger(log_level, log_file, **kwargs)
        for handler in [handler for handler in logger.handlers if not isinstance(handler, logging.FileHandler)]:
            logger.removeHandler(handler)
        return logger

    def dump_config(self) -> None:
        """Write the resolved config as `config.py`, whatever its original name."""
        if self.rank == 0:
            self.cfg.dump(Path(self.work_dir) / "config.py")
