"""Checks of the installation, each with a hint on how to repair it."""

from __future__ import annotations

import importlib
import importlib.metadata
import shutil
from typing import Literal, NamedTuple

from brs_detr.extras import add_extra, is_installed, version_of, versions_of
from brs_detr.mm.ops.extension import EXTENSION, install, is_compiled

PACKAGES = (
    *("brs-detr", "torch", "torchvision", "mmdet", "mmengine", "mmcv", "mmcv-lite", "timm", "numpy"),
    *("opencv-python", "opencv-python-headless", "pycocotools", "deformops", "onnxruntime"),
)


class Check(NamedTuple):
    """Result of one check: a ``note`` limits what works, a ``fault`` prevents it."""

    name: str
    status: Literal["ok", "note", "fault"]
    detail: str
    hint: str = ""


def installed_versions() -> dict[str, str]:
    """Return the versions of those `PACKAGES` that are installed."""
    return versions_of(PACKAGES)


def can_train() -> bool:
    """Whether mmdet is installed, which training needs."""
    return is_installed("mmdet")


def check_installation() -> list[Check]:
    """Check what is installed, up to the first fault, which would make later checks fail as well."""
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
    results: list[Check] = []
    for check in (check for check, is_needed in checks.items() if is_needed):
        results.append(check())
        if results[-1].status == "fault":
            break
    return results


def check_torch() -> Check:
    """Check that PyTorch can be imported."""
    return _check_import("torch", "torch", "`pip install --force-reinstall torch torchvision`")


def check_torchvision() -> Check:
    """Check that torchvision was built for the installed PyTorch."""
    hint = "Install both from one index: `pip install --force-reinstall torch torchvision`"
    check = _check_import("torchvision", "torchvision", hint)
    if "does not exist" in check.detail or "undefined symbol" in check.detail:
        return check._replace(detail=f"built for another PyTorch than the installed one ({check.detail})")
    return check


def check_opencv() -> Check:
    """Check that OpenCV can be imported; on servers a display library is often missing."""
    check = _check_import("opencv", "cv2", opencv_hint())
    return check if check.status == "fault" else check._replace(detail=str(importlib.import_module("cv2").__version__))


def opencv_hint() -> str:
    """Return the command that installs OpenCV without display support over the installed one.

    mmcv and mmengine require `opencv-python`, so it stays installed; both packages write to the folder `cv2/`.
    """
    version = version_of("opencv-python")
    exactly = f"=={version}" if version else ""
    return f"`pip install --force-reinstall --no-deps opencv-python-headless{exactly}`"


def check_mmcv() -> Check:
    """Check that exactly one mmcv is installed, in a version that mmdet 3.3 accepts."""
    full, lite = version_of("mmcv"), version_of("mmcv-lite")
    if full and lite:
        detail = f"mmcv {full} and mmcv-lite {lite} are both installed and overwrite each other's files"
        hint = "`pip uninstall -y mmcv mmcv-lite`, then install one of them again; mmcv-lite needs no compiler"
        return Check("mmcv", "fault", detail, hint)
    version = full or lite
    if version is None:
        return Check("mmcv", "fault", "not installed", f"{add_extra('lite')} Or compile mmcv 2.1.")
    name = "mmcv" if full else "mmcv-lite"
    if not (2, 0) <= tuple(int(part) for part in version.split(".")[:2]) < (2, 2):
        hint = f"`pip uninstall -y {name}`. {add_extra('lite')} Or compile mmcv 2.1."
        return Check("mmcv", "fault", f"{name} {version}, but mmdet 3.3 refuses 2.2 and later", hint)
    return Check("mmcv", "ok", f"{name} {version}")


def check_extension() -> Check:
    """Check that `mmcv._ext` can be imported, compiled or supplied by this package."""
    install()
    hint = f"Compile mmcv again for this PyTorch. Or `pip uninstall -y mmcv`, and then: {add_extra('lite')}"
    check = _check_import("mmcv operators", EXTENSION, hint)
    if check.status == "fault":
        return check
    return check._replace(detail="compiled" if is_compiled() else "supplied by brs_detr.mm.ops")


def check_mmdet() -> Check:
    """Check that mmdet accepts the installed mmcv and mmengine."""
    check = _check_import("mmdet", "mmdet", "`pip install 'mmdet>=3.3,<3.4' 'mmengine>=0.10.6,<0.11'`")
    if check.status == "fault":
        return check
    return check._replace(detail=f"mmdet {check.detail}, mmengine {version_of('mmengine')}")


def check_onnxruntime() -> Check:
    """Check that onnxruntime can be imported."""
    return _check_import("onnxruntime", "onnxruntime", "`pip install --force-reinstall --no-deps onnxruntime`")


def check_gpu() -> Check:
    """List the GPUs that PyTorch can use."""
    if check_torch().status == "fault":
        return Check("GPU", "note", "unknown: PyTorch cannot be imported")
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Check("GPU", "ok", f"{', '.join(names)} (CUDA {torch.version.cuda})")
    if shutil.which("nvidia-smi") is None:
        return Check("GPU", "note", "none: training runs on the CPU")
    detail = f"an NVIDIA driver is installed, but PyTorch {torch.__version__} cannot use it"
    return Check("GPU", "note", detail, "Update the driver, or install a PyTorch built for its CUDA version")


def _check_import(name: str, module: str, hint: str) -> Check:
    """Report the version of a module, or the first line of the error that importing it raises."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken binary may raise anything
        return Check(name, "fault", f"{type(error).__name__}: {error}".splitlines()[0], hint)
    return Check(name, "ok", str(version_of(module)))
