from __future__ import annotations

import sys
from types import ModuleType

import pytest
from mmengine import Config

from brs_detr.errors import UserError
from brs_detr.training import loggers
from brs_detr.training.loggers import set_loggers


def types(config: Config) -> list[str]:
    return [backend["type"] for backend in config.visualizer.vis_backends]


def test_csv_and_tensorboard_always(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config({})
    set_loggers(config, [], 4, "run")
    assert types(config) == ["LocalVisBackend", "TensorboardVisBackend", "MetricsCsv"]


def test_what_the_config_lists_stays() -> None:
    config = Config(
        {"visualizer": {"type": "Visualizer", "vis_backends": [{"type": "LocalVisBackend", "save_dir": "x"}]}}
    )
    set_loggers(config, [], 4, "run")
    assert types(config) == ["LocalVisBackend", "TensorboardVisBackend", "MetricsCsv"]
    assert config.visualizer.vis_backends[0].save_dir == "x"


@pytest.mark.parametrize("service", ["wandb", "mlflow"])
def test_a_service_is_told_or_missed(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"pip install {service}"):
        set_loggers(Config({}), [service], 4, "run")
    monkeypatch.setattr(loggers, "find_spec", lambda name: ModuleType(name))
    config = Config({})
    set_loggers(config, [service, service], 4, "run")
    assert types(config)[3:] == [loggers.SERVICES[service]]
    assert "run" in str(config.visualizer.vis_backends[3])
    assert service not in sys.modules
