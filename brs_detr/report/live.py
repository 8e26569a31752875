"""Losses by head and kind, and the panel above the progress bar of a training."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS = 40

_AUXILIARY = re.compile(r"_aux\d+$")
_HEADS = (("enc_", "encoder"), ("loss_rpn_", "RPN"), ("roi.", "RoI"), ("atss.", "ATSS"))


def training_panel(
    losses: Mapping[str, float], aps: Sequence[float], best_ap: float, best_epoch: int
) -> RenderableType:
    """Show losses by head and kind, and the AP of all evaluations.

    Args:
        losses: by name in the log.
        aps: of every evaluation so far, in [0, 1].
        best_ap: best AP, including evaluations before the run was resumed.
        best_epoch: epoch of the best AP.
    """
    sums = sum_losses(losses)
    kinds = list(dict.fromkeys(kind for of_head in sums.values() for kind in of_head))
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
    table.add_column("loss")
    for kind in kinds:
        table.add_column(kind, justify="right")
    for head, of_head in sums.items():
        table.add_row(head, *(f"{of_head[kind]:.3f}" if kind in of_head else "" for kind in kinds))
    return Group(table, _ap_line(aps, best_ap, best_epoch)) if aps else table


def _ap_line(aps: Sequence[float], best_ap: float, best_epoch: int) -> Text:
    shown = [max(ap, 0.0) for ap in aps[-_MOST_BARS:]]
    highest = max(*shown, best_ap, 1e-9)
    bars = "".join(_BARS[round(ap / highest * (len(_BARS) - 1))] for ap in shown)
    return Text.assemble("AP ", (bars, "cyan"), f" {aps[-1]:.3f}   best {best_ap:.3f} (epoch {best_epoch})\n")


def head_of(name: str) -> str:
    """Return the head of a loss: `decoder`, `encoder`, `auxiliary queries`, `RPN`, `RoI` or `ATSS`.

    Args:
        name: such as `d0.loss_rank`, `enc_loss_iou`, `loss_bbox_aux1`, `loss_rpn_rank`, `roi.loss_sort`.
    """
    if _AUXILIARY.search(name):
        return "auxiliary queries"
    return next((head for prefix, head in _HEADS if name.startswith(prefix)), "decoder")


def kind_of(name: str) -> str:
    """Return the kind of a loss, which follows `loss_`: `rank`, `sort`, `cls`, `bbox`, `iou`, ..."""
    return _AUXILIARY.sub("", name).rpartition("loss_")[2].removeprefix("rpn_")


def sum_losses(losses: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Sum losses by head and kind, over all decoder layers.

    Args:
        losses: by name in the log; the total `loss` and other entries are ignored.

    Returns:
        By head, in the order in which data pass through the model, sums by kind.
    """
    order = ("encoder", "decoder", "auxiliary queries", "RPN", "RoI", "ATSS")
    sums: dict[str, dict[str, float]] = {head: {} for head in order}
    for name, value in losses.items():
        if "loss_" in name:
            of_head, kind = sums[head_of(name)], kind_of(name)
            of_head[kind] = of_head.get(kind, 0.0) + value
    return {head: kinds for head, kinds in sums.items() if kinds}
