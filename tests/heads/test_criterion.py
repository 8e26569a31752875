"""The losses of any head, score-based and ranking, on made-up predictions."""

from __future__ import annotations

import pytest
import torch
from mmdet.models.losses import CIoULoss, FocalLoss, GIoULoss, L1Loss
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor, nn

from brs_detr.heads.criterion import Criterion, Targets, build_criterion
from brs_detr.heads.ranking import ALRPLoss, APLoss, BucketedAPLoss, BucketedRankSortLoss, RankSortLoss
from brs_detr.losses import alrp_loss, bucketed_rank_sort_loss

LABELS = torch.tensor([0, 2, 1, 2])  # two classes, 2 is background
BOXES = torch.tensor([[0.0, 0.0, 8.0, 8.0], [2.0, 2.0, 12.0, 12.0]])
TARGETS = torch.tensor([[0.0, 0.0, 10.0, 10.0], [2.0, 2.0, 10.0, 12.0]])
QUALITY = torch.tensor([0.64, 0, 0.8, 0])
LOGITS = torch.tensor([[0.3, -0.2], [0.5, 0.1], [-1.0, 0.2], [-0.4, 0.9]])
LOSSES = {"BRS": BucketedRankSortLoss, "aLRP": ALRPLoss}


def criterion_of(loss_cls: nn.Module, loss_bbox: nn.Module | None = None, **options) -> Criterion:
    return build_criterion(loss_cls, {"loss_bbox": loss_bbox or GIoULoss()}, **options)


def losses(kind: str, labels: Tensor = LABELS, logits: Tensor = LOGITS, boxes: Tensor = BOXES, **options):
    """Of four predictions of which some are positive."""
    num_positives = int((labels < 2).sum())
    targets = Targets(labels, torch.ones(len(labels)), torch.tensor(2.0))
    pair = boxes[:num_positives], TARGETS[:num_positives]
    return criterion_of(LOSSES[kind](), **options)(logits, targets, {"loss_bbox": pair})


