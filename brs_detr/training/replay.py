"""Save a training step to a file, and replay it."""

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
    """Result of a replayed step.

    Args:
        step: number of the step in the training.
        losses: losses by name.
        first_layer: name of the first module in the forward pass whose output is not finite, or None.
        gradients: names of the parameters whose gradients are not finite.
        images: paths of the images.
        weights: names of the parameters that were not finite before the step.
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
    """Save a training step as tensors and plain values.

    Args:
        path: file to write.
        config: config of the training.
        model: the model with the weights before the step.
        batch: the batch from the data loader.
        seeds: seeds of the step, see `brs_detr.training.seeds.seed_all`.
        step: number of the step.
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
    boxes = getattr(instances.bboxes, "tensor", instances.bboxes)  # mmdet may wrap boxes in a class
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
    """Replay a step saved by `save_step`: forward and backward, without an update.

    Args:
        path: the file.
        device: `cpu`, `cuda`, ...
        trust_file: run the code that the file asks for.

    Raises:
        UserError: the file cannot be read, is not a training step, or asks for code to run.
    """
    content = load_plain(Path(path), trust_file)
    if not isinstance(content, dict) or content.get("brs_detr_step") != _VERSION:
        raise UserError(
            f"{path} is not a training step, or is from another version.", "Give a `failed_step.pth` from a run folder."
        )
    model, batch = _rebuild(content, device, Path(path), trust_file)
    seed_all(*content["seeds"])
    layers = _watch_layers(model)
    parsed = model(**model.data_preprocessor(batch, training=True), mode="loss")
    losses = {name: sum(value) if isinstance(value, list) else value for name, value in parsed.items()}
    total = sum(value for name, value in losses.items() if "loss" in name)
    if isinstance(total, Tensor) and total.requires_grad:
        total.backward()
    return Replay(
        step=content["step"],
        losses={name: float(torch.as_tensor(value).detach()) for name, value in losses.items()},
        first_layer=next(iter(layers), None),
        gradients=[name for name, parameter in model.named_parameters() if _is_not_finite(parameter.grad)],
        images=[str(sample["metainfo"].get("img_path", "?")) for sample in content["data_samples"]],
        weights=[name for name, parameter in model.named_parameters() if _is_not_finite(parameter)],
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


def _is_not_finite(tensor: Tensor | None) -> bool:
    return tensor is not None and not bool(tensor.isfinite().all())


def _watch_layers(model: nn.Module) -> list[str]:
    """Return a list to which the forward pass will append the names of leaf modules whose output is not finite."""
    names: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            outputs = output if isinstance(output, (tuple, list)) else [output]
            tensors = [value for value in outputs if isinstance(value, Tensor) and value.is_floating_point()]
            if any(map(_is_not_finite, tensors)):
                names.append(name)

        return hook

    for name, module in model.named_modules():
        if name and not list(module.children()) and name != "data_preprocessor":
            module.register_forward_hook(watch(name))
    return names
