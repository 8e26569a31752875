from __future__ import annotations

import io

from rich.console import Console

from brs_detr.report.live import training_panel


def shown(*args: object) -> str:
    console = Console(file=(text := io.StringIO()), width=80)
    console.print(training_panel(*args))  # type: ignore[arg-type]
    return text.getvalue()


def test_losses_stand_by_head_and_kind() -> None:
    text = shown({"loss_rank": 0.5, "d0.loss_rank": 0.25, "roi.loss_bbox": 1.0}, [], -float("inf"), 0)
    lines = [line.split() for line in text.splitlines() if line.strip()]
    assert lines[0] == ["loss", "rank", "bbox"]
    assert lines[2:] == [["decoder", "0.750"], ["RoI", "1.000"]]
    assert "AP" not in text


def test_the_course_of_the_ap() -> None:
    text = shown({}, [0.0, 0.2, 0.4, 0.3], 0.4, 3)
    assert "AP ▁▅█▆ 0.300   best 0.400 (epoch 3)" in text
    assert "▁ -1.000" in shown({}, [-1.0], -1.0, 1)  # nothing to measure on
    assert shown({}, [0.1] * 100, 0.1, 1).count("█") == 40
