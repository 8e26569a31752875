"""Time and memory of a training step, from images to updated weights, with each classification loss in one detector.

Images and objects are random. Losses take turns: score-based (the plain detector), and Rank & Sort Loss by its loop,
bucketed, and exact. The share of the losses is measured by repeating them alone on their inputs in a step. The result
file is written after every setting. `separate` decodes auxiliary queries in separate passes.

python benchmarks/train_step.py --config brs-co-deformable-detr_r18_1xb4-12e_coco --size 240x320
python benchmarks/train_step.py --device cuda --with amp amp+checkpointing separate
python benchmarks/train_step.py --device cuda --suite paper --images 4
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

from brs_detr.checkpoints.checkpoint import random_model
from brs_detr.config.config import import_modules, load_config
from brs_detr.reproduce import tables
from brs_detr.run.console import make_console
from brs_detr.training.registry import register
from measuring import results
from measuring.meters import Stopwatch, Timing, is_out_of_memory, peak_extra_bytes, time_in_turns

if TYPE_CHECKING:
    from mmengine import Config

OUT_OF_MEMORY = "out of memory"
OPTIONS = ("amp", "checkpointing", "separate")
STEP_HEAD = ("model", "with", "loss", "s", "to score-based", "in losses", "GiB")
SUITE_HEAD = (
    "detector",
    "score-based s",
    "exact",
    "bucketed",
    "loop",
    "exact: in losses",
    "loop / bucketed",
    "loop / exact",
    "published loop / bucketed",
)
Result = TypeVar("Result")

LOSSES = {
    "score-based": None,  # the plain detector: focal loss, or cross entropy in two-stage heads
    "loop": "LoopRankSortLoss",
    "bucketed": "BucketedRankSortLoss",
    "exact": "RankSortLoss",
}
"""Type of the ranking loss by name."""


@dataclass(frozen=True)
class Setting:
    """Setting of a step.

    Args:
        config: name of a config with Bucketed Rank & Sort Loss; a score-based loss uses its plain counterpart.
        device: cpu or cuda.
        num_images: images per process.
        size: (h, w) of the images in pixels.
        num_objects: objects per image.
        amp: run the forward pass in bfloat16.
        checkpointing: recompute the layers of encoder and backbone in the backward pass.
        separate: decode each group of queries in a separate pass.
        seed: random seed of weights, images and objects.
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
    """Time and memory of one step.

    Args:
        repeats: number of timed steps.
        median_s: median time of a step: forward, backward and update; None if it could not be measured.
        loss_s: median time of its classification losses alone, forward and backward, on their inputs in a step.
        loss_share: their share of the step.
        peak_bytes: peak memory of tensors, including weights, gradients and moments.
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
    """A detector, its optimizer and one random batch; a call is one step.

    Args:
        setting: setting of the step.
        loss: key of `LOSSES`.
    """

    def __init__(self, setting: Setting, loss: str) -> None:
        self.setting = setting
        config = step_config(setting, loss)
        self.model = random_model(config, setting.seed).to(setting.device).train()
        self.optimizer = build_optim_wrapper(self.model, config.optim_wrapper)
        self.batch = random_batch(setting, *_contents(self.model))

    def __call__(self) -> None:
        """Train for one step, as mmengine does."""
        model: Any = self.model
        with self.optimizer.optim_context(model):
            data = model.data_preprocessor(self.batch, training=True)
            loss, _ = model.parse_losses(model(**data, mode="loss"))
        self.optimizer.update_params(loss)

    @property
    def state_bytes(self) -> int:
        """Size of weights, buffers, gradients and moments."""
        tensors = [*self.model.state_dict().values()]
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return sum(map(_bytes, tensors)) + 3 * sum(map(_bytes, trained))

    def classification(self) -> Callable[[], None]:
        """Return a callable that repeats the classification losses of a step alone, forward and backward."""
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
    """Return the config of a step with a loss, a key of `LOSSES`."""
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
    """Replace the ranking loss in every head of a model's config."""
    if isinstance(node, dict) and "loss_cls" in node:
        node["loss_cls"].type = kind
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        _set_loss(child, kind)


def _contents(model: Any) -> tuple[int, bool]:
    """Return the number of classes of a detector, and whether it needs masks."""
    heads: Any = getattr(model, "query_head", None) or getattr(model, "bbox_head", None) or model.roi_head.bbox_head
    head: Any = heads[0] if isinstance(heads, nn.ModuleList) else heads
    return int(head.num_classes), bool(getattr(getattr(model, "roi_head", None), "with_mask", False))


def random_batch(setting: Setting, num_classes: int, masks: bool = False) -> dict[str, Any]:
    """Make noise images with random boxes, and masks that fill them if needed, as a data loader would."""
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

    On a CPU they take turns, so that other load on the machine slows all of them; on a GPU each has all the memory.

    Args:
        setting: setting of the steps.
        losses: keys of `LOSSES`.
        repeats: most repeats of each.
        seconds: time for the repeats of each.
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
            # On a CPU it uses a profiler, which would keep every one of the loop's operators
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


def step_markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """Make the table of docs/reproduce.md."""
    return results.markdown(STEP_HEAD, step_rows(records))


