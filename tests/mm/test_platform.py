from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import logging
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from brs_detr.errors import UserError
from brs_detr.mm import platform

platform.prepare()


def test_config_based_on_mmdet(tmp_path: Path):
    from mmengine import Config

    path = tmp_path / "config.py"
    path.write_text(
        "_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'\nmodel = dict(rpn_head=dict(in_channels=7))\n"
    )
    config = Config.fromfile(path)
    assert config.model.type == "FasterRCNN"
    assert config.model.rpn_head.in_channels == 7


def test_hub_and_environment_report():
    from mmengine.hub import get_config
    from mmengine.utils.dl_utils import collect_env

    assert get_config("mmdet::_base_/default_runtime.py").default_scope == "mmdet"
    assert collect_env()["PyTorch"] == torch.__version__


def test_a_machine_without_a_compiler_is_not_told_so_by_the_shell(monkeypatch, capfd):
    import sysconfig

    from mmengine.utils.dl_utils import collect_env

    config_var = sysconfig.get_config_var
    monkeypatch.setattr(
        sysconfig, "get_config_var", lambda name: "no-such-compiler" if name == "CC" else config_var(name)
    )
    assert collect_env()["GCC"] == "n/a"
    assert "no-such-compiler" not in capfd.readouterr().err


def test_package_lookup():
    import mmcv
    import mmdet

    assert platform.get_installed_path("mmdet") == str(Path(mmdet.__file__).parent)
    distribution = "mmcv-lite" if platform.is_installed("mmcv-lite") else "mmcv"
    assert platform.package2module(distribution) == "mmcv"
    assert platform.get_installed_path(distribution) == str(Path(mmcv.__file__).parent)
    assert platform.is_installed("mmdet")
    assert platform.is_installed("json")
    assert not platform.is_installed("no-such-package")
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        platform.get_installed_path("no-such-package")


def test_namespace_package_has_no_folder(tmp_path, monkeypatch):
    (tmp_path / "hollow").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError, match="hollow"):
        platform.get_installed_path("hollow")
    assert not platform.is_installed("hollow")


def test_lookup_is_replaced_wherever_it_was_imported():
    from mmengine import config, utils

    assert utils.is_installed is platform.is_installed
    assert config.config.get_installed_path is platform.get_installed_path


def test_mended_lookup_is_left_alone(monkeypatch):
    from mmengine.utils import package_utils

    def is_installed(package: str) -> bool:
        return package == "mended upstream"

    monkeypatch.setattr(package_utils, "is_installed", is_installed)
    platform.replace_package_lookup()
    assert package_utils.is_installed is is_installed


def test_checkpoint_of_mmengine_loads_without_code():
    from mmengine.logging import HistoryBuffer

    history = HistoryBuffer()
    for value in (1.0, 3.0):
        history.update(value)
    content = {
        "state_dict": {"weight": torch.ones(2)},
        "message_hub": {"log_scalars": {"train/loss": history}, "runtime_info": {"iter": np.int64(7)}},
        "scalars": [np.float32(0.5), np.float64(0.25), np.bool_(True), np.arange(3)],
    }
    file = io.BytesIO()
    torch.save(content, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    assert loaded["message_hub"]["log_scalars"]["train/loss"].mean() == 2
    assert loaded["message_hub"]["runtime_info"]["iter"] == 7
    assert [np.asarray(scalar).tolist() for scalar in loaded["scalars"]] == [0.5, 0.25, True, [0, 1, 2]]


def test_checkpoint_written_with_numpy_1_loads():
    file = io.BytesIO()
    torch.save({"value": np.float64(0.25), "array": np.arange(2)}, file, pickle_module=_Numpy1Pickle)
    assert b"numpy.core.multiarray" in file.getvalue()
    file.seek(0)
    assert torch.load(file, weights_only=True)["value"] == 0.25


class _Numpy1Pickle:
    """The pickle module, but with numpy 1's name for numpy's core."""

    class Pickler(pickle._Pickler):
        def save_global(self, obj, name=None):
            module = getattr(obj, "__module__", None)
            if module == "numpy._core.multiarray":
                self.write(pickle.GLOBAL + f"numpy.core.multiarray\n{obj.__name__}\n".encode())
                self.memoize(obj)
            else:
                super().save_global(obj, name)

        dispatch = pickle._Pickler.dispatch.copy()


class _Attribute:
    """Pickles as ``getattr(owner, name)``."""

    def __init__(self, owner: object, name: str) -> None:
        self.owner, self.name = owner, name

    def __reduce__(self) -> tuple:
        return getattr, (self.owner, self.name)


@pytest.mark.parametrize("name", ["__init__", "__globals__", "_set_default_statistics"])
def test_checkpoint_reaches_only_the_statistics_of_the_log(name):
    from mmengine.logging import HistoryBuffer

    file = io.BytesIO()
    torch.save(_Attribute(HistoryBuffer, name), file)
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(file, weights_only=True)
    with pytest.raises(pickle.UnpicklingError, match="not allowed"):
        platform._history_method(dict, "fromkeys")


def test_known_warnings_are_silent_and_others_are_not():
    silenced = {
        "torch.meshgrid: in an upcoming release, it will be required to pass the indexing argument.": UserWarning,
        "`torch.cuda.amp.GradScaler(args...)` is deprecated. Please use `torch.amp.GradScaler`": FutureWarning,
        "DeprecationWarning: `num_anchors` is deprecated, use `num_base_priors`": UserWarning,
    }
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        platform.silence_warnings()
        for message, category in silenced.items():
            warnings.warn(message, category, stacklevel=1)
        warnings.warn("torch.meshgrid is used wrongly", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in seen] == ["torch.meshgrid is used wrongly"]


def test_parameter_list_is_not_logged(caplog):
    from mmengine.optim.optimizer import default_constructor

    with caplog.at_level(logging.INFO):
        for message in (
            "paramwise_options -- a.weight:lr=0.1",
            "a.bias is skipped since its requires_grad=False",
            "kept",
        ):
            default_constructor.print_log(message, logger=logging.getLogger("test"))
    assert [record.message for record in caplog.records] == ["kept"]
    quiet = default_constructor.print_log
    platform.drop_log_noise()
    assert default_constructor.print_log is quiet


def test_dropout_of_one_model_is_not_that_of_the_next():
    from mmcv.cnn.bricks.transformer import MultiheadAttention

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        first = MultiheadAttention(8, 2, dropout=0.1)
    assert first.dropout_layer.p == 0.1
    assert MultiheadAttention(8, 2).dropout_layer.p == 0
    assert MultiheadAttention(8, 2, dropout_layer=dict(type="Dropout", drop_prob=0.3)).dropout_layer.p == 0.3


def test_distutils_is_supplied_only_where_it_is_missing(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "distutils"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    platform.supply_distutils()
    from distutils import errors

    assert issubclass(errors.DistutilsPlatformError, Exception)
    assert not hasattr(errors, "CompileError")


def test_without_mmcv(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mmcv" else find_spec(name))
    with pytest.raises(UserError, match=r"(?s)mmcv is not installed.*\[lite\]"):
        platform.prepare.__wrapped__()
