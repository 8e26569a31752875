"""What anchors and proposals have in common under a ranking loss."""

from __future__ import annotations

import pytest
import torch
from detectors import build, small_config, training_batch
from mmdet.models.losses import GIoULoss
from torch import nn

from brs_detr.heads.anchors import flatten_levels
from brs_detr.heads.detection_losses import DetectionLossMixin
from brs_detr.heads.ranking_detection import RankingDetectionMixin
from brs_detr.heads.ranking_loss import ALRPLoss, BucketedRankSortLoss
from brs_detr.heads.roi_head import choose_masks
from brs_detr.losses import alrp_loss, bucketed_rank_sort_loss

LABELS = torch.tensor([0, 2, 1, 2])  # two classes, 2 is background
BOXES = torch.tensor([[0.0, 0.0, 8.0, 8.0], [2.0, 2.0, 12.0, 12.0]])
TARGETS = torch.tensor([[0.0, 0.0, 10.0, 10.0], [2.0, 2.0, 10.0, 12.0]])
QUALITY = torch.tensor([0.64, 0, 0.8, 0])
LOGITS = torch.tensor([[0.3, -0.2], [0.5, 0.1], [-1.0, 0.2], [-0.4, 0.9]])


class Plain(nn.Module):
    num_classes = 2
    reg_decoded_bbox = True

    def __init__(self, loss_cls: dict) -> None:
        super().__init__()
        self.loss_cls = {"BRS": BucketedRankSortLoss, "aLRP": ALRPLoss}[loss_cls["type"]]()
        self.loss_bbox = GIoULoss()


class Head(RankingDetectionMixin, DetectionLossMixin, Plain):
    pass


def losses(kind: str, labels: torch.Tensor = LABELS, **options) -> dict[str, torch.Tensor]:
    head, num_positives = Head(loss_cls={"type": kind}, **options), int((labels < 2).sum())
    return head.detection_losses(
        LOGITS, labels, torch.ones(4), BOXES[:num_positives], TARGETS[:num_positives], torch.tensor(2.0)
    )


@pytest.mark.parametrize("score_weighted", [True, False])
def test_box_losses_take_the_value_of_the_ranking_losses(score_weighted):
    found = losses("BRS", score_weighted=score_weighted)
    quality = torch.zeros(4, 2)
    quality[0, 0], quality[2, 1] = QUALITY[0], QUALITY[2]
    expected = bucketed_rank_sort_loss(LOGITS.flatten(), quality.flatten())
    torch.testing.assert_close([found["loss_rank"], found["loss_sort"]], list(expected))
    torch.testing.assert_close(found["loss_bbox"], expected.rank + expected.sort)


def test_scores_weigh_the_boxes():
    """The weights are not to be seen in the value, which is balanced, but in what each box receives."""
    weights = torch.tensor([0.3, 0.2]).sigmoid()
    shares = {}
    for score_weighted in (True, False):
        boxes = BOXES.clone().requires_grad_()
        head = Head(loss_cls={"type": "BRS"}, score_weighted=score_weighted)
        head.detection_losses(LOGITS, LABELS, torch.ones(4), boxes, TARGETS, torch.tensor(2.0))["loss_bbox"].backward()
        shares[score_weighted] = boxes.grad.abs().sum(1)
    ratio = shares[True] / shares[False]
    torch.testing.assert_close(ratio / ratio[0], weights / weights[0])


@pytest.mark.parametrize("kind", ["BRS", "aLRP"])
@pytest.mark.fault("Numbers", "no positive in any head", "losses of zero that are attached to every weight")
def test_without_a_positive_all_losses_are_zero(kind):
    found = losses(kind, torch.full((4,), 2))
    assert all(loss == 0 for loss in found.values())


def test_official_accident_without_a_positive():
    found = losses("BRS", torch.full((4,), 2), constant_without_positives=True)
    assert all(loss == 1 for loss in found.values())


