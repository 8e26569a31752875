"""Every config of `configs/ranking_losses` trains and evaluates, with a picture that has no object in the batch."""

from __future__ import annotations

import copy

import pytest
import torch
from detectors import build, losses_of, small_config, training_batch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, METRICS

from brs_detr.config.config import list_configs
from brs_detr.heads.anchors import flatten_levels
from brs_detr.heads.ranking import LoopRankSortLoss, RankingCriterion, RankSortLoss
from brs_detr.heads.roi_heads import choose_masks

NAMES = [entry.name for entry in list_configs() if entry.path.parent.name == "ranking_losses"]


def is_like_another(name: str) -> bool:
    """Whether a config that is tested often has the same losses and heads: the others wait for the slow suite."""
    return name.endswith("-27e_coco") or not (name.startswith("brs-") or name.endswith("-12e_coco"))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * is_like_another(name)) for name in NAMES]
)
def test_trains_and_evaluates(name, outlined):
    config = small_config(name, outlined)
    model, batch = build(config).train(), training_batch(config)
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    for _ in range(2):
        losses = losses_of(model, copy.deepcopy(batch))
        total = sum(losses.values())
        assert total.isfinite() and total > 0
        total.backward()
        gradients = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
        assert [key for key, gradient in gradients.items() if gradient is None and "backbone" not in key] == []
        assert [key for key, g in gradients.items() if g is not None and not g.isfinite().all()] == []
        optimizer.step()
        optimizer.zero_grad()
    metric = METRICS.build(config.val_evaluator)
    dataset = DATASETS.build(config.val_dataloader.dataset)
    metric.dataset_meta = dataset.metainfo
    model.test_cfg.get("rcnn", model.test_cfg).score_thr = 0.0
    with torch.inference_mode():
        for item in dataset:
            (sample,) = model.eval().test_step({"inputs": [item["inputs"]], "data_samples": [item["data_samples"]]})
            metric.process(None, [sample.to_dict()])
    metrics = metric.evaluate(len(dataset))
    assert ("coco/mask_AP" in metrics) == ("mask-rcnn" in name)
    assert 0 <= metrics["coco/AP"] <= 1
    assert metric.predictions


def gradients_of(model, batch) -> dict[str, torch.Tensor]:
    sum(losses_of(model, copy.deepcopy(batch)).values()).backward()
    return {key: p.grad for key, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("detector", ["faster-rcnn", "cascade-rcnn", "mask-rcnn", "atss", "paa", "retinanet"])
def test_exact_and_loop_give_the_same_step(detector, outlined):
    """Rank & Sort Loss by breakpoints and as first published, every loss and every gradient of the detector."""
    config = small_config(f"rs-{detector}_r50_fpn_4xb4-12e_coco", outlined)
    found, batch = [], training_batch(config)
    batch["inputs"] = [image.double() for image in batch["inputs"]]
    for kind in (RankSortLoss, LoopRankSortLoss):
        model = build(config).double().train()
        losses = [module for module in model.modules() if type(module) is RankSortLoss]
        assert len(losses) == {"cascade-rcnn": 4, "faster-rcnn": 2, "mask-rcnn": 2}.get(detector, 1)
        for loss in losses:
            loss.__class__ = kind
        torch.manual_seed(0)  # the masks to train on are drawn at random
        found.append((losses_of(model, copy.deepcopy(batch)), gradients_of(model, batch)))
    (exact, exact_gradients), (loop, loop_gradients) = found
    assert exact.keys() == loop.keys() and exact_gradients.keys() == loop_gradients.keys()
    for name, loss in exact.items():
        torch.testing.assert_close(loss, loop[name], rtol=1e-6, atol=1e-9, msg=name)
    largest = max(gradient.abs().max() for gradient in loop_gradients.values())
    for name, gradient in exact_gradients.items():
        assert (gradient - loop_gradients[name]).abs().max() < 1e-6 * largest, name


LOSS_FREE = [f"{loss}-{detector}" for loss in ("brs", "ap", "alrp") for detector in ("faster-rcnn", "atss")]
LOSS_FREE += ["brs-paa", "brs-mask-rcnn", "brs-cascade-rcnn"]


@pytest.mark.parametrize("name", [f"{name}_r50_fpn_4xb4-12e_coco" for name in LOSS_FREE])
@pytest.mark.fault("Numbers", "a batch without objects, in each of 47 configs", "finite gradients for every weight")
def test_a_batch_without_any_object(name, outlined):
    """No loss, no hang: every parameter of the heads still has a gradient, as distributed training needs."""
    config = small_config(name, outlined)
    model, batch = build(config).train(), training_batch(config)
    batch["data_samples"][0].gt_instances = batch["data_samples"][0].gt_instances[:0]
    losses = losses_of(model, batch)
    assert all(loss == 0 for loss in losses.values()), losses
    sum(losses.values()).backward()
    missing = [k for k, p in model.named_parameters() if p.requires_grad and p.grad is None and "backbone" not in k]
    assert missing == []


@pytest.mark.parametrize("detector", ["faster-rcnn", "cascade-rcnn", "atss", "paa", "retinanet"])
def test_bfloat16_ends_before_logits(detector, outlined, monkeypatch):
    """Logits that are ranked have more digits than bfloat16 could give them."""
    config = small_config(f"brs-{detector}_r50_fpn_4xb4-12e_coco", outlined)
    model, batch = build(config).train(), training_batch(config)
    seen = []
    original = RankingCriterion.classify
    monkeypatch.setattr(
        RankingCriterion,
        "classify",
        lambda self, logits, *others: seen.append(logits.detach()) or original(self, logits, *others),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = losses_of(model, batch)
    assert all(loss.isfinite() for loss in losses.values())
    assert len(seen) == {"cascade-rcnn": 4, "faster-rcnn": 2}.get(detector, 1)
    for logits in seen:
        assert logits.dtype == torch.float32
        assert (logits != logits.bfloat16()).float().mean() > 0.9


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
