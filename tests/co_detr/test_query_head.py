"""The query head's losses of all layers at once."""

from __future__ import annotations

import official_models
import pytest
import torch
from made_up_images import SIZE, make_samples
from mmdet.registry import MODELS

from brs_detr.heads import criterion
from brs_detr.losses import RankSortLoss
from co_detr.query_head import name_layers

NUM_LAYERS, NUM_QUERIES = 3, 20
BOTH = pytest.mark.parametrize("name", ["codetr", "brs"])


def build(name: str):
    torch.manual_seed(0)
    return MODELS.build(official_models.model_config(name)).train()


def make_predictions(num_images: int) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (NUM_LAYERS, num_images, NUM_QUERIES)
    logits = torch.randn(*shape, official_models.NUM_CLASSES)
    boxes = torch.rand(*shape, 4) * 0.4 + 0.3
    return logits.requires_grad_(), boxes.requires_grad_()


def loss_gradients(losses, *inputs):
    return torch.autograd.grad(torch.stack(list(losses.values())).sum(), inputs)


def count_calls(modules) -> list:
    calls = []
    for module in modules:
        module.register_forward_hook(lambda module, *_: calls.append(module))
    return calls


def test_a_ranking_loss_is_called_once_a_head_and_group_of_layers():
    model = build("brs")
    calls = count_calls(module for module in model.modules() if isinstance(module, RankSortLoss))
    model.loss(torch.randn(2, 3, *SIZE), make_samples(3, 0))
    assert len(calls) == 7
    assert calls.count(model.query_head.loss_cls) == 4  # encoder, decoder, two groups of auxiliary queries
    assert {model.rpn_head.loss_cls, model.roi_head.bbox_head.loss_cls, model.atss_head.loss_cls} < set(calls)


@BOTH
def test_a_group_needs_one_call_of_each_loss_and_at_most_one_collective(name, monkeypatch):
    head, reduced = build(name).query_head, []
    monkeypatch.setattr(criterion, "reduce_mean", lambda tensor: reduced.append(tensor) or tensor)
    calls = count_calls([head.loss_cls, head.loss_bbox, head.loss_iou])
    samples = make_samples(3, 1)
    head.matched_losses(*make_predictions(2), [sample.gt_instances for sample in samples], samples)
    assert len(calls) == 3
    assert [tensor.tolist() for tensor in reduced] == ([] if name == "brs" else [[4.0] * NUM_LAYERS])  # ranks apart


@BOTH
@pytest.mark.parametrize("counts", [(3, 5), (4, 0), (0, 0)])
def test_layers_together_equal_one_at_a_time(name, counts):
    head, samples = build(name).query_head, make_samples(*counts)
    gt = [sample.gt_instances for sample in samples]
    logits, boxes = make_predictions(len(counts))
    together = name_layers(head.matched_losses(logits, boxes, gt, samples))
    alone = {}
    for prefix, *layer in zip(["d0.", "d1.", ""], logits.split(1), boxes.split(1), strict=True):
        alone |= {f"{prefix}{key}": loss.squeeze(0) for key, loss in head.matched_losses(*layer, gt, samples).items()}
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(*(loss_gradients(losses, logits, boxes) for losses in (together, alone)))


@BOTH
def test_without_objects_boxes_cost_nothing(name):
    head, samples = build(name).query_head, make_samples(0, 0)
    logits, boxes = make_predictions(2)
    losses = head.matched_losses(logits, boxes, [sample.gt_instances for sample in samples], samples)
    assert (losses["loss_bbox"] == 0).all()
    assert (losses["loss_iou"] == 0).all()
    on_logits, on_boxes = loss_gradients(losses, logits, boxes)
    assert (on_boxes == 0).all()
    assert on_logits.isfinite().all()
    assert (on_logits == 0).all() == (name == "brs")


def test_names_of_layers():
    losses = {"loss_rank": torch.tensor([1.0, 2.0, 3.0]), "loss_iou": torch.tensor([4.0, 5.0, 6.0])}
    assert name_layers(losses) == {
        "loss_rank": 3,
        "loss_iou": 6,
        "d0.loss_rank": 1,
        "d0.loss_iou": 4,
        "d1.loss_rank": 2,
        "d1.loss_iou": 5,
    }
    assert name_layers({"loss_cls": torch.tensor([7.0])}) == {"loss_cls": 7}
