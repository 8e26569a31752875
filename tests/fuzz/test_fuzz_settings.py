"""Whatever is given as an override or stands in the config of a checkpoint, the answer is a value or a refusal."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import ODD_VALUES, Edit, answer_of, edited, edits

from brs_detr.config.config import apply_overrides
from brs_detr.config.config_text import parse_config_text
from brs_detr.errors import UserError

CONFIG = {
    "model": {"type": "A", "heads": [{"lr": 0.1, "name": "a"}, {"lr": 1, "flag": True}], "size": (3, 4), "none": None},
    "train_cfg": {"max_epochs": 12},
}
TEXT = """\
model = dict(backbone=dict(depth=50, out_indices=(0, 1, 2, 3)), scale=-1.5, flag=True, names=['a', "b"], none=None)
optim_wrapper = dict(optimizer=dict(lr=0.0002, type='AdamW'), type='OptimWrapper')
"""
PARTS = [
    "model",
    "heads",
    "0",
    "1",
    "-1",
    "lr",
    "name",
    "size",
    "none",
    "train_cfg",
    "max_epochs",
    "",
    "__class__",
    "x",
]
keys = st.lists(st.sampled_from(PARTS), max_size=4).map(".".join) | st.text(max_size=12)
values = st.text(max_size=20) | st.sampled_from([repr(value) for value in ODD_VALUES] + ["(" * 200, "1e999", "-" * 300])


@settings(max_examples=400)
@given(key=keys, value=values, sign=st.sampled_from(["=", "", "==", " = "]))
@pytest.mark.fault("Files from elsewhere", "any text as `--set KEY=VALUE`", "set, or refused without any change")
def test_overrides(key: str, value: str, sign: str) -> None:
    config = copy.deepcopy(CONFIG)
    answer = answer_of(lambda: apply_overrides(config, [f"{key}{sign}{value}"]), UserError)
    if isinstance(answer, UserError):
        assert config == CONFIG


@settings(max_examples=300)
@given(changes=edits)
@pytest.mark.fault(
    "Files from elsewhere", "any text as the config in a checkpoint", "used, or refused; code in it does not run"
)
def test_config_texts(changes: list[Edit]) -> None:
    text = edited(TEXT.encode(), changes).decode(errors="replace")
    answer_of(lambda: parse_config_text(text, "the checkpoint"), UserError)


@pytest.mark.parametrize("text", ["__import__('os').system('true')", "a = open('x')", "import os", "a = [].append"])
def test_code_in_a_config_is_not_run(text: str) -> None:
    assert isinstance(answer_of(lambda: parse_config_text(text, "the checkpoint"), UserError), UserError)
