"""Data loaders from a config."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine import Config, ConfigDict
    from torch.utils.data import DataLoader


def mend_workers(config: Config) -> None:
    """Let `num_workers=0` stand alone: PyTorch refuses it together with `persistent_workers=True`."""
    for phase in ("train", "val", "test"):
        loader = config.get(f"{phase}_dataloader")
        if loader and loader.get("num_workers", 0) == 0:
            loader.persistent_workers = False


def build_loader(loader: ConfigDict) -> DataLoader:
    """The loader of an evaluation: every image once, in the order of the annotation file."""
    from mmengine.runner import Runner

    return Runner.build_dataloader({**loader, "persistent_workers": False})
