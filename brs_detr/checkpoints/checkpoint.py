"""Read a checkpoint: weights, class names and config, without running anything that is stored in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brs_detr.analysis.coco_ap import FALLBACK_THRESHOLD
from brs_detr.checkpoints.checkpoint_meta import CALIBRATIONS, class_names_of
from brs_detr.checkpoints.plain_file import load_plain
from brs_detr.checkpoints.safetensors_checkpoint import read_safetensors
from brs_detr.checkpoints.score_cut import leave_out_cuts
from brs_detr.checkpoints.stored_config import read_stored_config
from brs_detr.checkpoints.stored_model import build_stored_model
from brs_detr.errors import UserError
from brs_detr.run.run_folder import checkpoint_file
from brs_detr.runtime.calibration import Calibration, Thresholds

if TYPE_CHECKING:
    import torch
    from mmengine import Config
    from torch import Tensor, nn


ONLY_HEAD = "detector"


@dataclass(frozen=True)
class Checkpoint:
    """What `train` leaves: everything needed to predict, and where it came from.

    Args:
        path: the file.
        config: of the model, how images are prepared for it, and where its data lie.
        class_names: the place in it is the label.
        state_dict: weights by name.
        meta: everything else that the file says.
        left_out_cut: lowest score that the file wanted kept of heads with ranking losses; 0 for every score.
    """

    path: Path
    config: Config
    class_names: tuple[str, ...]
    state_dict: dict[str, Tensor]
    meta: dict[str, Any]
    left_out_cut: float = 0.0

    @property
    def pipeline(self) -> list[dict[str, Any]]:
        """How an image is prepared for the model: what reads it, then the rest.

        Raises:
            UserError: the file does not say it.
        """
        steps = self.config.test_dataloader.dataset.get("pipeline")
        if not steps:
            raise UserError(f"{self.path} does not say how images are prepared.", "Train again.")
        return list(steps)

    @property
    def head(self) -> str:
        """The head that its config names: `query`, `roi` or `atss`; `detector` of a model that has one only."""
        return head_of(self.config)

    def calibration(self, head: str | None = None) -> Calibration | None:
        """What the scores of a head mean, where that was measured; by default of the one that the config names."""
        stored = self.meta.get(CALIBRATIONS, {}).get(head or self.head)
        return None if stored is None else Calibration.from_json(stored, len(self.class_names))

    def thresholds(self, head: str | None = None, *, raw_scores: bool = False) -> Thresholds:
        """Lowest scores to keep: of probabilities those of the calibration, of raw scores the one with the best F1 on
        the validation data of the training."""
        calibration = None if raw_scores else self.calibration(head)
        if calibration is not None:
            return calibration.thresholds
        return float((self.meta.get("metrics") or {}).get("coco/F1_threshold", FALLBACK_THRESHOLD))


def head_of(config: Config) -> str:
    """The head that the model of a config predicts with; `detector` where it has one only."""
    model = config.model
    return str(model.get("eval_head", "query")) if "query_head" in model else ONLY_HEAD


def read_checkpoint(path: str | Path, trust_file: bool = False, *, with_values: bool = True) -> Checkpoint:
    """Read a checkpoint file. The pickle inside may hold tensors and plain values, nothing that runs code.

    Args:
        path: folder of a run (its best checkpoint is read), any checkpoint that mmengine saved, or a `.safetensors`
            file that `brs-detr export` wrote.
        trust_file: run the code that a pickle asks for.
        with_values: read the weights of a pickle; without them they have shape and dtype only.

    Raises:
        UserError: the file is missing, is no checkpoint, asks for code to be run, or has no config or class names.
    """
    path = checkpoint_file(path)
    is_safetensors = path.suffix == ".safetensors"
    content = read_safetensors(path) if is_safetensors else load_plain(path, trust_file, with_values=with_values)
    meta = content.get("meta") if isinstance(content, dict) else None
    if not isinstance(meta, dict) or "state_dict" not in content:
        raise UserError(f"{path} is not a checkpoint of this package.", "Give best.pth or last.pth of a training run.")
    class_names = class_names_of(meta, path)
    _require_tensors(content["state_dict"], path)
    config = read_stored_config(meta["cfg"], str(path), trust_file)
    cut = leave_out_cuts(config.model)
    return Checkpoint(path, config, class_names, content["state_dict"], meta, cut)


def _require_tensors(state_dict: Any, path: Path) -> None:
    import torch

    is_plain = isinstance(state_dict, dict) and all(isinstance(value, torch.Tensor) for value in state_dict.values())
    if not is_plain:
        raise UserError(f"{path} is not a checkpoint of this package: its weights are no tensors.", "Train again.")


def build_model(
    checkpoint: Checkpoint, device: str | None = None, *, head: str | None = None, raw_scores: bool = False
) -> nn.Module:
    """Build the detector of a checkpoint and load its weights.

    Args:
        checkpoint: what `read_checkpoint` returned.
        device: `cpu`, `cuda`, `cuda:1`, ...; by default the GPU if there is one.
        head: to predict with, `query`, `roi` or `atss`; by default the one that the config names.
        raw_scores: leave scores as they were trained. Otherwise they are probabilities, where the checkpoint knows of
            that head what its scores mean.

    Returns:
        The model in evaluation mode, with `dataset_meta` set.

    Raises:
        UserError: the weights do not belong to the config, no model can be built from it, or there is no such device
            or head.
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
    """The device of this name; by default the GPU if there is one.

    Raises:
        UserError: there is no such device.
    """
    import torch

    has_gpu = torch.cuda.is_available()
    try:
        device = torch.device(name or ("cuda" if has_gpu else "cpu"))
    except RuntimeError:
        raise UserError(f"There is no device called {name!r}.", "Choose cpu, cuda, cuda:1, ...") from None
    if device.type == "cuda" and not (has_gpu and (device.index or 0) < torch.cuda.device_count()):
        raise UserError(f"This machine has no device {name}.", "Choose cpu, or see `brs-detr doctor`.")
    return device
