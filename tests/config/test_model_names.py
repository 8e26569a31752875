from __future__ import annotations

from pathlib import Path

import pytest

from brs_detr.config.config import MODELS, default_model, find_model, load_config
from brs_detr.errors import UserError


@pytest.mark.parametrize("name", MODELS)
def test_short_names(name: str) -> None:
    config = load_config(find_model(name))
    assert ("Ranking" in config.model.query_head.type) != name.startswith("co-")
    backbone = {
        "lite0": ("model_name", "tf_efficientnet_lite0"),
        "r18": ("depth", 18),
        "r50": ("depth", 50),
        "swin-t": ("embed_dims", 96),
        "swin-l": ("embed_dims", 192),
    }
    key, value = backbone[name.removeprefix("co-")]
    assert config.model.backbone[key] == value
    assert "zero_iou_is_negative" not in str(config.model)


def test_names_of_configs_and_files(tiny_config: Path) -> None:
    name = "co-deformable-detr_r50_8xb2-12e_coco"
    assert find_model(name) == name
    assert find_model(str(tiny_config)) == str(tiny_config)


@pytest.mark.parametrize(("name", "message"), [("r52", "Did you mean 'r50'"), ("nowhere/my.py", "no config file")])
def test_no_such_model(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_model(name)


def test_model_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert default_model()[0] == "r18"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert default_model()[0] == "r50"
