"""`mmcv._ext`, supplied by the import system when mmcv has no compiled extension."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NoReturn

EXTENSION = "mmcv._ext"

# What mmcv's Python layer asks of its extension, and the module of this package that has it under the same name.
SUPPLIED = {
    "nms": "nms",
    "softnms": "soft_nms",
    "nms_match": "nms",
    "bbox_overlaps": "bbox_overlaps",
    "roi_align_forward": "roi_align",
    "roi_align_backward": "roi_align",
    "sigmoid_focal_loss_forward": "focal_loss",
    "sigmoid_focal_loss_backward": "focal_loss",
    "softmax_focal_loss_forward": "focal_loss",
    "softmax_focal_loss_backward": "focal_loss",
    "ms_deform_attn_forward": "deformable_attention",
    "ms_deform_attn_backward": "deformable_attention",
    "deform_conv_forward": "deform_conv",
    "deform_conv_backward_input": "deform_conv",
    "deform_conv_backward_parameters": "deform_conv",
    "modulated_deform_conv_forward": "deform_conv",
    "modulated_deform_conv_backward": "deform_conv",
    "get_compiler_version": "compiler_info",
    "get_compiling_cuda_version": "compiler_info",
}


def install() -> None:
    """Supply `mmcv._ext` from now on, unless mmcv has a compiled one.

    The finder is the last that Python asks, so a compiled extension on the path always wins. Must run before
    `mmcv.ops` is first imported. Imports neither mmcv nor PyTorch; a second call does nothing.
    """
    if not any(isinstance(finder, _ExtensionFinder) for finder in sys.meta_path):
        sys.meta_path.append(_ExtensionFinder())
    if not hasattr(pkgutil, "find_loader"):  # mmcv and mmengine look for the extension with it; Python 3.14 lacks it
        vars(pkgutil)["find_loader"] = _find_loader


def is_compiled() -> bool:
    """Whether `mmcv._ext` is mmcv's own compiled extension (imports mmcv, not the extension).

    Raises:
        ModuleNotFoundError: mmcv itself is not installed.
    """
    spec = find_spec(EXTENSION)
    return spec is not None and not isinstance(spec.loader, _ExtensionLoader)


def _find_loader(module: str) -> Loader | None:
    spec = find_spec(module)
    return spec.loader if spec else None


class _ExtensionLoader(Loader):
    """Fills the module with the supplied ops; every other name becomes a function that raises when called."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        for name, home in SUPPLIED.items():
            setattr(module, name, getattr(importlib.import_module(f"brs_detr.mm.ops.{home}"), name))
        vars(module)["__getattr__"] = _unsupported


class _ExtensionFinder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, _ExtensionLoader(), origin="brs_detr.mm.ops") if fullname == EXTENSION else None


def _unsupported(name: str) -> Callable[..., NoReturn]:
    """A stand-in for the op `name`: mmcv looks every op up at import, so only the call may fail."""
    if name.startswith("__"):
        raise AttributeError(f"module {EXTENSION!r} has no attribute {name!r}")

    def raise_unsupported(*args: Any, **kwargs: Any) -> NoReturn:
        from brs_detr.errors import UserError

        raise UserError(
            f"The mmcv op {name!r} is not available: it exists only in mmcv's compiled extension.",
            "Compile mmcv in place of mmcv-lite (docs/install.md): `pip uninstall -y mmcv-lite`, then "
            "`MMCV_WITH_OPS=1 pip install --no-build-isolation 'mmcv>=2.1,<2.2'`.",
        )

    raise_unsupported.__name__ = name
    return raise_unsupported
