"""What can be wrong with an installation, and the cure for it."""

from __future__ import annotations

import importlib
import importlib.metadata
import shutil
from typing import Literal, NamedTuple

from brs_detr.extras import add_extra, is_installed
from brs_detr.mm.ops.extension import EXTENSION, install, is_compiled

PACKAGES = (
    "brs-detr",
    "torch",
    "torchvision",
    "mmdet",
    "mmengine",
    "mmcv",
    "mmcv-lite",
    "timm",
    "numpy",
    "opencv-python",
    "opencv-python-headless",
    "pycocotools",
    "deformops",
    "onnxruntime",
)


class Check(NamedTuple):
    """One thing that was looked at: a ``note`` limits what works, a ``fault`` stops it."""

    name: str
    status: Literal["ok", "note", "fault"]
    detail: str
    cure: str = ""


def installed_versions() -> dict[str, str]:
    """Version of each of `PACKAGES` that is installed."""
    versions = {name: _version(name) for name in PACKAGES}
    return {name: version for name, version in versions.items() if version is not None}


def can_train() -> bool:
    """Whether this is an installation to train with: mmdet is there."""
    return is_installed("mmdet")


def check_installation() -> list[Check]:
    """Look at what is installed, in this order, up to the first fault: it would make later checks fail as well."""
    trains = can_train()
    checks = {
        check_torch: trains or is_installed("torch"),
        check_torchvision: trains or is_installed("torchvision"),
        check_opencv: trains or is_installed("cv2"),
        check_mmcv: trains,
        check_extension: trains,
        check_mmdet: trains,
        check_onnxruntime: is_installed("onnxruntime"),
        check_gpu: trains or is_installed("torch"),
    }
    outcomes: list[Check] = []
    for check in (check for check, is_needed in checks.items() if is_needed):
        outcomes.append(check())
        if outcomes[-1].status == "fault":
            break
    return outcomes


def check_torch() -> Check:
    """PyTorch can be imported."""
    error = _import_error("torch")
    if error is None:
        return Check("torch", "ok", str(_version("torch")))
    return Check("torch", "fault", error, "`pip install --force-reinstall torch torchvision`")


def check_torchvision() -> Check:
    """torchvision's operators belong to the installed PyTorch."""
    error = _import_error("torchvision")
    if error is None:
        return Check("torchvision", "ok", str(_version("torchvision")))
    if "does not exist" in error or "undefined symbol" in error:
        error = f"built for another PyTorch than the installed one ({error})"
    cure = "Install both from one index: `pip install --force-reinstall torch torchvision`"
    return Check("torchvision", "fault", error, cure)


def check_opencv() -> Check:
    """OpenCV can be imported; on servers it often misses a display library."""
    error = _import_error("cv2")
    if error is None:
        return Check("opencv", "ok", str(importlib.import_module("cv2").__version__))
    return Check("opencv", "fault", error, cure_opencv())


def cure_opencv() -> str:
    """The command that puts the OpenCV without a display over the installed one.

    mmcv and mmengine ask for `opencv-python`, which therefore stays: both own the folder `cv2/`.
    """
    version = _version("opencv-python")
    exactly = f"=={version}" if version else ""
    return f"`pip install --force-reinstall --no-deps opencv-python-headless{exactly}`"


def check_mmcv() -> Check:
    """Exactly one mmcv is installed, of a version that mmdet 3.3 accepts."""
    full, lite = _version("mmcv"), _version("mmcv-lite")
    if full and lite:
        detail = f"mmcv {full} and mmcv-lite {lite} are both installed and overwrite each other's files"
        cure = "`pip uninstall -y mmcv mmcv-lite`, then install one of them again; mmcv-lite needs no compiler"
        return Check("mmcv", "fault", detail, cure)
    version = full or lite
    if version is None:
        return Check("mmcv", "fault", "not installed", f"{add_extra('lite')} Or compile mmcv 2.1.")
    name = "mmcv" if full else "mmcv-lite"
    if not (2, 0) <= tuple(int(part) for part in version.split(".")[:2]) < (2, 2):
        cure = f"`pip uninstall -y {name}`. {add_extra('lite')} Or compile mmcv 2.1."
        return Check("mmcv", "fault", f"{name} {version}, but mmdet 3.3 refuses 2.2 and later", cure)
    return Check("mmcv", "ok", f"{name} {version}")


def check_extension() -> Check:
    """A compiled `mmcv._ext` works if there is one; otherwise this package stands in."""
    install()
    error = _import_error(EXTENSION)
    if error is None:
        return Check("mmcv operators", "ok", "compiled" if is_compiled() else "supplied by brs_detr.mm.ops")
    cure = f"Compile mmcv again for this PyTorch. Or `pip uninstall -y mmcv`, and then: {add_extra('lite')}"
    return Check("mmcv operators", "fault", error, cure)


def check_mmdet() -> Check:
    """mmdet accepts the installed mmcv and mmengine."""
    error = _import_error("mmdet")
    if error is None:
        return Check("mmdet", "ok", f"mmdet {_version('mmdet')}, mmengine {_version('mmengine')}")
    return Check("mmdet", "fault", error, "`pip install 'mmdet>=3.3,<3.4' 'mmengine>=0.10.6,<0.11'`")


def check_onnxruntime() -> Check:
    """onnxruntime can be imported."""
    error = _import_error("onnxruntime")
    if error is None:
        return Check("onnxruntime", "ok", str(_version("onnxruntime")))
    return Check("onnxruntime", "fault", error, "`pip install --force-reinstall --no-deps onnxruntime`")


def check_gpu() -> Check:
    """Which GPUs PyTorch sees."""
    if _import_error("torch"):
        return Check("GPU", "note", "unknown: PyTorch cannot be imported")
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Check("GPU", "ok", f"{', '.join(names)} (CUDA {torch.version.cuda})")
    if shutil.which("nvidia-smi") is None:
        return Check("GPU", "note", "none: training runs on the CPU")
    detail = f"an NVIDIA driver is installed, but PyTorch {torch.__version__} cannot use it"
    return Check("GPU", "note", detail, "Update the driver, or install a PyTorch built for its CUDA version")


def _import_error(module: str) -> str | None:
    """First line of the error that importing a module raises, or None."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken binary may raise anything
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