def suite_markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """Make the table of docs/detectors.md, one row per detector, from records of `--suite paper`."""
    return results.markdown(SUITE_HEAD, suite_rows(records))


def step_rows(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Make the rows below `STEP_HEAD`."""
    plain = {_setting(record): record["median_s"] for record in records if record["loss"] == "score-based"}
    return [_step_row(record, plain.get(_setting(record))) for record in records]


def suite_rows(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Make the rows below `SUITE_HEAD`."""
    by_setting: dict[str, dict[str, Mapping[str, Any]]] = {}
    for record in records:
        by_setting.setdefault(record["config"].removeprefix("brs-"), {})[record["loss"]] = record
    return [_suite_row(name, by_loss) for name, by_loss in by_setting.items()]


def _suite_row(name: str, by_loss: Mapping[str, Mapping[str, Any]]) -> list[str]:
    seconds = {loss: record["median_s"] for loss, record in by_loss.items()}
    published = tables.published_speed_up(f"brs-{name}")
    exact = by_loss.get("exact", {})
    share = exact.get("loss_share")
    return [
        name,
        f"{seconds['score-based']:.3f}" if seconds.get("score-based") else "",
        *(_ratio(seconds.get(loss), seconds.get("score-based")) for loss in ("exact", "bucketed", "loop")),
        f"{share:.1%}" if share is not None else "",
        _ratio(seconds.get("loop"), seconds.get("bucketed")),
        _ratio(seconds.get("loop"), seconds.get("exact")),
        f"{published:.1f}" if published else "",
    ]


def _ratio(seconds: float | None, other: float | None) -> str:
    return f"{seconds / other:.2f}" if seconds and other else ""


def _step_row(record: Mapping[str, Any], plain_s: float | None) -> list[str]:
    seconds, share, memory = record["median_s"], record["loss_share"], record["peak_bytes"]
    return [
        *_setting(record),
        record["loss"],
        f"{seconds:.3f}" if seconds else record["failure"],
        f"{seconds / plain_s:.2f}" if seconds and plain_s else "",
        f"{share:.1%}" if share is not None else "",
        f"{memory / 2**30:.2f}" if memory else "",
    ]


def _setting(record: Mapping[str, Any]) -> tuple[str, str]:
    return record["config"].removeprefix("brs-"), _options(record)


def _options(record: Mapping[str, Any]) -> str:
    return "+".join(name for name in OPTIONS if record[name]) or "-"


def main(args: argparse.Namespace) -> None:
    device = results.device(args.device)
    register()
    environment = results.describe_environment(device)
    out = args.out or results.default_path(environment, "train-step-suite" if args.suite else "train-step")
    results.require_writable(out)
    console = make_console()
    records: list[dict[str, Any]] = []
    chosen = args.config or [name for name in tables.trained_configs() if name.startswith("brs-")]
    for config in [str(row.config) for row in tables.suite()] if args.suite else chosen:
        for switches in [{}, *args.options]:
            setting = Setting(config, device, args.images, args.size, args.objects, **switches)
            for record in bench_train_step(setting, args.loss, args.repeats, args.seconds):
                records.append(dataclasses.asdict(record))
                console.print(_line(records[-1]))
            results.write_result(out, environment, records)
    console.print(results.console_table(STEP_HEAD, step_rows(records), 3))
    if args.suite:
        console.print(results.console_table(SUITE_HEAD, suite_rows(records), 1))
    console.print(f"Written to {out}")


def _switches(text: str) -> dict[str, bool]:
    names = [name for name in text.split("+") if name]
    if unknown := [name for name in names if name not in OPTIONS]:
        raise argparse.ArgumentTypeError(f"{text}: unknown option {unknown[0]}; the options are {', '.join(OPTIONS)}")
    return dict.fromkeys(names, True)


def _line(record: Mapping[str, Any]) -> str:
    share = "" if record["loss_share"] is None else f", {record['loss_share']:.1%} of it in the losses"
    taken = record["failure"] or f"{record['median_s']:.3f} s{share}"
    return f"{record['config']} {record['loss']} {_options(record)}: {taken}"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", nargs="+", help="names of configs with BRS Loss; default: those of Table 5")
    parser.add_argument("--suite", choices=["paper"], help="measure the detectors of Tables 1, 2, 3, 7 and 8 instead")
    parser.add_argument("--loss", nargs="+", choices=list(LOSSES), default=list(LOSSES))
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--images", type=results.positive, default=2, help="images per step")
    parser.add_argument("--size", type=results.frame_size, default=(800, 1333), help="HEIGHTxWIDTH of images")
    parser.add_argument("--objects", type=int, default=10, help="objects per image")
    parser.add_argument(
        "--with", dest="options", type=_switches, nargs="+", default=[], metavar="A+B", help=f"also with {OPTIONS}"
    )
    parser.add_argument("--repeats", type=results.positive, default=9, help="most repeats of a step")
    parser.add_argument("--seconds", type=float, default=20.0, help="time for the repeats of each loss")
    parser.add_argument("--out", type=Path, help="result file")
    return parser


if __name__ == "__main__":
    results.run(make_parser(), main, sys.argv[1:])
