from __future__ import annotations

import pytest

from brs_detr.report.live import head_of, kind_of, sum_losses


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("loss_rank", "decoder", "rank"),
        ("d4.loss_bbox", "decoder", "bbox"),
        ("enc_loss_iou", "encoder", "iou"),
        ("loss_sort_aux0", "auxiliary queries", "sort"),
        ("d1.loss_iou_aux1", "auxiliary queries", "iou"),
        ("loss_rpn_rank", "RPN", "rank"),
        ("roi.loss_cls", "RoI", "cls"),
        ("atss.loss_centerness", "ATSS", "centerness"),
    ],
)
def test_names_of_the_log(name: str, head: str, kind: str) -> None:
    assert (head_of(name), kind_of(name)) == (head, kind)


def test_layers_are_added_and_other_numbers_left_out() -> None:
    losses = {
        "loss": 9.0,
        "lr": 1e-3,
        "loss_rank": 1.0,
        "d0.loss_rank": 2.0,
        "atss.loss_bbox": 4.0,
        "enc_loss_cls": 8.0,
    }
    sums = sum_losses(losses)
    assert sums == {"encoder": {"cls": 8.0}, "decoder": {"rank": 3.0}, "ATSS": {"bbox": 4.0}}
    assert list(sums) == ["encoder", "decoder", "ATSS"]
