from __future__ import annotations

import importlib
import sys

import pytest

from brs_detr.mm import installation


@pytest.fixture
def versions(monkeypatch) -> dict[str, str]:
    """Pretend that exactly the distributions in this dictionary are installed."""
    pretended: dict[str, str] = {}
    monkeypatch.setattr(installation, "version_of", pretended.get)
    return pretended


@pytest.fixture
def break_import(monkeypatch):
    """Make the import of a module fail with a given error."""

    def break_import(module: str, error: Exception) -> None:
        original = importlib.import_module

        def import_module(name: str, package: str | None = None):
            if name == module:
                raise error
            return original(name, package)

        monkeypatch.setattr(importlib, "import_module", import_module)

    return break_import


def test_this_installation_is_sound():
    checks = installation.check_installation()
    names = [check.name for check in checks]
    assert names == ["torch", "torchvision", "opencv", "mmcv", "mmcv operators", "mmdet", "onnxruntime", "GPU"]
    assert not [check for check in checks if check.status == "fault"]
    assert {"torch", "torchvision", "mmdet", "mmengine", "numpy"} <= installation.installed_versions().keys()


def test_no_mmcv(versions):
    check = installation.check_mmcv()
    assert (check.status, check.detail) == ("fault", "not installed")
    assert "[lite]" in check.hint


def test_both_mmcv(versions):
    versions |= {"mmcv": "2.1.0", "mmcv-lite": "2.1.0"}
    check = installation.check_mmcv()
    assert check.status == "fault"
    assert "overwrite" in check.detail
    assert "uninstall -y mmcv mmcv-lite" in check.hint


@pytest.mark.parametrize("name", ["mmcv", "mmcv-lite"])
@pytest.mark.parametrize(
    ("version", "status"), [("2.0.1", "ok"), ("2.1.0", "ok"), ("2.2.0", "fault"), ("1.7.2", "fault")]
)
def test_mmcv_version(versions, name, version, status):
    versions[name] = version
    check = installation.check_mmcv()
    assert check.status == status
    assert f"{name} {version}" in check.detail
    assert (f"uninstall -y {name}`" in check.hint) == (status == "fault")


def test_opencv_without_display_library(break_import, versions):
    versions["opencv-python"] = "4.13.0.92"
    break_import("cv2", ImportError("libGL.so.1: cannot open shared object file"))
    check = installation.check_opencv()
    assert check.status == "fault"
    assert "libGL.so.1" in check.detail
    assert check.hint == "`pip install --force-reinstall --no-deps opencv-python-headless==4.13.0.92`"


def test_the_first_fault_is_told_and_not_what_follows_from_it(break_import):
    break_import("cv2", ImportError("libxcb.so.1: cannot open shared object file"))
    checks = installation.check_installation()
    assert [check.name for check in checks if check.status == "fault"] == ["opencv"]
    assert checks[-1].name == "opencv"


@pytest.mark.parametrize(
    ("present", "checked"),
    [
        ((), []),
        (("onnxruntime",), ["onnxruntime"]),
        (("onnxruntime", "cv2"), ["opencv", "onnxruntime"]),
        (("torch",), ["torch", "GPU"]),
    ],
)
def test_what_is_not_there_and_not_needed_is_not_missed(monkeypatch, present, checked):
    monkeypatch.setattr(installation, "is_installed", lambda module: module in present)
    assert [check.name for check in installation.check_installation()] == checked


def test_to_train_without_pytorch_is_a_fault(monkeypatch, break_import):
    monkeypatch.setattr(installation, "is_installed", lambda module: module == "mmdet")
    break_import("torch", ModuleNotFoundError("No module named 'torch'"))
    assert [check.status for check in installation.check_installation()] == ["fault"]


def test_torchvision_of_another_build(break_import):
    break_import("torchvision", RuntimeError("operator torchvision::nms does not exist"))
    check = installation.check_torchvision()
    assert check.status == "fault"
    assert "another PyTorch" in check.detail
    assert "torch torchvision" in check.hint


def test_no_torch(break_import):
    break_import("torch", ModuleNotFoundError("No module named 'torch'"))
    assert installation.check_torch().status == "fault"
    assert installation.check_gpu().status == "note"


def test_extension_compiled_for_another_torch(break_import, monkeypatch):
    monkeypatch.delitem(sys.modules, "mmcv._ext")
    break_import("mmcv._ext", ImportError("_ext.so: undefined symbol: _ZNK3c10"))
    check = installation.check_extension()
    assert check.status == "fault"
    assert "Compile mmcv again" in check.hint


def test_mmdet_refuses_its_neighbours(break_import):
    break_import("mmdet", AssertionError("MMEngine==0.8.0 is used but incompatible"))
    check = installation.check_mmdet()
    assert check.status == "fault"
    assert "mmengine>=0.10.6" in check.hint


def test_unusable_gpu_is_a_note_with_a_cure(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(installation.shutil, "which", lambda name: f"/usr/bin/{name}")
    check = installation.check_gpu()
    assert check.status == "note"
    assert "driver" in check.hint
    monkeypatch.setattr(installation.shutil, "which", lambda name: None)
    assert installation.check_gpu().detail.startswith("none")
