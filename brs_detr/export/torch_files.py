"""Write a model in PyTorch's own formats."""

from __future__ import annotations

import logging
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from brs_detr.errors import UserError
from brs_detr.export.program import example_inputs
from brs_detr.runtime.artefact_info import METADATA_KEY, ArtefactInfo

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def write_program(program: ExportedProgram, path: Path) -> None:
    """Save a program as it is: `torch.export.load` reads it."""
    torch.export.save(program, path)


def write_compiled(program: ExportedProgram, path: Path) -> None:
    """Compile a program ahead of time for the processor of this machine (AOTInductor).

    Raises:
        UserError: there is no C++ compiler.
    """
    if not any(map(shutil.which, ("g++", "clang++", "c++"))):
        raise UserError(
            "Compiling ahead of time needs a C++ compiler, and this machine has none.",
            "Install g++, or choose --format torch-export.",
        )
    logging.getLogger("torch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch._inductor.aoti_compile_and_package(program, package_path=str(path))


def write_torchscript(model: nn.Module, fixed_size: tuple[int, int] | None, batch_size: int | None, path: Path) -> None:
    """Save a trace of a model that `torch.jit.load` reads; sizes as in `brs_detr.export.program.example_inputs`."""
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about sizes that it records well
        # not strict: stages are a dictionary
        traced = torch.jit.trace(model, example_inputs(fixed_size, batch_size), check_trace=False, strict=False)
        traced.save(str(path))


def describe_archive(path: Path, info: ArtefactInfo) -> None:
    """Add the description of an artefact to its file, where PyTorch keeps files that users add."""
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].split("/")[0]
        archive.writestr(f"{root}/extra/{METADATA_KEY}", info.to_json())
