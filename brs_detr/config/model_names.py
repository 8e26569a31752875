"""Short names of the models that are fine-tuned."""

from __future__ import annotations

from brs_detr.config.config import find_config, list_configs
from brs_detr.errors import UserError, did_you_mean

_BACKBONES = {
    "r18": "r18_1xb4-12e_coco",
    "r50": "r50_finetune",
    "swin-t": "swin-t_finetune",
    "swin-l": "swin-l_finetune",
}
_DETECTORS = {"": "brs-co-deformable-detr", "co-": "co-deformable-detr"}

MODELS: dict[str, str] = {
    f"{prefix}{backbone}": f"{detector}_{config}"
    for prefix, detector in _DETECTORS.items()
    for backbone, config in _BACKBONES.items()
}
"""Name of the config by short name; `co-` is plain Co-DETR."""


def find_model(name: str) -> str:
    """The config that a user means.

    Args:
        name: of `MODELS`, of `brs-detr configs`, or the path of a config file.

    Returns:
        What `load_config` takes.

    Raises:
        UserError: there is no such model.
    """
    if name in MODELS:
        return MODELS[name]
    try:
        find_config(name)
    except UserError:
        if name.endswith(".py") or "/" in name:
            raise
        known = [*MODELS, *(entry.name for entry in list_configs())]
        raise UserError(f"There is no model {name!r}.", did_you_mean(name, known)) from None
    return name


def default_model() -> tuple[str, str]:
    """Short name of the model for this machine, and the reason."""
    import torch

    if torch.cuda.is_available():
        return "r50", "there is a GPU"
    return "r18", "small, since there is no GPU"
