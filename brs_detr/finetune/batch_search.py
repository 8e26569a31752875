"""Find the largest batch that fits into a GPU's memory."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from brs_detr.errors import UserError

if TYPE_CHECKING:
    import torch
    from mmengine import Config

USED_SHARE = 0.9
"""Of the memory: images with more objects than the trial's, and fragments, need the rest."""


def largest_batch(fits: Callable[[int], bool], limit: int) -> int:
    """Double a batch as long as it fits.

    Args:
        fits: tries a training step with so many images.
        limit: more are never needed; at least 1.

    Raises:
        UserError: not even a single image fits.
    """
    if not fits(1):
        raise UserError(
            "Not even one image of the training size fits into memory.",
            "Choose a smaller --model or --resolution, or add --amp.",
        )
    batch = 1
    while batch < limit and fits(min(2 * batch, limit)):
        batch = min(2 * batch, limit)
    return batch


class TrialStep:
    """Try training steps on made-up images of the largest size.

    Args:
        config: resolved; its model is built with random weights.
        size: (h, w) of the images in pixels.
        num_objects: in each image.
        device: where to.
        has_mean: whether a moving mean of the weights lies in memory as well.
    """

    def __init__(
        self, config: Config, size: tuple[int, int], num_objects: int, device: torch.device, has_mean: bool = False
    ) -> None:
        from mmengine.optim import build_optim_wrapper
        from mmengine.registry import MODELS, init_default_scope

        init_default_scope(config.get("default_scope", "mmdet"))
        model = {**config.model, "backbone": {**config.model.backbone, "init_cfg": None}}
        self.model = MODELS.build(model).to(device).train()
        self.optim_wrapper = build_optim_wrapper(self.model, config.optim_wrapper)
        self.mean = copy.deepcopy(self.model) if has_mean else None
        self.size, self.num_objects, self.device = size, num_objects, device

    def __call__(self, batch: int) -> bool:
        """Whether a step with so many images fits."""
        import torch

        try:
            self.model.train_step(self._images(batch), self.optim_wrapper)
            return self._used_share() <= USED_SHARE
        except torch.OutOfMemoryError:
            return False
        finally:
            self.optim_wrapper.zero_grad()
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _images(self, batch: int) -> dict[str, list[Any]]:
        import torch
        from mmdet.structures import DetDataSample
        from mmengine.structures import InstanceData

        height, width = self.size
        centres = torch.rand(self.num_objects, 2) * torch.tensor([width, height]) * 0.8
        boxes_xyxy = torch.cat([centres, centres + torch.tensor([width, height]) * 0.2], 1)
        objects = InstanceData(bboxes=boxes_xyxy, labels=torch.zeros(self.num_objects, dtype=torch.long))
        meta = {"img_shape": self.size, "ori_shape": self.size, "scale_factor": (1.0, 1.0), "pad_shape": self.size}
        return {
            "inputs": [torch.zeros(3, height, width, dtype=torch.uint8) for _ in range(batch)],
            "data_samples": [DetDataSample(metainfo=dict(meta), gt_instances=objects) for _ in range(batch)],
        }

    def _used_share(self) -> float:
        import torch

        if self.device.type != "cuda":
            return 0.0
        used = torch.cuda.max_memory_reserved(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        return used / torch.cuda.get_device_properties(self.device).total_memory
