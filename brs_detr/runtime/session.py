"""Sessions, which run a model; `OnnxSession` runs an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from brs_detr.errors import UserError, first_line
from brs_detr.runtime.artefact_info import METADATA_KEY, ArtefactInfo


class Outputs(NamedTuple):
    """Outputs of an artefact, see `brs_detr.runtime.artefact_info`."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]


class Session(Protocol):
    """Runs a model or an artefact."""

    info: ArtefactInfo

    def run(self, images: NDArray[Any], image_sizes: NDArray[np.int64] | None) -> Outputs:
        """Run a batch. `image_sizes` is None if preprocessing is inside."""


class OnnxSession:
    """Runs an ONNX file in onnxruntime.

    Args:
        path: file that `brs-detr export` wrote.
        device: `cpu`, `cuda`, `cuda:1`, ...; default: the GPU if onnxruntime can use one.
        num_threads: number of CPU threads; default: all cores.
        keep_memory: keep memory for the next batch; otherwise it is released after each.

    Raises:
        UserError: the file is missing, damaged or was not written by `brs-detr export`, or there is no such device.
    """

    def __init__(
        self,
        path: str | Path,
        device: str | None = None,
        num_threads: int | None = None,
        *,
        keep_memory: bool = True,
    ) -> None:
        import onnxruntime

        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"There is no file {self.path}.", "Check the path.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = num_threads or 0
        options.enable_cpu_mem_arena = options.enable_mem_pattern = keep_memory
        providers = _providers(device, onnxruntime.get_available_providers())
        try:
            self._session = onnxruntime.InferenceSession(str(self.path), options, providers=providers)
        except Exception as error:  # onnxruntime has a dozen exceptions
            raise UserError(
                f"{self.path} is damaged or not an ONNX model: {first_line(error)}",
                "Export the checkpoint again; `brs_detr.Detector` opens checkpoints and other formats.",
            ) from None
        if device and device.startswith("cuda") and "CUDAExecutionProvider" not in self._session.get_providers():
            raise UserError(
                f"onnxruntime cannot use the device {device}, and would use the CPU instead.",
                "Check its number, and that driver, CUDA and cuDNN fit onnxruntime-gpu; or choose cpu.",
            )
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise UserError(
                f"{self.path} is an ONNX model, but was not written by `brs-detr export`: it does not describe its "
                "preprocessing and its classes.",
                "Export the checkpoint with `brs-detr export`.",
            )
        self.info = ArtefactInfo.from_json(text, self.path)

    def run(self, images: NDArray[Any], image_sizes: NDArray[np.int64] | None) -> Outputs:
        """Run a batch."""
        return Outputs(*self._session.run(list(Outputs._fields), _named(images, image_sizes)))

    def run_all(self, images: NDArray[Any], image_sizes: NDArray[np.int64] | None) -> dict[str, NDArray[Any]]:
        """Run a batch and return every output of the graph by name."""
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, _named(images, image_sizes)), strict=True))


def _named(images: NDArray[Any], image_sizes: NDArray[np.int64] | None) -> dict[str, NDArray[Any]]:
    return {"images": images} if image_sizes is None else {"images": images, "image_sizes": image_sizes}


def _providers(device: str | None, available: list[str]) -> list[Any]:
    """Return the execution providers, the preferred one first."""
    kind, _, number = (device or "").partition(":")
    if kind not in ("", "cpu", "cuda") or (number and not number.isdigit()):
        raise UserError(f"There is no device called {device!r}.", "Choose cpu, cuda, cuda:1, ...")
    has_gpu = "CUDAExecutionProvider" in available
    if kind == "cuda" and not has_gpu:
        raise UserError(f"onnxruntime has no device {device} here.", "Choose cpu, or install onnxruntime-gpu.")
    if kind == "cpu" or not has_gpu:
        return ["CPUExecutionProvider"]
    return [("CUDAExecutionProvider", {"device_id": int(number or 0)}), "CPUExecutionProvider"]
