"""Measure a training step: image to updated weights, with each classification loss in the same detector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

from brs_detr.bench.measure import Stopwatch, Timing, is_out_of_memory, time_in_turns
from brs_detr.bench.memory import peak_extra_bytes
from brs_detr.checkpoints.random_model import random_model
from brs_detr.config.config import import_modules, load_config

if TYPE_CHECKING:
    from mmengine import Config

OUT_OF_MEMORY = "out of memory"
Result = TypeVar("Result")

LOSSES = {
    "score-based": None,  # the plain detector: focal loss, or cross entropy in two-stage heads
    "loop": "LoopRankSortLoss",
    "bucketed": "BucketedRankSortLoss",
    "exact": "RankSortLoss",
}
"""Type of the ranking loss for each name."""


@dataclass(frozen=True)
class Setting:
    """How a step is made.

    Args:
        config: of a detector with Bucketed Rank & Sort Loss, by name; its plain twin stands in for it where the loss is
            score-based.
        device: cpu or cuda.
        num_images: of a process.
        size: (h, w) of each in pixels.
        num_objects: in each.
        amp: forward pass in bfloat16.
        checkpointing: compute the layers of encoder and backbone anew in the backward pass.
        separate: one pass of the decoder for each group of queries, not one for all.
        seed: of weights, images and objects.
    """

    config: str
    device: torch.device
    num_images: int = 2
    size: tuple[int, int] = (800, 1333)
    num_objects: int = 10
    amp: bool = False
    checkpointing: bool = False
    separate: bool = False
    seed: int = 0


@dataclass(frozen=True)
class StepRecord:
    """What one step takes.

    Args:
        repeats: that were timed.
        median_s: of a step: forward, backward and update; None where it could not be measured.
        loss_s: of its classification losses alone, forward and backward, on the tensors that they had in the step.
        loss_share: of them in the step.
        peak_bytes: most that tensors hold at a time, weights, gradients and moments included.
        failure: why it could not be measured.
    """

    config: str
    loss: str
    device: str
    num_images: int
    height: int
    width: int
    num_objects: int
    amp: bool
    checkpointing: bool
    separate: bool
    repeats: int
    median_s: float | None
    loss_s: float | None
    loss_share: float | None
    peak_bytes: int | None
    failure: str | None


class TrainStep:
    """A detector, its optimizer and one random batch; calling it makes a step.

    Args:
        setting: how.
        loss: a key of `LOSSES`.
    """

    def __init__(self, setting: Setting, loss: str) -> None:
        self.setting = setting
        config = step_config(setting, loss)
        self.model = random_model(config, setting.seed).to(setting.device).train()
        self.optimizer = build_optim_wrapper(self.model, config.optim_wrapper)
        self.batch = random_batch(setting, *_contents(self.model))

    def __call__(self) -> None:
        """Make a step, as mmengine does."""
        model: Any = self.model
        with self.optimizer.optim_context(model):
            data = model.data_preprocessor(self.batch, training=True)
            loss, _ = model.parse_losses(model(**data, mode="loss"))
        self.optimizer.update_params(loss)

    @property
    def state_bytes(self) -> int:
        """Weights, buffers, gradients and moments."""
        tensors = [*self.model.state_dict().values()]
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return sum(map(_bytes, tensors)) + 3 * sum(map(_bytes, trained))

    def classification(self) -> Callable[[], None]:
        """The classification losses of this step alone, forward and backward, each on what it was given in a step."""
        calls: list[tuple[nn.Module, tuple[Any, ...], dict[str, Any]]] = []
        hooks = [
            module.register_forward_pre_hook(lambda *call: calls.append(call), with_kwargs=True)
            for name, module in self.model.named_modules()
            if name.endswith("loss_cls")
        ]
        self()
        for hook in hooks:
            hook.remove()
        kept = [(module, _detached(args), kwargs) for module, args, kwargs in calls]

        def repeat() -> None:
            for module, args, kwargs in kept:
                result = module(*args, **kwargs)
                total = sum(part.sum() for part in result) if isinstance(result, tuple) else result.sum()
                total.backward()

        return repeat


def _detached(args: tuple[Any, ...]) -> tuple[Any, ...]:
    logits, *others = args
    return (logits.detach().requires_grad_(), *(x.detach() if isinstance(x, Tensor) else x for x in others))


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def step_config(setting: Setting, loss: str) -> Config:
    """The config of a step.

    Args:
        setting: how it is made.
        loss: a key of `LOSSES`.
    """
    kind = LOSSES[loss]
    config = load_config(setting.config if kind else setting.config.removeprefix("brs-"))
    import_modules(config)
    model = config.model
    model.backbone.with_cp = setting.checkpointing
    if model.type == "CoDETR":
        model.query_head.merge_decoder_passes = not setting.separate
        model.query_head.transformer.checkpoint_encoder = setting.checkpointing
    if kind:
        _set_loss(model, kind)
    if setting.amp:
        config.optim_wrapper.type = "AutocastOptimWrapper"
    return config


def _set_loss(node: Any, kind: str) -> None:
    """Put a ranking loss in the place of another, in every head of a model's config."""
    if isinstance(node, dict) and "loss_cls" in node:
        node["loss_cls"].type = kind
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        _set_loss(child, kind)