def pair_with(quality: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Boxes ``[..., N, 4]`` that overlap their targets by so much."""
    boxes = torch.zeros(*quality.shape, 4, dtype=quality.dtype)
    boxes[..., 2] = 1.0
    boxes[..., 3] = quality.clamp(min=1e-6)
    target_boxes = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=quality.dtype).expand_as(boxes)
    return {"loss_bbox": (boxes, target_boxes)}


def classified(loss_cls: nn.Module, logits: Tensor, labels, quality, weights=None, **options) -> dict[str, Tensor]:
    """The losses without those of boxes."""
    labels, quality = torch.as_tensor(labels), torch.as_tensor(quality)
    weights = torch.ones_like(quality) if weights is None else torch.as_tensor(weights)
    num_positives = (labels < logits.shape[-1]).sum(-1).to(logits.dtype)
    found = criterion_of(loss_cls, **options)(logits, Targets(labels, weights, num_positives), pair_with(quality))
    return {name: loss for name, loss in found.items() if name != "loss_bbox"}


def make_layers() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits of two layers, labels, qualities and weights."""
    return torch.randn(2, 8, 3), torch.randint(0, 4, (2, 8)), torch.rand(2, 8), torch.randint(0, 2, (2, 8)).float()


def test_ranks_all_classes_together():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    loss = BucketedRankSortLoss(delta=0.5, loss_weight=2.0)
    found = classified(loss, logits, [0, 2, 3, 3], [0.5, 0.9, 0.7, 0.0])
    dense = torch.tensor([[0.5, 0, 0], [0, 0, 0.9], [0, 0, 0], [0, 0, 0]])
    expected = bucketed_rank_sort_loss(logits.flatten(), dense.flatten(), delta=0.5)
    assert found["loss_rank"] == pytest.approx(2 * expected.rank)
    assert found["loss_sort"] == pytest.approx(2 * expected.sort)


@pytest.mark.parametrize("sync", [True, False])
def test_focal_loss_of_layers_is_that_of_mmdet(sync):
    logits, labels, quality, weights = make_layers()
    loss = FocalLoss(loss_weight=2.0)
    expected = [
        loss(*layer, avg_factor=max(int((layer[1] < 3).sum()), 1))
        for layer in zip(logits, labels, weights, strict=True)
    ]
    found = classified(loss, logits, labels, quality, weights, sync_cls_avg_factor=sync)["loss_cls"]
    torch.testing.assert_close(found, torch.stack(expected))
    found = classified(loss, logits[0], labels[0], quality[0], weights[0], sync_cls_avg_factor=sync)["loss_cls"]
    torch.testing.assert_close(found, expected[0])


def test_layers_are_ranked_apart():
    layers, loss = make_layers(), BucketedRankSortLoss(delta=0.5, loss_weight=2.0)
    found = classified(loss, *layers)
    for name in ("loss_rank", "loss_sort"):
        expected = [classified(loss, *layer)[name] for layer in zip(*layers, strict=True)]
        torch.testing.assert_close(found[name], torch.stack(expected))


def test_the_loss_is_told_that_a_box_is_positive_for_one_class_at_most():
    loss, told = RankSortLoss(), []
    loss.register_forward_hook(lambda _, args, kwargs, result: told.append(kwargs), with_kwargs=True)
    classified(loss, *make_layers())
    assert told == [{"max_positives": 8}]


def test_weight_zero_leaves_a_prediction_out():
    logits = torch.tensor([[0.0], [5.0]], requires_grad=True)
    found = classified(RankSortLoss(delta=0.5), logits, [0, 1], [0.8, 0.0], weights=[1.0, 0.0])
    assert found["loss_rank"] == 0
    found["loss_rank"].backward()
    assert logits.grad.tolist() == [[0.0], [0.0]]


def test_a_positive_without_overlap_stays_a_positive_unless_asked_otherwise():
    logits = torch.zeros(2, 1)
    boxes = {"loss_bbox": (BOXES, torch.stack([TARGETS[0], TARGETS[1] + 50]))}
    targets = Targets(torch.tensor([0, 0]), torch.ones(2), torch.tensor(2.0))
    fixed = criterion_of(RankSortLoss(delta=0.5))(logits, targets, boxes)
    official = criterion_of(RankSortLoss(delta=0.5), zero_iou_is_negative=True)(logits, targets, boxes)
    assert fixed["loss_rank"] == 0
    assert official["loss_rank"] > 0


def test_average_precision_has_no_sorting_part():
    assert set(classified(BucketedAPLoss(delta=1.0), torch.zeros(2, 1), [0, 1], [0.5, 0.0])) == {"loss_rank"}


@pytest.mark.parametrize("score_weighted", [True, False])
def test_box_losses_take_the_value_of_the_ranking_losses(score_weighted):
    found = losses("BRS", score_weighted=score_weighted)
    quality = torch.zeros(4, 2)
    quality[0, 0], quality[2, 1] = QUALITY[0], QUALITY[2]
    expected = bucketed_rank_sort_loss(LOGITS.flatten(), quality.flatten())
    torch.testing.assert_close([found["loss_rank"], found["loss_sort"]], list(expected))
    torch.testing.assert_close(found["loss_bbox"], expected.rank + expected.sort)


def test_every_box_loss_is_balanced_by_layer_and_stays_zero_where_it_is():
    """A loss of one kind of positives, such as that of masks, is balanced likewise."""
    ranking = {"loss_rank": torch.tensor([1.5, 1.0, 3.0]), "loss_sort": torch.tensor([0.5, 0.0, 1.0])}
    values = torch.tensor([[0.25], [0.0], [7.0]], requires_grad=True)
    criterion = criterion_of(RankSortLoss())
    found = criterion.loss_of_positives("loss_mask", values, torch.zeros(3, 1, 2), torch.ones(3), ranking)
    assert found["loss_mask"].tolist() == pytest.approx([2.0, 0.0, 4.0])
    found["loss_mask"].sum().backward()
    assert values.grad[:, 0].tolist() == pytest.approx([8.0, 0.0, 4 / 7])


def test_scores_weigh_the_boxes():
    """The weights are not to be seen in the value, which is balanced, but in what each box receives."""
    weights = torch.tensor([0.3, 0.2]).sigmoid()
    shares = {}
    for score_weighted in (True, False):
        boxes = BOXES.clone().requires_grad_()
        losses("BRS", boxes=boxes, score_weighted=score_weighted)["loss_bbox"].backward()
        shares[score_weighted] = boxes.grad.abs().sum(1)
    ratio = shares[True] / shares[False]
    torch.testing.assert_close(ratio / ratio[0], weights / weights[0])


@pytest.mark.parametrize("loss", [L1Loss(loss_weight=5.0), GIoULoss(loss_weight=2.0), CIoULoss()])
def test_box_loss_is_that_of_mmdet(loss):
    boxes, target_boxes = (torch.rand(3, 6, 4).sort(-1).values for _ in range(2))
    is_positive = torch.tensor([[1, 0, 1, 0, 0, 1], [0] * 6, [1] * 6]).bool()
    averages = torch.tensor([3.0, 1.0, 6.0])
    weights = is_positive[..., None].float().expand(-1, -1, 4)
    layers = zip(boxes, target_boxes, weights, averages, strict=True)
    expected = [loss(*layer, avg_factor=average) for *layer, average in layers]
    targets = Targets((~is_positive).long(), torch.ones(3, 6), averages)
    criterion = criterion_of(FocalLoss(), loss)
    found = criterion(torch.zeros(3, 6, 1), targets, {"loss_bbox": (boxes, target_boxes)})
    torch.testing.assert_close(found["loss_bbox"], torch.stack(expected))
    positives = boxes[2], target_boxes[2]
    one = Targets(torch.tensor([0, 1, 0, 0, 1, 0, 0, 0]), torch.ones(8), averages[2])
    found = criterion(torch.zeros(8, 1), one, {"loss_bbox": positives})
    torch.testing.assert_close(found["loss_bbox"], expected[2])


def test_alrp_ranks_boxes_as_well():
    found = losses("aLRP")
    targets = torch.zeros(4, 2)
    targets[0, 0] = targets[2, 1] = 1
    box_losses = GIoULoss()(BOXES, TARGETS, reduction_override="none")
    expected = alrp_loss(LOGITS.flatten(), targets.flatten(), box_losses)
    assert found.keys() == {"loss_cls", "loss_bbox"}
    torch.testing.assert_close(found["loss_cls"], expected.classification)
    torch.testing.assert_close(found["loss_bbox"], 50 * expected.localisation)
    with pytest.raises(ValueError, match="remove gather_ranking"):
        criterion_of(ALRPLoss(), gather_ranking=True)


@pytest.mark.parametrize("kind", ["BRS", "aLRP"])
@pytest.mark.fault("Numbers", "no positive in any head", "all losses are 0, with a gradient for every weight")
def test_without_a_positive_all_losses_are_zero(kind):
    assert all(loss == 0 for loss in losses(kind, torch.full((4,), 2)).values())


def test_official_accident_without_a_positive():
    logits = LOGITS.clone().requires_grad_()
    found = losses("BRS", torch.full((4,), 2), logits, constant_without_positives=True)
    assert all(loss == 1 for loss in found.values())
    sum(found.values()).backward()
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("kind", ["BRS", "aLRP"])
@pytest.mark.fault("Numbers", "no proposals", "all losses are 0, with a gradient for every weight")
def test_no_prediction_at_all(kind):
    """As when an image leaves no proposal."""
    found = losses(kind, torch.empty(0, dtype=torch.long), torch.empty(0, 2), score_weighted=True)
    assert all(loss == 0 for loss in found.values())


@pytest.mark.parametrize("kind", ["BRS", "aLRP"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.fault(
    "Numbers",
    "NaN logits, in a ranking loss or in matching",
    "the loss is not finite and the step is skipped; no assertion on the GPU ends the process",
)
def test_what_is_not_finite_is_in_the_loss_and_stops_nothing(kind, value):
    logits = LOGITS.clone()
    logits[1, 1] = value
    assert not any(loss.isfinite() for loss in losses(kind, LABELS, logits, BOXES * value).values())


def test_sigmoid_is_the_only_way():
    with pytest.raises(ValueError, match="sigmoid"):
        RankSortLoss(use_sigmoid=False)
    assert RankSortLoss().get_activation(torch.zeros(2, 3)).tolist() == [[0.5, 0.5, 0.5, 0.0]] * 2


def batch(seed: int, num_predictions: int) -> tuple[Tensor, Targets, dict[str, tuple[Tensor, Tensor]]]:
    """Predictions of three classes, for a criterion."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_predictions, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 4, (num_predictions,), generator=generator)
    quality = torch.rand(num_predictions, generator=generator, dtype=torch.float64)
    targets = Targets(labels, torch.ones(num_predictions), torch.tensor(1.0, dtype=torch.float64))
    return logits, targets, pair_with(quality)


def ranking_losses(criterion: Criterion, logits: Tensor, *others, name: str = "") -> dict[str, Tensor]:
    found = criterion(logits, *others, name)
    return {key: loss for key, loss in found.items() if key != "loss_bbox"}


@pytest.mark.parametrize("loss_cls", [BucketedRankSortLoss(), APLoss()], ids=["BRS", "AP"])
def test_accumulated_gradients_are_those_of_one_large_batch(loss_cls: nn.Module) -> None:
    """Once the memory is full, and as long as weights stay as they are."""
    batches = [batch(seed, size) for seed, size in enumerate((20, 7, 12))]
    criterion = criterion_of(loss_cls, ranking_memory=len(batches) - 1)
    for logits, *others in 2 * batches:
        logits.grad = None
        found = ranking_losses(criterion, logits, *others)
        (sum(found.values()) / len(batches)).backward()
    whole = torch.cat([logits.detach() for logits, *_ in batches]).requires_grad_()
    fields = ([getattr(targets, name) for _, targets, _ in batches] for name in ("labels", "weights"))
    pair = tuple(torch.cat([pairs["loss_bbox"][side] for *_, pairs in batches]) for side in (0, 1))
    targets = Targets(*map(torch.cat, fields), torch.tensor(1.0))
    expected = ranking_losses(criterion_of(loss_cls), whole, targets, {"loss_bbox": pair})
    sum(expected.values()).backward()
    assert torch.allclose(torch.cat([logits.grad for logits, *_ in batches]), whole.grad, rtol=0, atol=1e-12)
    assert all(torch.allclose(found[name], expected[name], rtol=0, atol=1e-12) for name in expected)


def test_names_never_meet_and_evaluation_leaves_no_trace() -> None:
    criterion, alone = (criterion_of(BucketedRankSortLoss(), ranking_memory=number) for number in (2, 0))
    own, other = batch(0, 20), batch(1, 20)
    criterion(*other)
    criterion.eval()
    criterion(*other)
    criterion.train()
    assert criterion(*own, "encoder") == alone(*own)
    assert criterion(*own)["loss_rank"] != alone(*own)["loss_rank"]


def test_layers_are_remembered_as_layers() -> None:
    criterion = criterion_of(BucketedRankSortLoss(), ranking_memory=1)
    layer, targets, pairs = batch(0, 20)
    both = Targets(torch.stack([targets.labels] * 2), torch.stack([targets.weights] * 2), torch.ones(2))
    boxes = {name: tuple(torch.stack([side, side]) for side in pair) for name, pair in pairs.items()}
    stacked = torch.stack([layer, layer + 1])
    criterion(stacked, both, boxes)
    found = criterion(stacked, both, boxes)
    assert found["loss_rank"].shape == (2,)
    criterion(*batch(2, 9))  # of another number of layers: not comparable
    (gradient,) = torch.autograd.grad(found["loss_rank"].sum(), layer)
    assert gradient.isfinite().all()


def test_quality_is_the_iou_of_the_last_pair() -> None:
    quality = torch.tensor([0.3, 0.8])
    assert torch.allclose(bbox_overlaps(*pair_with(quality)["loss_bbox"], is_aligned=True), quality)
    others = {"loss_bbox": (BOXES, BOXES), "loss_iou": pair_with(quality)["loss_bbox"]}
    criterion = build_criterion(RankSortLoss(), {"loss_bbox": L1Loss(), "loss_iou": GIoULoss()})
    targets = Targets(torch.tensor([0, 0]), torch.ones(2), torch.tensor(2.0))
    logits = torch.tensor([[2.0], [-2.0]])  # the worse one first
    assert criterion(logits, targets, others)["loss_sort"] > 0
    assert criterion(logits.flip(0), targets, others)["loss_sort"] == 0
