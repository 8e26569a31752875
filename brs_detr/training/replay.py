"""Write a training step to a file, and repeat it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from brs_detr.checkpoints.checkpoint import build_stored_model
from brs_detr.checkpoints.plain_file import load_plain
from brs_detr.checkpoints.stored_config import read_stored_config
from brs_detr.errors import UserError
from brs_detr.files import written_whole
from brs_detr.training.seeds import seed_all

if TYPE_CHECKING:
    from mmengine import Config

_VERSION = 2


@dataclass(frozen=True)
class Replay:
    """Outcome of a repeated step.

    Args:
        step: its number in the training.
        losses: by name.
        first_layer: first module, in the order of the forward pass, with an output that is not finite.
        gradients: names of parameters whose gradient is not finite.
        images: paths.
        weights: names of parameters that are not finite to begin with.
    """

    step: int
    losses: dict[str, float]
    first_layer: str | None
    gradients: list[str]
    images: list[str]
    weights: list[str]

    @property
    def is_finite(self) -> bool:
        """Whether all losses, outputs and gradients were finite."""
        values = torch.tensor(list(self.losses.values()))
        return bool(values.isfinite().all()) and not self.gradients and self.first_layer is None


def save_step(
    path: Path, config: Config, model: nn.Module, batch: Mapping[str, Any], seeds: Sequence[int], step: int
) -> None:
    """Write a training step, as tensors and plain values alone.

    Args:
        path: of the file.
        config: of the training.
        model: with the weights before the step.
        batch: as the data loader gave it.
        seeds: of the step, for `brs_detr.training.seeds.seed_all`.
        step: its number.
    """
    content = {
        "brs_detr_step": _VERSION,
        "step": step,
        "config": config.pretty_text,
        "state_dict": {name: value.cpu() for name, value in model.state_dict().items()},
        "inputs": [image.cpu() for image in batch["inputs"]],
        "data_samples": [_plain_sample(sample) for sample in batch["data_samples"]],
        "seeds": list(seeds),
    }
    with written_whole(path) as partial:
        torch.save(content, partial)


def _plain_sample(sample: Any) -> dict[str, Any]:
    return {
        "metainfo": {name: _plain(value) for name, value in sample.metainfo.items()},
        "objects": _plain_objects(sample.gt_instances),
        "ignored": _plain_objects(sample.ignored_instances) if "ignored_instances" in sample else None,
    }


def _plain_objects(instances: Any) -> dict[str, Tensor]:
    boxes = getattr(instances.bboxes, "tensor", instances.bboxes)  # mmdet has a class for boxes
    plain = {"bboxes": boxes.cpu(), "labels": instances.labels.cpu()}
    if "masks" in instances:
        plain["masks"] = torch.from_numpy(np.array(instances.masks.to_ndarray()))
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, (int, float, bool, str, type(None))) else str(value)


def replay(path: str | Path, device: str = "cpu", *, trust_file: bool = False) -> Replay:
    """Repeat a step that `save_step` wrote: forward and backward, without an update.

    Args:
        path: of the file.
        device: to repeat it on.
        trust_file: run code that the file asks for.

    Raises:
        UserError: the file cannot be read, is no training step, or asks for code to run.
    """
    content = load_plain(Path(path), trust_file)
    if not isinstance(content, dict) or content.get("brs_detr_step") != _VERSION:
        raise UserError(
            f"{path} is no training step, or one of another version.",
            "Give the `failed_step.pth` that a training left.",
        )
    model, batch = _rebuild(content, device, Path(path), trust_file)
    seed_all(*content["seeds"])
    layers = _first_not_finite(model)
    parsed = model(**model.data_preprocessor(batch, training=True), mode="loss")
    losses = {name: sum(value) if isinstance(value, list) else value for name, value in parsed.items()}
    total = sum(value for name, value in losses.items() if "loss" in name)
    if isinstance(total, Tensor) and total.requires_grad:
        total.backward()
    return Replay(
        step=content["step"],
        losses={name: float(torch.as_tensor(value).detach()) for name, value in losses.items()},
        first_layer=next(iter(layers), None),
        gradients=[name for name, parameter in model.named_parameters() if _is_wrong(parameter.grad)],
        images=[str(sample["metainfo"].get("img_path", "?")) for sample in content["data_samples"]],
        weights=[name for name, parameter in model.named_parameters() if _is_wrong(parameter)],
    )


def _rebuild(content: Mapping[str, Any], device: str, path: Path, trust_file: bool) -> tuple[Any, dict[str, Any]]:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    config = read_stored_config(content["config"], str(path), trust_file)
    model = build_stored_model(config.model, content["state_dict"], str(path))

    def objects(plain: Mapping[str, Any]) -> InstanceData:
        instances = InstanceData(bboxes=plain["bboxes"], labels=plain["labels"])
        if "masks" in plain:
            masks = plain["masks"].numpy()
            instances.masks = BitmapMasks(masks, *masks.shape[1:])
        return instances

    samples = []
    for plain in content["data_samples"]:
        meta = {name: tuple(value) if isinstance(value, list) else value for name, value in plain["metainfo"].items()}
        sample = DetDataSample(metainfo=meta, gt_instances=objects(plain["objects"]))
        if plain["ignored"] is not None:
            sample.ignored_instances = objects(plain["ignored"])
        samples.append(sample)
    return model.to(device).train(), {"inputs": content["inputs"], "data_samples": samples}


def _is_wrong(tensor: Tensor | None) -> bool:
    return tensor is not None and not bool(tensor.isfinite().all())


def _first_not_finite(model: nn.Module) -> list[str]:
    """A list that the forward pass fills with the names of leaf modules whose output is not finite, in its order."""
    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            outputs = output if isinstance(output, (tuple, list)) else [output]
            if any(_is_wrong(one) for one in outputs if isinstance(one, Tensor) and one.is_floating_point()):
                found.append(name)

        return hook

    for name, module in model.named_modules():
        if name and not list(module.children()) and name != "data_preprocessor":
            module.register_forward_hook(watch(name))
    return found
