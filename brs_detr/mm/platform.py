"""Makes mmdet 3.3 run on today's PyTorch, Python and setuptools.

mmdet 3.3.0, mmengine 0.10.7 and mmcv 2.x are the last releases of their lines. Each repair below fixes one fault of
theirs and does nothing where the fault is absent.
"""

from __future__ import annotations

import copy
import importlib.metadata
import importlib.util
import inspect
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import cache, partial, wraps
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from brs_detr.errors import UserError
from brs_detr.extras import add_extra
from brs_detr.mm import ops

if TYPE_CHECKING:
    from torch import Tensor


@cache
def prepare() -> None:
    """Install the operators and repair mmengine and mmcv. Call before anything imports mmdet or ``mmcv.ops``.

    Further calls do nothing.

    Raises:
        UserError: no mmcv is installed.
    """
    ops.install()
    if importlib.util.find_spec("mmcv") is None:
        raise UserError("mmcv is not installed.", f"{add_extra('lite')} Or compile mmcv 2.1 yourself.")
    silence_warnings()
    supply_distutils()
    replace_package_lookup()
    allow_checkpoint_globals()
    drop_log_noise()
    drop_shell_noise()
    use_differentiable_attention()
    keep_dropout_apart()
    keep_every_pixel()


def silence_warnings() -> None:
    """Hide the deprecation warnings that mmdet causes in every run."""
    warnings.filterwarnings("ignore", r"torch\.meshgrid: in an upcoming release", UserWarning)
    warnings.filterwarnings("ignore", r"DeprecationWarning: `num_anchors` is deprecated", UserWarning)
    warnings.filterwarnings("ignore", r"`torch\.cuda\.amp\.\w+\(args\.\.\.\)` is deprecated", FutureWarning)


def supply_distutils() -> None:
    """Supply the exception of distutils that mmengine's `collect_env` catches; Python 3.12 removed distutils."""
    if importlib.util.find_spec("distutils") is None:
        errors, package = ModuleType("distutils.errors"), ModuleType("distutils")
        vars(errors)["DistutilsPlatformError"] = type("DistutilsPlatformError", (Exception,), {})
        vars(package).update(errors=errors, __path__=[])
        sys.modules |= {"distutils": package, "distutils.errors": errors}


def replace_package_lookup() -> None:
    """Find packages (``_base_ = 'mmdet::...'``) without pkg_resources, which setuptools 82 removed."""
    from mmengine.utils import package_utils

    for replacement in (is_installed, get_installed_path, package2module):
        original = getattr(package_utils, replacement.__name__)
        if "pkg_resources" in original.__code__.co_names:
            _rebind("mmengine", original, replacement)


def allow_checkpoint_globals() -> None:
    """Let `torch.load` read the log history and numpy scalars in mmengine's checkpoints; PyTorch 2.6 refuses them."""
    import numpy as np
    import torch
    from mmengine.logging import HistoryBuffer

    scalar = np.float64().__reduce__()[0]
    reconstruct = np.empty(0).__reduce__()[0]
    dtypes = {type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["Float"] + "?"}
    allowed: list[Any] = [HistoryBuffer, np.ndarray, np.dtype, *dtypes, (_history_method, "builtins.getattr")]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):  # the names of numpy 1 and 2
        allowed += [(scalar, f"{module}.scalar"), (reconstruct, f"{module}._reconstruct")]
    torch.serialization.add_safe_globals(allowed)


def _history_method(owner: type, name: str) -> Any:
    """Return a statistic of mmengine's log history, the only `getattr` that a checkpoint may call."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name.startswith("_"):
        raise pickle.UnpicklingError(f"A checkpoint asked for getattr({owner!r}, {name!r}), which is not allowed.")
    return getattr(HistoryBuffer, name)


_LOG_NOISE = {
    "mmengine.optim.optimizer.default_constructor": r"^paramwise_options -- |is skipped since its requires_grad=False$",
    "mmengine.runner.checkpoint": r"^Loads checkpoint by ",
    "mmengine.fileio.file_client": r'^"(FileClient|HardDiskBackend)" ',
}


def drop_log_noise() -> None:
    """Drop mmengine's log lines about single parameters, and about calls of its own that it deprecates."""
    for module_name, noise in _LOG_NOISE.items():
        module = importlib.import_module(module_name)
        if not hasattr(module.print_log, "__wrapped__"):
            vars(module)["print_log"] = _without(re.compile(noise), module.print_log)


def _without(noise: re.Pattern[str], print_log: Callable[..., None]) -> Callable[..., None]:
    @wraps(print_log)
    def quiet_log(message: object, *args: Any, **kwargs: Any) -> None:
        if not noise.search(str(message)):
            print_log(message, *args, **kwargs)

    return quiet_log


