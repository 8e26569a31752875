"""Run an artefact in one of PyTorch's formats; the sibling for ONNX is `brs_detr.runtime.session.OnnxSession`."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from brs_detr.engine.checkpoint import find_device
from brs_detr.errors import UserError
from brs_detr.runtime.artefact_info import METADATA_KEY, ArtefactInfo
from brs_detr.runtime.session import Outputs

Program = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


class TorchSession:
    """An exported program, a compiled one or a TorchScript, told apart by what is in the file.

    Args:
        path: file that `brs-detr export` wrote.
        device: `cpu`, `cuda`, ...; by default the CPU. A compiled program runs where it was compiled for.

    Raises:
        UserError: the file is missing, damaged, or was not written by `brs-detr export`.
    """

    def __init__(self, path: str | Path, device: str | None = None) -> None:
        self.path = Path(path)
        self.device = find_device(device or "cpu")
        names, text = _read_archive(self.path)
        self.info = ArtefactInfo.from_json(text, self.path)
        self._program = _load(self.path, names, self.device)

    def run(self, images: NDArray[np.float32], image_sizes: NDArray[np.int64]) -> Outputs:
        """What the artefact gives, see `brs_detr.runtime.artefact_info`."""
        with torch.inference_mode():
            outputs = self._program(
                torch.from_numpy(images).to(self.device), torch.from_numpy(image_sizes).to(self.device)
            )
        return Outputs(*(output.cpu().numpy() for output in outputs))


def _read_archive(path: Path) -> tuple[list[str], str]:
    """Names of the files in an archive, and the text of its description."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            (place,) = [name for name in names if name.endswith(f"/extra/{METADATA_KEY}")]
            return names, archive.read(place).decode()
    except OSError as error:
        raise UserError(f"Cannot open {path}: {error.strerror}.", "Check the path.") from None
    except (zipfile.BadZipFile, ValueError):
        raise UserError(
            f"{path} was not written by `brs-detr export`, or is damaged.", "Export the checkpoint again."
        ) from None


def _load(path: Path, names: list[str], device: torch.device) -> Program:
    if any("/aotinductor/" in name for name in names):
        return torch._inductor.aoti_load_package(str(path))
    if any("/code/" in name for name in names):
        return torch.jit.load(str(path), map_location=device)
    program = torch.export.load(path)
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    return program.module()  # type: ignore[return-value]
