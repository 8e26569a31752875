"""What a training step costs on paper: parameters, operations, memory, hours. Nothing is computed or allocated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from brs_detr.reproduce.data_sets import DATA_SETS

if TYPE_CHECKING:
    from mmengine import Config

REFERENCE = "brs-co-deformable-detr_r50_8xb2-12e_coco"
REFERENCE_S = 0.69
"""Seconds an iteration that the paper reports for BRS-DETR with ResNet-50, on 8 A100 with 2 images each."""


@dataclass(frozen=True)
class TrainingCost:
    """Of one process.

    Args:
        num_parameters: of the model.
        num_trained: that get a gradient.
        forward_flops: of a forward pass in training: two for each multiplication with its addition in a matrix product
            or a convolution; nothing else is counted.
        step_flops: of a forward and a backward pass.
        activation_bytes: what the forward pass keeps for the backward pass, in float32, deformable attention being
            computed by `grid_sample`; a fused operator for it keeps less.
    """

    num_parameters: int
    num_trained: int
    forward_flops: int
    step_flops: int
    activation_bytes: int

    @property
    def state_bytes(self) -> int:
        """Weights, gradients and the two moments of Adam."""
        return 4 * self.num_parameters + 12 * self.num_trained

    @property
    def bytes(self) -> int:
        """All of it."""
        return self.state_bytes + self.activation_bytes


def training_cost(config: Config, num_images: int = 2, size: tuple[int, int] = (800, 1333)) -> TrainingCost:
    """Count what a training step of a CoDETR computes and keeps, with shapes alone.

    Backbone, neck, encoder, proposals, decoder (with as many queries as auxiliary heads can have) and the dense and RoI
    heads are run; matching, assignment and losses, which depend on the data, are left out.

    Args:
        config: of a CoDETR; left as it is.
        num_images: of a process.
        size: (h, w) of each in pixels.
    """
    model = _build(config)
    images = torch.empty(num_images, 3, *size, device="meta")
    counter, kept = FlopCounterMode(display=False), _Kept(model)
    with counter, torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
        outputs = _forward(model, images, size)
        forward_flops = counter.get_total_flops()
        torch.stack([output.float().sum() for output in outputs]).sum().backward()
    parameters = list(model.parameters())
    return TrainingCost(
        num_parameters=sum(parameter.numel() for parameter in parameters),
        num_trained=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        forward_flops=forward_flops,
        step_flops=counter.get_total_flops(),
        activation_bytes=kept.num_bytes,
    )


def predicted_hours(cost: TrainingCost, reference: TrainingCost, epochs: int = 12, batch: int = 16) -> float:
    """Hours of a training on COCO with 8 A100: the paper's time of an iteration, scaled by the operations of a step."""
    iterations = epochs * -(-DATA_SETS["coco"].epoch // batch)
    return iterations * REFERENCE_S * cost.step_flops / reference.step_flops / 3600


class _Kept:
    """Bytes of what autograd keeps, each storage once and parameters not at all."""

    def __init__(self, model: nn.Module) -> None:
        self.num_bytes = 0
        self._seen = {id(parameter) for parameter in model.parameters()}
        self._held: list[Any] = []  # storages, so that none is taken for one before it

    def __call__(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        base = tensor if tensor._base is None else tensor._base
        if id(base) not in self._seen and storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self._held.append(storage)
            self.num_bytes += storage.nbytes()
        return tensor


def _build(config: Config) -> nn.Module:
    from mmengine.registry import MODELS, init_default_scope

    from brs_detr.config.config import import_modules

    import_modules(config)
    init_default_scope(config.get("default_scope", "mmdet"))
    model_config = {**config.model, "backbone": {**config.model.backbone, "init_cfg": None}}
    with torch.random.fork_rng(devices=[]), torch.device("cpu" if "Swin" in config.model.backbone.type else "meta"):
        model = MODELS.build(model_config).to("meta")
    return model.exportable("query").model.train()  # its attention does not read numbers off a tensor


def _forward(model: Any, images: Tensor, size: tuple[int, int]) -> list[Tensor]:
    """All tensors that losses are made of, and more."""
    head, num_images = model.query_head, len(images)
    sizes = torch.empty(num_images, 2, dtype=torch.long, device="meta")
    encoded = head.transformer.encode(model.extract_feat(images), sizes, size)
    maps = head.feature_maps(encoded)
    proposals = head.propose(encoded)
    groups = [head.transformer.select_queries(proposals, head.query_embedding.weight)]
    boxes = torch.empty(num_images, head.max_auxiliary_queries, 4, device="meta")
    feats = torch.empty(num_images, head.max_auxiliary_queries, head.embed_dims, device="meta")
    groups += [head.transformer.embed_auxiliary_queries(boxes, feats, index) for index in range(2)]
    outputs = [proposals.logits, proposals.box_logits]
    for logits, predicted in head.decode_groups(groups, encoded):
        outputs += [logits, predicted]
    for dense in (model.rpn_head, model.atss_head):
        outputs += [output for level in dense(maps) for output in level if output is not None]
    sampler = model.train_cfg["rcnn"]["sampler"]
    num_rois = sampler.get("num") or model.train_cfg["rpn_proposal"]["max_per_img"]
    side = model.roi_head.bbox_head.roi_feat_size[0]
    pooled = maps[0].new_empty(num_images * num_rois, maps[0].shape[1], side, side) + maps[0].sum()
    return [*outputs, *model.roi_head.bbox_head(pooled)[:2]]
