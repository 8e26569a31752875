"""Run artefacts in PyTorch's formats, and the model itself. `brs_detr.runtime.session` runs ONNX."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from brs_detr.checkpoints.checkpoint import build_model, find_device, read_checkpoint
from brs_detr.checkpoints.file_info import read_archived_info
from brs_detr.errors import UserError
from brs_detr.exporting.describe import describe
from brs_detr.exporting.formats import FORMATS, ExportOptions, format_of
from brs_detr.runtime.artefact_info import ArtefactInfo
from brs_detr.runtime.processing import Prepared
from brs_detr.runtime.session import OnnxSession, Outputs, Session

Program = Callable[
    [torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]
]
"""Takes images and their sizes; returns boxes, scores, labels, and the stages by name."""


class StagedSession(Session, Protocol):
    """A session that also returns the intermediate stages."""

    def run_all(self, images: NDArray[Any], image_sizes: NDArray[np.int64] | None) -> dict[str, NDArray[Any]]:
        """Return ``boxes``, ``scores``, ``labels`` and the stages by name."""


class TorchSession:
    """Runs a file in one of PyTorch's formats: torch.export, AOTInductor or TorchScript.

    Args:
        path: file that `brs-detr export` wrote.
        device: `cpu`, `cuda`, ...; default: the CPU. A compiled program runs on the device that it was compiled for.
        info: description of a file that has none yet; default: the stored description.

    Raises:
        UserError: the file is missing, damaged, or was not written by `brs-detr export`.
    """

    def __init__(self, path: str | Path, device: str | None = None, info: ArtefactInfo | None = None) -> None:
        self.path = Path(path)
        self.device = find_device(device or "cpu")
        self.info = _read_info(self.path) if info is None else info
        self._program = _load(self.path, self.device)

    def run(self, images: NDArray[Any], image_sizes: NDArray[np.int64] | None) -> Outputs:
        """Run a batch."""
        return Outputs(*(output.cpu().numpy() for output in self._run(images, image_sizes)[:3]))

    def run_all(self, images: NDArray[Any], image_sizes: NDArray[np.int64] | None) -> dict[str, NDArray[Any]]:
        """Run a batch and return the outputs and the stages by name."""
        *outputs, stages = self._run(images, image_sizes)
        named = {**dict(zip(Outputs._fields, outputs, strict=True)), **stages}
        return {name: output.cpu().numpy() for name, output in named.items()}

    def _run(self, images: NDArray[Any], image_sizes: NDArray[np.int64] | None) -> Any:
        assert image_sizes is not None  # PyTorch's formats contain no preprocessing
        with torch.inference_mode():
            return self._program(
                torch.from_numpy(images).to(self.device), torch.from_numpy(image_sizes).to(self.device)
            )


class ModelSession:
    """Runs the trained model, which artefacts are compared with.

    Args:
        model: a detector of mmdet.
        info: how images are prepared.
        dtype: dtype of the model's inputs.
    """

    def __init__(self, model: nn.Module, info: ArtefactInfo, dtype: torch.dtype = torch.float32) -> None:
        self.model, self.dtype = model, dtype
        self.info = dataclasses.replace(
            info,
            preprocessing=dataclasses.replace(info.preprocessing, inside=False),
            postprocessing=dataclasses.replace(info.postprocessing, inside=True, score_map=None),
        )

    @classmethod
    def of_checkpoint(cls, path: str | Path, device: str | None = None) -> ModelSession:
        """Open the model of a checkpoint or run folder; the default device is the GPU if there is one."""
        checkpoint = read_checkpoint(path)
        model = build_model(checkpoint, device)
        head = getattr(model, "eval_head", "query")
        test_cfg = getattr(model, f"{head}_head").test_cfg
        return cls(model, describe(checkpoint, head, test_cfg, ExportOptions()))

    def run(self, images: NDArray[Any], image_sizes: NDArray[np.int64] | None) -> Outputs:
        """Run a batch."""
        from mmdet.structures import DetDataSample

        assert image_sizes is not None
        samples = [
            DetDataSample(
                metainfo=dict(
                    img_shape=tuple(size),
                    ori_shape=tuple(size),
                    scale_factor=(1.0, 1.0),
                    batch_input_shape=images.shape[2:],
                )
            )
            for size in image_sizes.tolist()
        ]
        with torch.inference_mode():
            batch = torch.from_numpy(images).to(next(self.model.parameters()).device, self.dtype)
            found = self.model(batch, samples, mode="predict")
        return padded_outputs(found, self.info.postprocessing.max_detections)

    def expected_stages(self, prepared: Prepared, batch_size: int) -> Any:
        """Compute the stages that an artefact must give on copies of a prepared image (`co_detr.expected_stages`)."""
        images = torch.from_numpy(prepared.images).to(self.dtype).repeat(batch_size, 1, 1, 1)
        return self.model.expected_stages(images, torch.from_numpy(prepared.image_sizes))  # type: ignore[operator]

    def mapped(self, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Map scores of detections to probabilities, if the model does so as its last step."""
        return self.model.score_map(scores, labels) if hasattr(self.model, "score_map") else scores  # type: ignore[operator]


def padded_outputs(samples: Sequence[Any], number: int) -> Outputs:
    """Stack the predictions of mmdet for a batch, padded to a number of detections by scores of -1."""

    def padded(instances: Any) -> Outputs:
        missing = number - len(instances)
        return Outputs(
            F.pad(instances.bboxes, (0, 0, 0, missing)).numpy(),
            F.pad(instances.scores, (0, missing), value=-1.0).numpy(),
            F.pad(instances.labels, (0, missing)).numpy(),
        )

    return Outputs(*map(np.stack, zip(*(padded(sample.pred_instances.cpu()) for sample in samples), strict=True)))


def _read_info(path: Path) -> ArtefactInfo:
    info = read_archived_info(path)
    if info is None:
        raise UserError(f"{path} was not written by `brs-detr export`.", "Export the checkpoint with it.")
    return info


def _load(path: Path, device: torch.device) -> Program:
    if path.name.endswith(FORMATS["aoti"].suffix):
        return torch._inductor.aoti_load_package(str(path))
    if path.suffix == FORMATS["torchscript"].suffix:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this format is deprecated
            return torch.jit.load(str(path), map_location=device)
    program = torch.export.load(path)
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    return program.module()  # type: ignore[return-value]


def open_session(path: str | Path, device: str | None = None, num_threads: int | None = None) -> tuple[str, Session]:
    """Open a file for measurements. Of a checkpoint, only the model runs, without its test pipeline.

    Args:
        path: exported file, run folder or checkpoint.
        device: default: the GPU if there is one.
        num_threads: number of CPU threads; default: the library's choice.

    Returns:
        The name of the format, ``pytorch`` for a checkpoint, and the session.
    """
    path = Path(path)
    name = format_of(path)
    if name == "onnx":
        return name, OnnxSession(path, device, num_threads)
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    return (name, TorchSession(path, device)) if name else ("pytorch", ModelSession.of_checkpoint(path, device))