def test_alrp_ranks_boxes_as_well():
    found = losses("aLRP")
    targets = torch.zeros(4, 2)
    targets[0, 0] = targets[2, 1] = 1
    box_losses = GIoULoss()(BOXES, TARGETS, reduction_override="none")
    expected = alrp_loss(LOGITS.flatten(), targets.flatten(), box_losses)
    assert found.keys() == {"loss_cls", "loss_bbox"}
    torch.testing.assert_close(found["loss_cls"], expected.classification)
    torch.testing.assert_close(found["loss_bbox"], 50 * expected.localisation)
    with pytest.raises(ValueError, match="leave out gather_ranking"):
        Head(loss_cls={"type": "aLRP"}, gather_ranking=True)


@pytest.mark.parametrize("kind", ["BRS", "aLRP"])
@pytest.mark.fault("Numbers", "no proposal at all", "likewise")
def test_no_prediction_at_all(kind):
    """As when an image leaves no proposal."""
    empty = torch.empty(0, 4)
    head = Head(loss_cls={"type": kind}, score_weighted=True)
    found = head.detection_losses(
        torch.empty(0, 2), torch.empty(0, dtype=torch.long), torch.empty(0), empty, empty, torch.tensor(1.0)
    )
    assert all(loss == 0 for loss in found.values())


@pytest.mark.parametrize("kind", ["BRS", "aLRP"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.fault(
    "Numbers",
    "logits that are NaN, in a ranking loss or in matching",
    "the loss is not finite and the step is left out; no assertion on the GPU ends the process",
)
def test_what_is_not_finite_is_in_the_loss_and_stops_nothing(kind, value):
    logits = LOGITS.clone()
    logits[1, 1] = value
    head = Head(loss_cls={"type": kind})
    found = head.detection_losses(logits, LABELS, torch.ones(4), BOXES * value, TARGETS, torch.tensor(2.0))
    assert not any(loss.isfinite() for loss in found.values())


def test_masks_are_drawn_among_all_images():
    class Result:
        def __init__(self, start: int, count: int) -> None:
            self.pos_priors = torch.arange(start, start + count)[:, None].expand(-1, 4)
            self.pos_assigned_gt_inds = self.pos_gt_labels = torch.arange(start, start + count)

    samples = choose_masks([Result(0, 3), Result(3, 0), Result(3, 4)], torch.tensor([0, 2, 3, 6]))
    assert [sample.pos_gt_labels.tolist() for sample in samples] == [[0, 2], [], [3, 6]]
    assert samples[0].pos_priors.shape == (2, 4)


def test_few_masks_of_many_positives(outlined):
    config = small_config("brs-mask-rcnn_r50_fpn_4xb4-12e_coco", outlined)
    model = build(config).train()
    model.roi_head.max_masks = 2
    seen = []
    model.roi_head.mask_head.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    data = model.data_preprocessor(training_batch(config), training=True)
    losses = model(**data, mode="loss")
    assert seen == [2]
    torch.testing.assert_close(losses["loss_mask"], losses["loss_rank"] + losses["loss_sort"])


def test_paa_scores_are_sigmoids(outlined):
    """Without an IoU branch nothing is mixed into a score; boxes are voted for."""
    config = small_config("brs-paa_r50_fpn_4xb4-12e_coco", outlined)
    head = build(config).bbox_head.eval()
    head.test_cfg.score_thr = 0.0
    maps = [torch.randn(1, 64, side, side) for side in (8, 4, 2, 1, 1)]
    logits, deltas = head(maps)
    meta = {"img_shape": (64, 64), "scale_factor": (1.0, 1.0)}
    (found,) = head.predict_by_feat(logits, deltas, batch_img_metas=[meta])
    highest = flatten_levels(logits, head.num_classes).sigmoid().max()
    torch.testing.assert_close(found.scores.max(), highest)


@pytest.mark.parametrize(("detector", "part"), [("retinanet", "bbox_head"), ("faster-rcnn", "roi_head")])
def test_heads_that_measure_iou_need_boxes(detector, part, outlined):
    config = small_config(f"brs-{detector}_r50_fpn_4xb4-12e_coco", outlined)
    head = config.model[part]
    head.get("bbox_head", head).reg_decoded_bbox = False
    with pytest.raises(ValueError, match="needs reg_decoded_bbox=True"):
        build(config)
