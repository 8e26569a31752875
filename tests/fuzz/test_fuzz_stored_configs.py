"""Whatever a config inside a file asks for, nothing of it runs: it is refused, or a model of known classes is built."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mutations import answer_of, swapped

from brs_detr.checkpoints.checkpoint import build_stored_model, random_model
from brs_detr.checkpoints.stored_config import find_refusals, read_stored_config
from brs_detr.config.config import import_modules, load_config
from brs_detr.config.config_text import PlainConfig
from brs_detr.errors import UserError

CANARY = Path("written_by_a_config")
EXPRESSION = f"[open({str(CANARY)!r}, 'w'), __import__('mmcv.ops')][1].ops.nms"
ACTING = [
    *(
        EXPRESSION,
        f"open({str(CANARY)!r}, 'w')",
        "os.system",
        "evil.py",
        "/etc/passwd",
        "../x.pth",
        "http://evil/x.pth",
    ),
    *({"type": EXPRESSION}, {"type": "builtins.open", "file": str(CANARY), "mode": "w"}, [{"type": "os.mkdir"}]),
    *({"type": "CameraMotionCompensation", "warp_mode": EXPRESSION}, {"_scope_": "evil"}, {"_delete_": True}),
    *({"type": "Pretrained", "checkpoint": "evil.pth"}, {"type": "BN", "requires_grad": EXPRESSION}),
    *(None, True, -1, 0, 10**7, 1e308, float("nan"), "", "nms", "ResNet", [], {}),
]


def registered() -> list[type]:
    from mmdet.registry import MODELS, TASK_UTILS, TRANSFORMS

    found: dict[str, type] = {}
    for registry in (MODELS, TASK_UTILS, TRANSFORMS):
        while registry is not None:
            found.update({name: cls for name, cls in registry.module_dict.items() if inspect.isclass(cls)})
            registry = registry.parent
    return list(found.values())


@pytest.fixture(scope="module")
def stored(tiny_config: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Config and weights of a small Co-DETR."""
    config = load_config(tiny_config)
    import_modules(config)
    return config.to_dict(), random_model(config).state_dict()


@pytest.mark.fault(
    "Files from elsewhere",
    "an expression in any argument of any registered class",
    "refused, with the key; nothing runs",
)
def test_an_expression_in_every_argument_of_every_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    find_refusals({})  # registers all
    classes = registered()
    assert len(classes) > 400
    for cls in classes:
        for argument in inspect.signature(cls.__init__).parameters:
            for value in (EXPRESSION, [EXPRESSION], {"type": EXPRESSION}):
                node = {"type": cls.__name__, argument: value}
                if argument in ("init_cfg", "pretrained", "weights_file"):  # left out unread
                    continue
                for model in (
                    node,
                    {"type": "CoDETR", "neck": node},
                    {"type": "CoDETR", "train_cfg": {"rcnn": [node]}},
                ):
                    assert find_refusals({"model": model}), (cls, argument)
    assert not CANARY.exists()


@settings(max_examples=100)
@example(changes=[(17, EXPRESSION)])
@example(changes=[(40, {"type": "CameraMotionCompensation", "warp_mode": EXPRESSION}), (2, {"_scope_": "evil"})])
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(ACTING)), min_size=1, max_size=3))
def test_changed_configs(changes: list[tuple[int, Any]], stored, tmp_path_factory) -> None:
    config, state_dict = stored
    used = {"model": config["model"], "test_dataloader": config["test_dataloader"], "default_scope": "mmdet"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.getbasetemp())
        text = PlainConfig({**config, **swapped(used, changes)}).pretty_text
        read = answer_of(lambda: read_stored_config(text, "a.pth"), UserError)
        if not isinstance(read, UserError):
            answer_of(lambda: build_stored_model(read.model, state_dict, "a.pth"), UserError)
        assert not CANARY.exists()
