"""Read checkpoints and build their models, without running code that is stored in the files."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from brs_detr.analysis.curves import FALLBACK_THRESHOLD
from brs_detr.checkpoints.plain_file import CALIBRATIONS, checked_class_names, load_plain
from brs_detr.checkpoints.stored_config import read_stored_config
from brs_detr.data.loading.registry import register
from brs_detr.errors import UserError, first_line
from brs_detr.run.run_folder import checkpoint_file
from brs_detr.runtime.calibration import Calibration, Thresholds

if TYPE_CHECKING:
    from mmengine import Config
    from mmengine.model import BaseModel

ONLY_HEAD = "detector"
"""Name of the head of a model with a single head."""

_FACTORIES = {torch.empty, torch.full, torch.ones, torch.rand, torch.randn, torch.zeros}
_SPARE = 2**24  # number of values that a model may create besides its weights
_CUT, _NUM_KEPT = "score_thr", "nms_pre"
_NEAR = 0.02  # distance from the cut within which a threshold is suspicious


@dataclass(frozen=True)
class Checkpoint:
    """Everything that is needed to predict, and where it came from.

    Args:
        path: the file.
        config: config of the model, its test pipeline, and the location of its dataset.
        class_names: class names by label.
        state_dict: weights by name.
        meta: all other metadata in the file.
        left_out_cut: highest score cut that was removed from heads with ranking losses, 0 without any.
    """

    path: Path
    config: Config
    class_names: tuple[str, ...]
    state_dict: dict[str, Tensor]
    meta: dict[str, Any]
    left_out_cut: float = 0.0

    @property
    def pipeline(self) -> list[dict[str, Any]]:
        """The test pipeline; its first step reads the image.

        Raises:
            UserError: the file has none.
        """
        steps = self.config.test_dataloader.dataset.get("pipeline")
        if not steps:
            raise UserError(f"{self.path} has no test pipeline.", "Train again.")
        return list(steps)

    @property
    def head(self) -> str:
        """The head that the config names: `query`, `roi` or `atss`; `detector` for a model with a single head."""
        return head_of(self.config)

    def calibration(self, head: str | None = None) -> Calibration | None:
        """Return the calibration of a head, by default the one that the config names; None without calibration."""
        stored = self.meta.get(CALIBRATIONS, {}).get(head or self.head)
        return None if stored is None else Calibration.from_json(stored, len(self.class_names))

    def thresholds(self, head: str | None = None, *, raw_scores: bool = False) -> Thresholds:
        """Return the lowest scores to keep.

        For probabilities, these are the thresholds of the calibration; for raw scores, the threshold with the best F1
        on the validation split.
        """
        calibration = None if raw_scores else self.calibration(head)
        if calibration is not None:
            return calibration.thresholds
        return float((self.meta.get("metrics") or {}).get("coco/F1_threshold", FALLBACK_THRESHOLD))


def head_of(config: Config) -> str:
    """Return the head that the model of a config predicts with; `detector` for a model with a single head."""
    model = config.model
    return str(model.get("eval_head", "query")) if "query_head" in model else ONLY_HEAD


def read_checkpoint(path: str | Path, trust_file: bool = False, *, with_values: bool = True) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: folder of a run, which means its best checkpoint; a checkpoint of mmengine; or a `.safetensors` file of
            `brs-detr convert-checkpoint`.
        trust_file: run code that a pickle or a config asks for.
        with_values: read the weights of a pickle; otherwise they have only shape and dtype.

    Raises:
        UserError: the file is missing, is not a checkpoint, asks for code to be run, or has no config or class names.
    """
    path = checkpoint_file(path)
    content = load_plain(path, trust_file, with_values=with_values)
    if not (isinstance(content, dict) and isinstance(content.get("meta"), dict) and "state_dict" in content):
        raise UserError(f"{path} is not a checkpoint of this package.", "Give best.pth or last.pth of a training run.")
    meta, state_dict = content["meta"], content["state_dict"]
    class_names = checked_class_names(meta, path)
    if not isinstance(state_dict, dict) or not all(isinstance(value, Tensor) for value in state_dict.values()):
        raise UserError(f"{path} is not a checkpoint of this package: its weights are not tensors.", "Train again.")
    config = read_stored_config(meta["cfg"], str(path), trust_file)
    return Checkpoint(path, config, class_names, state_dict, meta, leave_out_cuts(config.model))


def build_model(
    checkpoint: Checkpoint, device: str | None = None, *, head: str | None = None, raw_scores: bool = False
) -> nn.Module:
    """Build the detector of a checkpoint and load its weights.

    Args:
        checkpoint: from `read_checkpoint`.
        device: `cpu`, `cuda`, `cuda:1`, ...; default: the GPU if there is one.
        head: `query`, `roi` or `atss`; default: the head that the config names.
        raw_scores: predict raw scores. Otherwise, they are probabilities if the checkpoint has a calibration of the
            head.

    Returns:
        The model in evaluation mode, with `dataset_meta` set.

    Raises:
        UserError: the weights do not fit the config, no model can be built from it, or there is no such device or
            head.
    """
    from brs_detr.heads.calibrated import calibrate_model

    model_device = find_device(device)
    model = build_stored_model(checkpoint.config.model, checkpoint.state_dict, str(checkpoint.path))
    model.dataset_meta = {"classes": checkpoint.class_names}  # type: ignore[assignment]
    if head is not None:
        choose_head(model, head)
    calibration = None if raw_scores else checkpoint.calibration(head)
    if calibration is not None:
        calibrate_model(model, calibration.score_map)
    return model.to(model_device).eval()


