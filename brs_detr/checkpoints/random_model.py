"""A model of a config with random weights."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine import Config
    from mmengine.model import BaseModel


def random_model(config: Config, seed: int = 0) -> BaseModel:
    """Build the model of a config and draw its weights; nothing is downloaded, the random state stays as it was.

    Args:
        config: from `brs_detr.config.config.load_config`; what it names for the backbone's weights is taken out.
        seed: of the weights.
    """
    import torch
    from mmengine.registry import MODELS, init_default_scope

    config.model.backbone.init_cfg = None
    init_default_scope(config.get("default_scope", "mmdet"))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: BaseModel = MODELS.build(config.model)
        logging.disable(logging.WARNING)  # mmengine tells of every parameter that it initialises
        try:
            model.init_weights()
        finally:
            logging.disable(logging.NOTSET)
    return model
