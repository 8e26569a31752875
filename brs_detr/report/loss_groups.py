"""Which head of a detector a loss belongs to, and what kind of loss it is, by its name in the log."""

from __future__ import annotations

import re
from collections.abc import Mapping

_AUXILIARY = re.compile(r"_aux\d+$")
_HEADS = (("enc_", "encoder"), ("loss_rpn_", "RPN"), ("roi.", "RoI"), ("atss.", "ATSS"))


def head_of(name: str) -> str:
    """`decoder`, `encoder`, `auxiliary queries`, `RPN`, `RoI` or `ATSS`.

    Args:
        name: such as `d0.loss_rank`, `enc_loss_iou`, `loss_bbox_aux1`, `loss_rpn_rank`, `roi.loss_sort`.
    """
    if _AUXILIARY.search(name):
        return "auxiliary queries"
    return next((head for prefix, head in _HEADS if name.startswith(prefix)), "decoder")


def kind_of(name: str) -> str:
    """`rank`, `sort`, `cls`, `bbox`, `iou`, ...: what follows `loss_`."""
    return _AUXILIARY.sub("", name).rpartition("loss_")[2].removeprefix("rpn_")


def sum_losses(losses: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Sum losses by head and kind; layers of a decoder are added.

    Args:
        losses: by name in the log; `loss`, the sum of all, and whatever is no loss are left out.

    Returns:
        By head, in the order of the data's way through the model, sums by kind.
    """
    order = ("encoder", "decoder", "auxiliary queries", "RPN", "RoI", "ATSS")
    sums: dict[str, dict[str, float]] = {head: {} for head in order}
    for name, value in losses.items():
        if "loss_" in name:
            of_head, kind = sums[head_of(name)], kind_of(name)
            of_head[kind] = of_head.get(kind, 0.0) + value
    return {head: kinds for head, kinds in sums.items() if kinds}
