"""Checkpoints, and the models that are built from them. Nothing that is stored in a file is run."""

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
from brs_detr.errors import UserError
from brs_detr.run.run_folder import checkpoint_file
from brs_detr.runtime.calibration import Calibration, Thresholds

if TYPE_CHECKING:
    from mmengine import Config
    from mmengine.model import BaseModel

ONLY_HEAD = "detector"

_FACTORIES = {torch.empty, torch.full, torch.ones, torch.rand, torch.randn, torch.zeros}
_SPARE = 2**24  # numbers that a model may make besides its weights
_CUT, _NUM_KEPT = "score_thr", "nms_pre"
_NEAR = 0.02  # of a score to the cut


@dataclass(frozen=True)
class Checkpoint:
    """What `train` leaves: all that is needed to predict, and where it came from.

    Args:
        path: the file.
        config: of the model, of how images are prepared for it, and of where its data are.
        class_names: by label.
        state_dict: weights by name.
        meta: everything else in the file.
        left_out_cut: lowest score that the file wanted to keep of heads with ranking losses, 0 for every score.
    """

    path: Path
    config: Config
    class_names: tuple[str, ...]
    state_dict: dict[str, Tensor]
    meta: dict[str, Any]
    left_out_cut: float = 0.0

    @property
    def pipeline(self) -> list[dict[str, Any]]:
        """How an image is prepared for the model: the step that reads it, then the rest.

        Raises:
            UserError: the file does not say it.
        """
        steps = self.config.test_dataloader.dataset.get("pipeline")
        if not steps:
            raise UserError(f"{self.path} does not say how images are prepared.", "Train again.")
        return list(steps)

    @property
    def head(self) -> str:
        """The head that the config names: `query`, `roi` or `atss`, or `detector` for a model with one head."""
        return head_of(self.config)

    def calibration(self, head: str | None = None) -> Calibration | None:
        """Return what the scores of a head mean, if it was measured. The default is the head that the config names."""
        stored = self.meta.get(CALIBRATIONS, {}).get(head or self.head)
        return None if stored is None else Calibration.from_json(stored, len(self.class_names))

    def thresholds(self, head: str | None = None, *, raw_scores: bool = False) -> Thresholds:
        """Return the lowest scores to keep.

        For probabilities those of the calibration, for raw scores the one with the best F1 in validation.
        """
        calibration = None if raw_scores else self.calibration(head)
        if calibration is not None:
            return calibration.thresholds
        return float((self.meta.get("metrics") or {}).get("coco/F1_threshold", FALLBACK_THRESHOLD))


def head_of(config: Config) -> str:
    """The head that the model of a config predicts with; `detector` where it has one only."""
    model = config.model
    return str(model.get("eval_head", "query")) if "query_head" in model else ONLY_HEAD


def read_checkpoint(path: str | Path, trust_file: bool = False, *, with_values: bool = True) -> Checkpoint:
    """Read a checkpoint file of tensors and plain values.

    Args:
        path: folder of a run for its best checkpoint, any checkpoint that mmengine saved, or a `.safetensors` file
            that `brs-detr export` wrote.
        trust_file: run the code that a pickle asks for.
        with_values: read the weights of a pickle. Otherwise they have shape and dtype only.

    Raises:
        UserError: the file is missing, is no checkpoint, asks for code to be run, or has no config or class names.
    """
    path = checkpoint_file(path)
    content = load_plain(path, trust_file, with_values=with_values)
    meta = content.get("meta") if isinstance(content, dict) else None
    if not isinstance(meta, dict) or "state_dict" not in content:
        raise UserError(f"{path} is not a checkpoint of this package.", "Give best.pth or last.pth of a training run.")
    class_names, state_dict = checked_class_names(meta, path), content["state_dict"]
    if not isinstance(state_dict, dict) or not all(isinstance(value, Tensor) for value in state_dict.values()):
        raise UserError(f"{path} is not a checkpoint of this package: its weights are no tensors.", "Train again.")
    config = read_stored_config(meta["cfg"], str(path), trust_file)
    return Checkpoint(path, config, class_names, state_dict, meta, leave_out_cuts(config.model))


def build_model(
    checkpoint: Checkpoint, device: str | None = None, *, head: str | None = None, raw_scores: bool = False
) -> nn.Module:
    """Build the detector of a checkpoint and load its weights.

    Args:
        checkpoint: from `read_checkpoint`.
        device: `cpu`, `cuda`, `cuda:1`, ...; the default is the GPU if there is one.
        head: to predict with, `query`, `roi` or `atss`; the default is the one that the config names.
        raw_scores: leave scores as they were trained. Otherwise they are probabilities if the checkpoint has a
            calibration of the head.

    Returns:
        The model in evaluation mode, with `dataset_meta` set.

    Raises:
        UserError: the weights do not fit the config, no model can be built from it, or there is no such device or
            head.
    """
    from brs_detr.heads.calibrated import calibrate_model

    place = find_device(device)
    model = build_stored_model(checkpoint.config.model, checkpoint.state_dict, str(checkpoint.path))
    model.dataset_meta = {"classes": checkpoint.class_names}  # type: ignore[assignment]
    if head is not None:
        choose_head(model, head)
    calibration = None if raw_scores else checkpoint.calibration(head)
    if calibration is not None:
        calibrate_model(model, calibration.score_map)
    return model.to(place).eval()


