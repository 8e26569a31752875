"""The panel that stands above the bar while a detector is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from brs_detr.report.loss_groups import sum_losses

_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS = 40


def training_panel(
    losses: Mapping[str, float], aps: Sequence[float], best_ap: float, best_epoch: int
) -> RenderableType:
    """Losses by head and kind, and the course of the AP.

    Args:
        losses: by name in the log.
        aps: of every evaluation so far, in [0, 1].
        best_ap: the best of them, and of those before a run was resumed.
        best_epoch: whose it is.
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
