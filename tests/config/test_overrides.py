from __future__ import annotations

from typing import Any

import pytest

from brs_detr.config.config import apply_overrides
from brs_detr.errors import UserError


@pytest.fixture
def config() -> dict[str, Any]:
    return {
        "model": {"type": "CoDETR", "backbone": {"depth": 50, "frozen": True, "init_cfg": {"type": "Pretrained"}}},
        "param_scheduler": [{"gamma": 0.1, "milestones": [10, 11]}],
        "scale": (1333, 800),
        "load_from": None,
    }


@pytest.mark.parametrize(
    ("assignment", "read", "value"),
    [
        ("model.backbone.depth=18", lambda config: config["model"]["backbone"]["depth"], 18),
        ("model.backbone.frozen=False", lambda config: config["model"]["backbone"]["frozen"], False),
        ("model.backbone.init_cfg=None", lambda config: config["model"]["backbone"]["init_cfg"], None),
        ("param_scheduler.0.gamma=5e-1", lambda config: config["param_scheduler"][0]["gamma"], 0.5),
        ("param_scheduler.0.milestones.1=9", lambda config: config["param_scheduler"][0]["milestones"], [10, 9]),
        ("scale=(640, 480)", lambda config: config["scale"], (640, 480)),
        ("load_from=weights/a=b.pth", lambda config: config["load_from"], "weights/a=b.pth"),
        ("model.type='DINO'", lambda config: config["model"]["type"], "DINO"),
    ],
)
def test_value_arrives(config: dict[str, Any], assignment: str, read: Any, value: Any) -> None:
    apply_overrides(config, [assignment])
    assert read(config) == value
    assert type(read(config)) is type(value)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("model.backbon.depth=18", "no key model.backbon.\n  Did you mean 'model.backbone'"),
        ("model.backbone.dept=18", "no key model.backbone.dept.\n  Did you mean 'model.backbone.depth'"),
        ("modle=1", "no key modle.\n  Did you mean 'model'"),
        ("param_scheduler.1.gamma=1", "no key param_scheduler.1.\n  Did you mean 'param_scheduler.0'"),
        ("param_scheduler.gamma=1", "no key param_scheduler.gamma.\n"),
        ("model.backbone.depth.x=1", "model.backbone.depth is 50 and has no keys"),
        ("scale.0=640", "scale is a tuple.\n  Set all of it"),
        ("model.backbone.depth=fifty", "expected a number, as in 50"),
        ("model.backbone.frozen=maybe", "expected True or False, as in True"),
        ("model.backbone.depth", "not of the form key=value"),
        ("=3", "not of the form key=value"),
    ],
)
def test_refusal_names_the_key_and_the_cure(config: dict[str, Any], assignment: str, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        apply_overrides(config, [assignment])
    assert message in str(refusal.value)