def drop_shell_noise() -> None:
    """Hide the shell's error where mmengine asks for the version of a C compiler that is not installed."""
    module = importlib.import_module("mmengine.utils.dl_utils.collect_env")
    quiet = ModuleType("subprocess")
    vars(quiet).update(vars(subprocess), check_output=partial(subprocess.check_output, stderr=subprocess.DEVNULL))
    vars(module)["subprocess"] = quiet


def use_differentiable_attention() -> None:
    """Let mmcv's layers call our attention directly, where mmcv is not compiled.

    On CUDA, mmcv's autograd function would run it twice in training, since its op keeps nothing for backward. On a CPU,
    mmcv's own code holds the samples of all levels at once; ours adds them level by level, in 0.7 of the time.
    """
    if not ops.is_compiled():
        from mmcv.ops import multi_scale_deform_attn

        from brs_detr.mm.ops.deformable_attention import multi_scale_deformable_attention

        multi_scale_deform_attn.MultiScaleDeformableAttnFunction = _DifferentiableAttention
        multi_scale_deform_attn.multi_scale_deformable_attn_pytorch = multi_scale_deformable_attention


class _DifferentiableAttention:
    """Replaces mmcv's autograd function, of which mmcv calls this one method."""

    @staticmethod
    def apply(
        value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor, im2col_step: int
    ) -> Tensor:
        from brs_detr.mm.ops.deformable_attention import multi_scale_deformable_attention

        return multi_scale_deformable_attention(value, shapes, locations, weights)


def keep_dropout_apart() -> None:
    """Give every attention of mmcv its own default for ``dropout_layer``.

    mmcv writes the ``dropout`` of a model into the shared default: after a DETR with a dropout of 0.1, every attention
    without a setting would have it, too.
    """
    from mmcv.cnn.bricks.transformer import MultiheadAttention

    original = MultiheadAttention.__init__
    default = inspect.signature(original).parameters["dropout_layer"].default
    if not isinstance(default, dict):
        return

    @wraps(original)
    def with_own_default(self: Any, *args: Any, **kwargs: Any) -> None:
        if len(args) < 5:  # embed_dims, num_heads, attn_drop, proj_drop, dropout_layer
            kwargs["dropout_layer"] = copy.deepcopy(kwargs.get("dropout_layer", default))
        original(self, *args, **kwargs)

    MultiheadAttention.__init__ = with_own_default


def keep_every_pixel() -> None:
    """Keep at least one row and column in mmcv's resize, and copy the result of its flip.

    mmcv may round a side to 0 pixels, and a flipped image of one pixel has negative strides, which PyTorch refuses.
    """
    from mmcv.image import geometric

    if hasattr(geometric._scale_size, "__wrapped__"):
        return
    scale_size, imflip = geometric._scale_size, geometric.imflip

    @wraps(scale_size)
    def at_least_one(*args: Any) -> tuple[int, int]:
        width, height = scale_size(*args)
        return max(width, 1), max(height, 1)

    @wraps(imflip)
    def flipped_copy(*args: Any, **kwargs: Any) -> Any:
        return imflip(*args, **kwargs).copy()  # costs nothing: packing the image would copy it otherwise

    _rebind("mmcv", scale_size, at_least_one)
    _rebind("mmcv", imflip, flipped_copy)


def is_installed(package: str) -> bool:
    """Whether a distribution or an importable package of this name exists."""
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        spec = importlib.util.find_spec(package)
        return spec is not None and spec.origin is not None
    return True


def get_installed_path(package: str) -> str:
    """Return the folder of a package, given its import or its distribution name.

    Raises:
        importlib.metadata.PackageNotFoundError: nothing of this name is installed.
        RuntimeError: it is a namespace package, which has no single folder.
    """
    spec = importlib.util.find_spec(package) or importlib.util.find_spec(package2module(package))
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{package} is a namespace package: it has no single folder.")
    return str(Path(spec.origin).parent)


def package2module(package: str) -> str:
    """Return the import name of a distribution, such as ``mmcv`` for ``mmcv-lite``.

    Raises:
        importlib.metadata.PackageNotFoundError: the distribution is not installed.
        ValueError: it installs no importable package.
    """
    distribution = importlib.metadata.distribution(package)
    names = (distribution.read_text("top_level.txt") or "").split()
    names += [file.parts[0] for file in distribution.files or () if file.name == "__init__.py"]
    if not names:
        raise ValueError(f"The distribution {package} installs no importable package.")
    return names[0]


def _rebind(root: str, original: Callable[..., Any], replacement: Callable[..., Any]) -> None:
    """Replace a function in every loaded module of a package that imported it by name."""
    for module_name, module in list(sys.modules.items()):
        if module_name.split(".")[0] == root and getattr(module, original.__name__, None) is original:
            setattr(module, original.__name__, replacement)
