from __future__ import annotations

from pathlib import Path

import pytest
from mmengine import Config

from brs_detr.config.config import load_config
from brs_detr.config.config_text import PlainConfig, parse_config_text
from brs_detr.errors import UserError


def test_text_reads_back_as_the_same_config(tiny_config: Path) -> None:
    config = load_config(tiny_config)
    assert parse_config_text(config.pretty_text).to_dict() == config.to_dict()


def test_text_of_mmengine_is_understood(tiny_config: Path) -> None:
    config = Config(load_config(tiny_config).to_dict())
    assert parse_config_text(config.pretty_text).to_dict() == config.to_dict()


def test_text_is_a_config_file(tmp_path: Path) -> None:
    config = PlainConfig({"model": {"type": "CoDETR", "scale": (1, 2), "names": ["a'b", "c d"]}, "resume": False})
    (tmp_path / "config.py").write_text(config.pretty_text)
    assert Config.fromfile(tmp_path / "config.py").to_dict() == config.to_dict()


def test_infinity() -> None:
    assert parse_config_text("limit = -inf").limit == -float("inf")


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')\nx = __import__('os')",
        "model = __import__('os').getcwd()",
        "model = dict(type='CoDETR', x=open('/etc/hostname'))",
        "model = [x for x in (1,)]",
        "a.b = 1",
        "model = dict(",
        "model = dict(**{'a': 1}, b=unknown)",
        "import os",
    ],
)
def test_nothing_is_run(text: str) -> None:
    with pytest.raises(UserError, match=r"config in last.pth cannot be read as plain data"):
        parse_config_text(text, source="last.pth")
