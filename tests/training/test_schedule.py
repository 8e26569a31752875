from __future__ import annotations

from mmengine import Config

from brs_detr.training.schedule import set_epochs


def test_schedule_is_stretched() -> None:
    config = Config(
        {
            "train_cfg": {"max_epochs": 12},
            "param_scheduler": [
                {"type": "LinearLR", "by_epoch": False, "begin": 0, "end": 500},
                {"type": "MultiStepLR", "by_epoch": True, "begin": 0, "end": 12, "milestones": [10, 11], "gamma": 0.2},
            ],
        }
    )
    set_epochs(config, 36)
    warm_up, steps = config.param_scheduler
    assert config.train_cfg.max_epochs == 36
    assert (steps.begin, steps.end, steps.milestones, steps.gamma) == (0, 36, [30, 33], 0.2)
    assert (warm_up.begin, warm_up.end) == (0, 500)


def test_no_schedule() -> None:
    config = Config({"train_cfg": {"max_epochs": 12}})
    set_epochs(config, 1)
    assert config.train_cfg.max_epochs == 1