def choose_head(model: nn.Module, head: str) -> None:
    """Choose the head that a model predicts with.

    Raises:
        UserError: it has no such head.
    """
    if not hasattr(model, "eval_head"):
        raise UserError(f"{type(model).__name__} has only one head.", "Leave out --head.")
    try:
        model.eval_head = head  # type: ignore[assignment]
    except ValueError as error:
        raise UserError(f"--head {head}: {error}.", "Leave out --head, or choose another.") from None


def find_device(name: str | None) -> torch.device:
    """Return the device with a name; the default is the GPU if there is one.

    Raises:
        UserError: there is no such device.
    """
    has_gpu = torch.cuda.is_available()
    try:
        device = torch.device(name or ("cuda" if has_gpu else "cpu"))
    except RuntimeError:
        raise UserError(f"There is no device called {name!r}.", "Choose cpu, cuda, cuda:1, ...") from None
    if device.type == "cuda" and not (has_gpu and (device.index or 0) < torch.cuda.device_count()):
        raise UserError(f"This machine has no device {name}.", "Choose cpu, or see `brs-detr doctor`.")
    return device


def build_stored_model(config: Mapping[str, Any], state_dict: Mapping[str, Tensor], source: str) -> nn.Module:
    """Build a model in training mode and load its weights, refusing a model that is larger than the file.

    Args:
        config: config of the model, from `brs_detr.checkpoints.stored_config.read_stored_config`.
        state_dict: weights of the model.
        source: name of the file, for messages.

    Raises:
        UserError: no model can be built from the config, or its weights differ from those in the file.
    """
    from mmengine.registry import MODELS, init_default_scope

    register()
    init_default_scope("mmdet")
    stored = sum(min(one.numel(), one.untyped_storage().nbytes() // one.element_size()) for one in state_dict.values())
    try:
        with _AtMost(2 * stored + _SPARE):
            model: nn.Module = MODELS.build(copy.deepcopy(config))  # mmdet's layers modify their configs
        model.load_state_dict(state_dict)
    except UserError:
        raise
    except RuntimeError as error:
        raise UserError(f"The weights in {source} do not fit its config: {error}", "Ask its author.") from None
    except Exception as error:  # depends on the class
        raise UserError(
            f"No model can be built from the config in {source}: {first_line(error)}", "Ask its author."
        ) from None
    return model


class _AtMost(TorchFunctionMode):
    """Limits the number of values in new tensors, before they take memory."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.left = most

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FACTORIES:  # called as torch.zeros(2, 3) or torch.zeros((2, 3))
            size = kwargs["size"] if "size" in kwargs else args[:1] if func is torch.full else args
            flat = [side for part in size for side in (part if isinstance(part, (list, tuple)) else [part])]
            self.left -= math.prod(side for side in flat if isinstance(side, int))
            if self.left < 0:
                raise RuntimeError("it would be larger than the file")
        return func(*args, **kwargs)


def random_model(config: Config, seed: int = 0) -> BaseModel:
    """Build the model of a config with random weights, without a download and without changing the random state.

    Args:
        config: from `brs_detr.config.config.load_config`; the backbone's pretrained weights are removed from it.
        seed: seed of the weights.
    """
    from mmengine.registry import MODELS, init_default_scope

    config.model.backbone.init_cfg = None
    init_default_scope(config.get("default_scope", "mmdet"))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: BaseModel = MODELS.build(config.model)
        logging.disable(logging.WARNING)  # mmengine logs every parameter that it initialises
        try:
            model.init_weights()
        finally:
            logging.disable(logging.NOTSET)
    return model


def leave_out_cuts(model: MutableMapping[str, Any]) -> float:
    """Remove score cuts from heads with ranking losses, whose scores have an order but no absolute meaning.

    Args:
        model: config of a detector; changed in place.

    Returns:
        The highest cut that was removed, 0 without any.
    """
    highest = 0.0
    for head, settings in _heads(model):
        cut = _number(settings, _CUT, 0.0)
        if str(head.get("type", "")).startswith("Ranking") and cut > 0:
            settings[_CUT] = 0.0
            if settings is not model.get("test_cfg"):  # else a second stage would keep every box and class
                settings.setdefault(_NUM_KEPT, max(1000, 10 * int(_number(settings, "max_per_img", 100))))
            highest = max(highest, cut)
    return highest


def warn_of_cut(model: Mapping[str, Any], best_threshold: float) -> str | None:
    """Return a warning if the best threshold is so near to the score cut that a better one may lie below it.

    Args:
        model: config of a detector.
        best_threshold: score with the best F1.
    """
    cut = max((_number(settings, _CUT, 0.0) for _, settings in _heads(model)), default=0.0)
    if not 0 < cut <= best_threshold <= cut + _NEAR:
        return None
    return (
        f"The best F1 is at a score of {best_threshold:.3f}, near the lowest that is kept ({_CUT}={cut:g}): lower "
        f"scores would raise the AP. Set {_CUT} to 0 in the model's test_cfg."
    )


def _heads(model: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], MutableMapping[str, Any]]]:
    """Yield the heads that give detections, each with its part of ``test_cfg``; malformed entries are skipped."""

    def part(node: Any, key: str) -> Any:
        return node.get(key) if isinstance(node, Mapping) else None

    settings, box_head = model.get("test_cfg"), part(model.get("roi_head"), "bbox_head")
    heads = (
        (model.get("bbox_head"), settings),
        (model.get("atss_head"), part(settings, "atss")),
        (box_head[-1] if isinstance(box_head, (list, tuple)) and box_head else box_head, part(settings, "rcnn")),
    )
    for head, test_cfg in heads:
        if isinstance(head, Mapping) and isinstance(test_cfg, MutableMapping):
            yield head, test_cfg


def _number(settings: Mapping[str, Any], key: str, default: float) -> float:
    value = settings.get(key)
    return float(value) if isinstance(value, (int, float)) else default
