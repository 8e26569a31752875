from __future__ import annotations

from pathlib import Path

import pytest
import torch

from brs_detr.engine.detector import Detector
from brs_detr.engine.registry import explain_unknown_option, import_modules, register, require_known_types
from brs_detr.engine.training.train import TrainedRun
from brs_detr.errors import UserError


@pytest.mark.parametrize(
    "node",
    [
        {"type": "os.system", "command": "true"},
        {"heads": [{"type": "mmdet.utils.os.system"}]},
        {"type": "mmengine.load", "file": "evil.pkl"},
        {"nms": {"type": "__import__('os').system('true')"}},
        [{"pipeline": ({"type": "subprocess.getoutput", "cmd": "true"},)}],
    ],
)
def test_a_type_that_is_no_registered_name_is_refused(node: object) -> None:
    register()
    with pytest.raises(UserError, match="is not a registered name"):
        require_known_types(node)


def test_registered_names_are_allowed_with_and_without_scope() -> None:
    register()
    require_known_types(
        {"type": "mmdet.RetinaNet", "nms": {"type": "soft_nms"}, "norm": [{"type": "BN"}, {"depth": 3}]}
    )


def test_a_checkpoint_cannot_run_code_through_its_pipeline(trained: TrainedRun, tmp_path: Path) -> None:
    content = torch.load(trained.best_checkpoint, weights_only=True)
    proof = tmp_path / "proof"
    pipeline = [{"type": "subprocess.getoutput", "cmd": f"touch {proof}"}]
    content["meta"]["cfg"] += f"test_dataloader = {dict(dataset=dict(pipeline=pipeline))}\n"
    torch.save(content, tmp_path / "evil.pth")
    with pytest.raises(UserError, match=r"subprocess\.getoutput"):
        Detector(tmp_path / "evil.pth", device="cpu")
    assert not proof.exists()


def test_only_our_own_modules_are_imported_for_a_checkpoint() -> None:
    import_modules({"custom_imports": {"imports": ["co_detr", "pathlib"]}})  # pathlib has been imported already
    with pytest.raises(UserError, match="asks to import antigravity"):
        import_modules({"custom_imports": {"imports": ["antigravity"]}})


def test_an_unknown_option_is_explained() -> None:
    error = TypeError("class `Head` in x.py: Head.__init__() got an unexpected keyword argument 'num_querys'")
    explained = explain_unknown_option(error)
    assert explained is not None
    assert "Head" in explained.message
    assert "num_querys" in explained.message
    assert explain_unknown_option(TypeError("other")) is None
