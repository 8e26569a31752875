"""What reproducing a row will take, before it begins: images a step, operations, memory and hours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from brs_detr.config.config import load_config
from brs_detr.errors import UserError
from brs_detr.reproduce.data_sets import DATA_SETS
from brs_detr.reproduce.tables import Row

if TYPE_CHECKING:
    from mmengine import Config

EFFECTIVE_BATCH = 16

REFERENCE = "brs-co-deformable-detr_r50_8xb2-12e_coco"
REFERENCE_S = 0.69
"""Seconds an iteration that the paper reports for BRS-DETR with ResNet-50, on 8 A100 with 2 images each."""
_DETR_GPUS = 8  # of the paper, with 2 images each
_DETECTOR_GPUS = 4  # of the paper, with 4 images each
_SLURM_HOURS = 48.0  # where nothing is known


@dataclass(frozen=True)
class Batch:
    """How the images of a step are shared out."""

    num_processes: int
    images_per_process: int
    accumulation: int

    @property
    def effective(self) -> int:
        """Images a step."""
        return self.num_processes * self.images_per_process * self.accumulation

    def __str__(self) -> str:
        times = f" x {self.accumulation} accumulated" if self.accumulation > 1 else ""
        processes = "process" if self.num_processes == 1 else "processes"
        return f"{self.effective} = {self.num_processes} {processes} x {self.images_per_process} images{times}"


def share_out(num_processes: int, images_per_gpu: int = 2) -> Batch:
    """The paper's batch on a number of processes, one a GPU.

    Args:
        num_processes: a divisor of 16.
        images_per_gpu: at most. The paper has 2 on 8 GPUs for DETRs (S.3.3), 4 on 4 for the other detectors (S.3.1).
            Ranking losses compare within these.

    Raises:
        UserError: 16 images cannot be shared out evenly.
    """
    if num_processes < 1 or EFFECTIVE_BATCH % num_processes:
        nearest = max(count for count in (1, 2, 4, 8, 16) if count <= max(num_processes, 1))
        raise UserError(
            f"{EFFECTIVE_BATCH} images a step, as in the paper, cannot be shared evenly by {num_processes} GPUs.",
            f"Use {nearest} of them: --gpus {nearest}",
        )
    images = min(images_per_gpu, EFFECTIVE_BATCH // num_processes)
    return Batch(num_processes, images, EFFECTIVE_BATCH // (num_processes * images))


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
        outputs = _forward(model, images)
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


def _forward(model: Any, images: Tensor) -> list[Tensor]:
    """All tensors that losses are made of, and more."""
    head, num_images = model.query_head, len(images)
    encoded = model.encode(images, torch.empty(num_images, 2, dtype=torch.long, device="meta"))
    maps = model.encoder.auxiliary_maps(encoded)
    proposals = head.propose(encoded)
    groups = [head.queries_at(head.best_proposals(proposals), proposals)]
    boxes = torch.empty(num_images, head.max_auxiliary_queries, 4, device="meta")
    feats = torch.empty(num_images, head.max_auxiliary_queries, head.embed_dims, device="meta")
    groups += [head.auxiliary_queries(boxes, feats, index) for index in range(2)]
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


@dataclass(frozen=True)
class Plan:
    """A training of a row.

    Args:
        row: what to reproduce.
        batch: how the effective batch comes about.
        gpu_hours: predicted, of A100s; None where nothing is published to predict it from.
        origin: of that prediction.
        gib: predicted memory of a GPU; None for detectors whose cost is not counted.
    """

    row: Row
    batch: Batch
    gpu_hours: float | None
    origin: str
    gib: float | None

    @property
    def steps_an_epoch(self) -> int:
        """Optimizer steps."""
        return -(-DATA_SETS[self.row.data].epoch // self.batch.effective)

    @property
    def hours(self) -> float:
        """On as many A100s as there are processes; a guess where nothing is published."""
        return _SLURM_HOURS if self.gpu_hours is None else self.gpu_hours / self.batch.num_processes

    def lines(self) -> list[str]:
        """The plan in words."""
        row, steps, num_gpus = self.row, self.steps_an_epoch, self.batch.num_processes
        kind = "mask AP" if row.metric == "mask_AP" else "AP"
        figure = "no published AP" if row.paper_ap is None else f"{100 * row.paper_ap:.1f} {kind} in the paper"
        loss = f", {row.loss}" if row.loss else ""
        lines = [
            f"{row.detector}, {row.backbone}{loss}: {figure}",
            f"  config  {row.config}",
            f"  steps   {steps * row.epochs:,}: {row.epochs} epochs of {steps:,}",
            f"  batch   {self.batch}",
        ]
        if self.gpu_hours is None:
            lines.append("  time    unknown: no time of an iteration is published")
        else:
            lines.append(f"  time    about {self.hours:.0f} h on {num_gpus} A100, of {self.origin}")
        if self.gib is not None:
            lines.append(
                f"  memory  about {self.gib:.0f} GiB a GPU for weights, optimizer and what the backward pass needs"
            )
        return lines


def batch_of(row: Row, num_processes: int) -> Batch:
    """The batch of a row that is trained, on a number of processes.

    Raises:
        UserError: 16 images cannot be shared out evenly.
    """
    return share_out(num_processes, load_config(str(row.config)).train_dataloader.batch_size)


def make_plan(row: Row, num_processes: int) -> Plan:
    """Predict time and memory.

    Of a DETR from what the model computes and keeps, of the others from the time that is published for them.

    Args:
        row: one with a config.
        num_processes: one a GPU.

    Raises:
        UserError: 16 images cannot be shared out evenly.
    """
    batch = batch_of(row, num_processes)
    if row.loss:
        return _of_detector(row, batch)
    cost = training_cost(load_config(str(row.config)))
    hours = predicted_hours(cost, training_cost(load_config(REFERENCE)))
    share = batch.images_per_process / 2
    gib = (cost.state_bytes + share * cost.activation_bytes) / 2**30
    return Plan(row, batch, _DETR_GPUS * hours, "the paper's 0.69 s a step on 8 for R-50", gib)


def _of_detector(row: Row, batch: Batch) -> Plan:
    if row.paper_s is None:
        return Plan(row, batch, None, "", None)
    steps = row.epochs * -(-DATA_SETS[row.data].epoch // batch.effective)
    gpu_hours = _DETECTOR_GPUS * steps * row.paper_s / 3600
    return Plan(row, batch, gpu_hours, f"the published {row.paper_s} s a step on {_DETECTOR_GPUS}", None)
