"""What training costs, as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brs_detr.reproduce.tables import published_speed_up

SUITE_HEAD = (
    "detector",
    "score-based s",
    "exact",
    "bucketed",
    "loop",
    "exact: in losses",
    "loop / bucketed",
    "loop / exact",
    "published loop / bucketed",
)
OPTIONS = ("amp", "checkpointing", "separate")
COST_HEAD = ("model", "parameters", "training step", "kept for backward", "weights and Adam", "12 epochs on 8 A100")
STEP_HEAD = ("model", "with", "loss", "s", "to score-based", "in losses", "GiB")


def cost_rows(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Rows below `COST_HEAD` of records of `brs-detr bench cost`."""
    return [
        [
            record["config"],
            f"{record['num_parameters'] / 1e6:.1f} M",
            f"{record['step_flops'] / 1e12:.2f} TFLOP",
            f"{record['activation_bytes'] / 2**30:.1f} GiB",
            f"{record['state_bytes'] / 2**30:.1f} GiB",
            f"{record['hours_on_8_a100']:.0f} h",
        ]
        for record in records
    ]


def step_rows(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Rows below `STEP_HEAD` of records of `brs-detr bench train-step`."""
    plain = {_setting(record): record["median_s"] for record in records if record["loss"] == "score-based"}
    return [_step_row(record, plain.get(_setting(record))) for record in records]


def suite_rows(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Rows below `SUITE_HEAD`: each detector in a row, from records of `brs-detr bench train-step --suite paper`."""
    by_setting: dict[str, dict[str, Mapping[str, Any]]] = {}
    for record in records:
        by_setting.setdefault(record["config"].removeprefix("brs-"), {})[record["loss"]] = record
    return [_suite_row(name, by_loss) for name, by_loss in by_setting.items()]


def _suite_row(name: str, by_loss: Mapping[str, Mapping[str, Any]]) -> list[str]:
    seconds = {loss: record["median_s"] for loss, record in by_loss.items()}
    published = published_speed_up(f"brs-{name}")
    exact = by_loss.get("exact", {})
    share = exact.get("loss_share")
    return [
        name,
        f"{seconds['score-based']:.3f}" if seconds.get("score-based") else "",
        *(_ratio(seconds.get(loss), seconds.get("score-based")) for loss in ("exact", "bucketed", "loop")),
        f"{share:.1%}" if share is not None else "",
        _ratio(seconds.get("loop"), seconds.get("bucketed")),
        _ratio(seconds.get("loop"), seconds.get("exact")),
        f"{published:.1f}" if published else "",
    ]


def _ratio(seconds: float | None, other: float | None) -> str:
    return f"{seconds / other:.2f}" if seconds and other else ""


def _step_row(record: Mapping[str, Any], plain_s: float | None) -> list[str]:
    seconds, share, memory = record["median_s"], record["loss_share"], record["peak_bytes"]
    return [
        *_setting(record),
        record["loss"],
        f"{seconds:.3f}" if seconds else record["failure"],
        f"{seconds / plain_s:.2f}" if seconds and plain_s else "",
        f"{share:.1%}" if share is not None else "",
        f"{memory / 2**30:.2f}" if memory else "",
    ]


def _setting(record: Mapping[str, Any]) -> tuple[str, str]:
    return record["config"].removeprefix("brs-"), options_of(record)


def options_of(record: Mapping[str, Any]) -> str:
    """The options of a step, in words."""
    return "+".join(name for name in OPTIONS if record[name]) or "-"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *rows))