def choose_head(model: nn.Module, head: str) -> None:
    """Let a model predict with another of its heads.

    Raises:
        UserError: it has no such head.
    """
    if not hasattr(model, "eval_head"):
        raise UserError(f"{type(model).__name__} has one head only.", "Leave out --head.")
    try:
        model.eval_head = head  # type: ignore[assignment]
    except ValueError as error:
        raise UserError(f"--head {head}: {error}.", "Leave out --head, or choose another.") from None


def find_device(name: str | None) -> torch.device:
    """Return the device of this name. The default is the GPU if there is one.

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
    """Build a model with its weights, in training mode. It takes no more memory than the file accounts for.

    Args:
        config: of the model, from `brs_detr.checkpoints.stored_config.read_stored_config`.
        state_dict: its weights.
        source: the file, for messages.

    Raises:
        UserError: no model can be built from the config, or its weights differ from those of the file.
    """
    from mmengine.registry import MODELS, init_default_scope

    register()
    init_default_scope("mmdet")
    stored = sum(min(one.numel(), one.untyped_storage().nbytes() // one.element_size()) for one in state_dict.values())
    try:
        with _AtMost(2 * stored + _SPARE):
            model: nn.Module = MODELS.build(copy.deepcopy(config))  # mmdet's layers write into theirs
        model.load_state_dict(state_dict)
    except UserError:
        raise
    except RuntimeError as error:
        raise UserError(f"The weights in {source} do not fit its config: {error}", "Ask its author.") from None
    except Exception as error:  # of whatever class got what it cannot use
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"No model can be built from the config in {source}: {reason}", "Ask its author.") from None
    return model


class _AtMost(TorchFunctionMode):
    """Refuses to make more than so many numbers, before they take memory."""

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
    """Build the model of a config with random weights. Nothing is downloaded, and the random state stays as it was.

    Args:
        config: from `brs_detr.config.config.load_config`; loses the backbone's pretrained weights.
        seed: of the weights.
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
    """Let heads with ranking losses keep their best scores, however low: after a ranking loss a level has no meaning.

    Args:
        model: config of a detector, changed in place.

    Returns:
        The highest of the cuts that were left out, 0 without any.
    """
    highest = 0.0
    for head, settings in _heads(model):
        cut = _number(settings, _CUT, 0.0)
        if str(head.get("type", "")).startswith("Ranking") and cut > 0:
            settings[_CUT] = 0.0
            if settings is not model.get("test_cfg"):  # without a cut, a second stage has a score for every pair
                settings.setdefault(_NUM_KEPT, max(1000, 10 * int(_number(settings, "max_per_img", 100))))
            highest = max(highest, cut)
    return highest


def warn_of_cut(model: Mapping[str, Any], best_threshold: float) -> str | None:
    """Return a warning if the score with the best F1 is at the lowest score that is kept: better ones may be below.

    Args:
        model: config of a detector.
        best_threshold: score with the best F1.
    """
    cut = max((_number(settings, _CUT, 0.0) for _, settings in _heads(model)), default=0.0)
    if not 0 < cut <= best_threshold <= cut + _NEAR:
        return None
    return (
        f"The best F1 is at a score of {best_threshold:.3f}, the lowest that is kept ({_CUT}={cut:g}): what lies below "
        f"would raise the AP. Set {_CUT} to 0 in the model's test_cfg."
    )


def _heads(model: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], MutableMapping[str, Any]]]:
    """Heads that give detections, each with its part of ``test_cfg``. Anything else in its place is skipped."""

    def part(node: Any, key: str) -> Any:
        return node.get(key) if isinstance(node, Mapping) else None

    settings, box_head = model.get("test_cfg"), part(model.get("roi_head"), "bbox_head")
    heads = (
        (model.get("bbox_head"), settings),
        (model.get("atss_head"), part(settings, "atss")),
        (box_head[-1] if isinstance(box_head, (list, tuple)) and box_head else box_head, part(settings, "rcnn")),
    )
    for head, own in heads:
        if isinstance(head, Mapping) and isinstance(own, MutableMapping):
            yield head, own


def _number(settings: Mapping[str, Any], key: str, default: float) -> float:
    value = settings.get(key)
    return float(value) if isinstance(value, (int, float)) else default