def _contents(model: Any) -> tuple[int, bool]:
    """How many classes a detector knows, and whether it wants masks."""
    heads: Any = getattr(model, "query_head", None) or getattr(model, "bbox_head", None) or model.roi_head.bbox_head
    head: Any = heads[0] if isinstance(heads, nn.ModuleList) else heads
    return int(head.num_classes), bool(getattr(getattr(model, "roi_head", None), "with_mask", False))


def random_batch(setting: Setting, num_classes: int, masks: bool = False) -> dict[str, Any]:
    """Noise with random boxes, and masks that fill them if wanted, as a data loader would deliver it."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    draw = torch.Generator().manual_seed(setting.seed)
    h, w = setting.size
    images, samples = [], []
    for index in range(setting.num_images):
        meta = {"img_id": index, "img_shape": (h, w), "ori_shape": (h, w), "scale_factor": (1.0, 1.0)}
        corners = torch.rand(2, setting.num_objects, 2, generator=draw) * torch.tensor([w - 8, h - 8])
        boxes_xyxy = torch.cat([corners.amin(0), corners.amax(0) + 8], 1)
        labels = torch.randint(0, num_classes, (setting.num_objects,), generator=draw)
        objects = InstanceData(bboxes=boxes_xyxy, labels=labels)
        if masks:
            objects.masks = _filled_masks(boxes_xyxy, (h, w))
        samples.append(DetDataSample(metainfo=meta, gt_instances=objects))
        images.append(torch.randint(0, 256, (3, h, w), dtype=torch.uint8, generator=draw))
    return {"inputs": images, "data_samples": samples}


def _filled_masks(boxes_xyxy: Tensor, size: tuple[int, int]) -> Any:
    from mmdet.structures.mask import BitmapMasks

    masks = torch.zeros(len(boxes_xyxy), *size, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes_xyxy.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    return BitmapMasks(masks.numpy(), *size)


def bench_train_step(
    setting: Setting, losses: Sequence[str], repeats: int = 9, seconds: float = 60.0
) -> Iterator[StepRecord]:
    """Measure the step with each loss.

    On a CPU they take turns, so that what slows the machine slows all of them; on a GPU each has the memory for itself.

    Args:
        setting: how the steps are made.
        losses: keys of `LOSSES`.
        repeats: at most, of each.
        seconds: for the repeats of each.
    """
    groups = [[loss] for loss in losses] if setting.device.type == "cuda" else [list(losses)]
    for group in groups:
        yield from _bench_group(setting, group, repeats, seconds)
        if setting.device.type == "cuda":
            torch.cuda.empty_cache()


def _bench_group(setting: Setting, losses: Sequence[str], repeats: int, seconds: float) -> Iterator[StepRecord]:
    stopwatch = Stopwatch(setting.device)
    built = {loss: _unless_out_of_memory(TrainStep, setting, loss) for loss in losses}
    steps = {loss: step for loss, step in built.items() if step is not None}
    timings = time_in_turns(steps, stopwatch, repeats, seconds)
    for loss in losses:
        timing = timings.get(loss, Timing(failure=OUT_OF_MEMORY))
        alone = peak = None
        if timing.median_s is not None:
            alone = _unless_out_of_memory(_time_losses, steps[loss], stopwatch, repeats, seconds / 4)
            # the profiler behind it, on a CPU, keeps every one of the loop's operators
            peak = None if loss == "loop" else _unless_out_of_memory(_peak_bytes, steps[loss])
        yield _record(setting, loss, timing, alone, peak)


def _unless_out_of_memory(call: Callable[..., Result], *arguments: Any) -> Result | None:
    try:
        return call(*arguments)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return None


def _time_losses(step: TrainStep, stopwatch: Stopwatch, repeats: int, seconds: float) -> float | None:
    return time_in_turns({"losses": step.classification()}, stopwatch, repeats, seconds)["losses"].median_s


def _peak_bytes(step: TrainStep) -> int:
    return peak_extra_bytes(step, step.setting.device) + step.state_bytes


def _record(setting: Setting, loss: str, timing: Timing, loss_s: float | None, peak_bytes: int | None) -> StepRecord:
    median_s = timing.median_s
    return StepRecord(
        config=setting.config if LOSSES[loss] else setting.config.removeprefix("brs-"),
        loss=loss,
        device=setting.device.type,
        num_images=setting.num_images,
        height=setting.size[0],
        width=setting.size[1],
        num_objects=setting.num_objects,
        amp=setting.amp,
        checkpointing=setting.checkpointing,
        separate=setting.separate,
        repeats=len(timing.seconds),
        median_s=median_s,
        loss_s=loss_s,
        loss_share=loss_s / median_s if loss_s is not None and median_s else None,
        peak_bytes=peak_bytes,
        failure=timing.failure,
    )
