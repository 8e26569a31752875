"""A replacement for `mmcv._ext` where mmcv has no compiled extension, and what implements each operator."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

EXTENSION = "mmcv._ext"

# Modules of this package, and the functions of mmcv's extension that each supplies.
SUPPLIED = {
    "boxes": ("nms", "softnms", "nms_match", "bbox_overlaps"),
    "roi_align": ("roi_align_forward", "roi_align_backward"),
    "focal_loss": (
        "sigmoid_focal_loss_forward",
        "sigmoid_focal_loss_backward",
        "softmax_focal_loss_forward",
        "softmax_focal_loss_backward",
    ),
    "deformable_attention": ("ms_deform_attn_forward", "ms_deform_attn_backward"),
    "deform_conv": (
        "deform_conv_forward",
        "deform_conv_backward_input",
        "deform_conv_backward_parameters",
        "modulated_deform_conv_forward",
        "modulated_deform_conv_backward",
    ),
    "extension": ("get_compiler_version", "get_compiling_cuda_version"),
}

_PROVIDERS = {
    "nms": "torchvision",
    "soft_nms": "numpy",
    "nms_match": "PyTorch",
    "bbox_overlaps": "PyTorch",
    "roi_align": "torchvision (max pooling: PyTorch)",
    "sigmoid_focal_loss": "PyTorch",
    "softmax_focal_loss": "PyTorch",
    "deform_conv2d": "torchvision",
    "modulated_deform_conv2d": "torchvision",
}
_ATTENTION = "multi_scale_deformable_attention"


class Implementation(NamedTuple):
    """One operator, what implements it, and why."""

    op: str
    provider: str
    reason: str


def install() -> None:
    """Supply `mmcv._ext` from now on, unless mmcv has a compiled one. Call before `mmcv.ops` is first imported.

    Python asks this finder last, so a compiled extension on the path always wins. Imports neither mmcv nor PyTorch; a
    second call does nothing.
    """
    if not any(isinstance(finder, _ExtensionFinder) for finder in sys.meta_path):
        sys.meta_path.append(_ExtensionFinder())
    if not hasattr(pkgutil, "find_loader"):  # mmcv and mmengine call it; Python 3.14 removed it
        vars(pkgutil)["find_loader"] = _find_loader


def is_compiled() -> bool:
    """Whether `mmcv._ext` is mmcv's own compiled extension (imports mmcv, not the extension).

    Raises:
        ModuleNotFoundError: mmcv itself is not installed.
    """
    spec = find_spec(EXTENSION)
    return spec is not None and not isinstance(spec.loader, _ExtensionLoader)


def implementations() -> list[Implementation]:
    """List every operator that brs_detr can supply and what implements it in this process.

    Raises:
        ModuleNotFoundError: mmcv is not installed.
    """
    if is_compiled():
        return [Implementation(op, "mmcv", "compiled extension found") for op in (*_PROVIDERS, _ATTENTION)]
    from brs_detr.mm.ops.deformable_attention import find_operator

    operator, reason = find_operator()
    attention = "PyTorch grid_sample" if operator is None else "deformops (Triton)"
    return [
        *(Implementation(op, provider, "mmcv has no compiled extension") for op, provider in _PROVIDERS.items()),
        Implementation(_ATTENTION, attention, reason),
    ]


def get_compiler_version() -> str:
    """Return what replaces compiled code, for mmdet's environment report."""
    import torchvision

    return f"none: brs_detr.mm.ops on torchvision {torchvision.__version__}"


def get_compiling_cuda_version() -> str:
    """Return the CUDA version of the PyTorch build, or ``not available``."""
    import torch

    return str(torch.version.cuda or "not available")


def _find_loader(module: str) -> Loader | None:
    spec = find_spec(module)
    return spec.loader if spec else None


class _ExtensionLoader(Loader):
    """Fills the module with the supplied ops; any other name is a function that raises when called."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        for supplier_name, names in SUPPLIED.items():
            supplier = importlib.import_module(f"brs_detr.mm.ops.{supplier_name}")
            vars(module).update({name: getattr(supplier, name) for name in names})
        vars(module)["__getattr__"] = _unsupported


class _ExtensionFinder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, _ExtensionLoader(), origin="brs_detr.mm.ops") if fullname == EXTENSION else None


def _unsupported(name: str) -> Callable[..., NoReturn]:
    """Return a function that raises for the op `name`. mmcv looks up every op at import, so only the call may fail."""
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
