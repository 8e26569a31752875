"""The shipped configs: what they build, and that they say what the paper and the official code say."""

from __future__ import annotations

import json

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from brs_detr.config.config import list_configs, load_config
from co_detr.official_checkpoint import rename_key

TABLE_5 = [f"brs-co-deformable-detr_{backbone}_8xb2-12e_coco" for backbone in ("r50", "swin-t", "swin-l")]
BASELINES = [name.removeprefix("brs-") for name in TABLE_5]
ACCIDENTS = ("zero_iou_is_negative", "shrink_box_frame", "constant_without_positives")


def build(name: str) -> torch.nn.Module:
    """The model of a config, without memory for its weights where that is possible."""
    model_config = load_config(name).model
    model_config.backbone.init_cfg = None
    init_default_scope("mmdet")
    with torch.device("cpu" if "Swin" in model_config.backbone.type else "meta"):
        return MODELS.build(model_config)


def accidents(model: torch.nn.Module) -> set[str]:
    return {name for module in model.modules() for name in ACCIDENTS if getattr(module, name, False)}


@pytest.mark.parametrize("name", [entry.name for entry in list_configs()])
def test_every_config_builds_and_only_table_5_repeats_accidents(name):
    model = build(name)
    assert accidents(model) == (set(ACCIDENTS) if name in TABLE_5 else set())
    if type(model).__name__ == "CoDETR":
        assert ("brs" in name) == (type(model.query_head).__name__ == "RankingCoDeformDETRHead")


def test_the_small_baselines_are_of_one_size():
    """What is compared with BRS-DETR has its backbone, neck, width, depth and number of queries."""

    def shapes(module: torch.nn.Module, *parts: str) -> dict[str, torch.Size]:
        return {key: value.shape for key, value in module.state_dict().items() if key.startswith(parts or "")}

    baseline = build("deformable-detr_r18_1xb4-12e_coco")
    for name in ("brs-co-deformable-detr_r18_1xb4-12e_coco", "co-deformable-detr_r18_1xb4-12e_coco"):
        model = build(name)
        head = model.query_head
        assert shapes(baseline.backbone) == shapes(model.backbone)
        assert shapes(baseline.neck) == shapes(model.neck)
        assert shapes(baseline.encoder) == shapes(model.encoder, "layers.")
        assert shapes(baseline.decoder) == shapes(head.decoder)
        assert shapes(baseline.bbox_head) == shapes(head, "cls_branches", "reg_branches")
        assert baseline.num_queries == head.query_embedding.num_embeddings


def test_the_baseline_of_mmdet_trains_and_predicts_in_its_width():
    model_config = load_config("deformable-detr_r18_1xb4-12e_coco").model
    init_default_scope("mmdet")
    model = MODELS.build(model_config)
    model.init_weights()
    size = (64, 96)
    meta = dict(img_shape=size, batch_input_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
    boxes = torch.tensor([[4.0, 4.0, 40.0, 30.0], [20.0, 10.0, 60.0, 60.0]])
    objects = [InstanceData(bboxes=boxes[:n], labels=torch.zeros(n, dtype=torch.long)) for n in (2, 0)]
    images, samples = torch.randn(2, 3, *size), [DetDataSample(metainfo=meta, gt_instances=gt) for gt in objects]
    total, _ = model.parse_losses(model.loss(images, samples))
    total.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)
    assert len(model.eval().predict(images, samples)[0].pred_instances) == 100


@pytest.mark.parametrize("name", TABLE_5 + BASELINES)
def test_training_recipe(name):
    config, is_brs = load_config(name), name.startswith("brs-")
    assert config.train_dataloader.batch_size == 2
    assert config.train_cfg.max_epochs == 12
    (schedule,) = config.param_scheduler
    assert (schedule.milestones, schedule.gamma) == (([10, 11], 0.2) if is_brs else ([11], 0.1))
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr) == ("AdamW", 2e-4)
    assert optimizer.weight_decay == (1e-4 if "r50" in name else 0.05)
    assert config.optim_wrapper.clip_grad == dict(max_norm=0.1, norm_type=2)
    train_cfg = config.model.train_cfg
    assert train_cfg.query.assigner.match_costs[0].weight == (4.0 if is_brs else 2.0)
    assert train_cfg.rcnn.sampler.type == ("PseudoSampler" if is_brs else "RandomSampler")
    assert config.model.query_head.num_queries == 300


@pytest.mark.parametrize(("part", "weight"), [("query", 2.0), ("rpn", 1.0), ("roi", 5.0), ("atss", 5.0)])
def test_weights_of_the_ranking_losses(part, weight):
    model = build(TABLE_5[0])
    head = getattr(model, f"{part}_head")
    loss = (head.bbox_head if part == "roi" else head).loss_cls
    assert (loss.delta, loss.loss_weight, loss.sort_weight) == (0.5, weight, 1.0)


@pytest.mark.parametrize("backbone", ["r50", "swin_t", "swin_l"])
@pytest.mark.parametrize("kind", ["baseline", "brs"])
def test_parameters_are_those_of_the_official_model(kind, backbone, golden_dir):
    facts = json.loads((golden_dir / "facts" / "state_dict_keys_full_size.json").read_text())
    entry, base = facts[f"{kind}_{backbone}"], facts[f"baseline_{backbone}"]
    official = dict(base)
    if kind == "brs":
        official |= entry["added"] | entry["reshaped"]
        for key in entry["removed"]:
            del official[key]
    prefix = "brs-" if kind == "brs" else ""
    model = build(f"{prefix}co-deformable-detr_{backbone.replace('_', '-')}_8xb2-12e_coco")
    ours = {key: list(value.shape) for key, value in model.state_dict().items()}
    is_compared = lambda key: backbone == "r50" or not key.startswith("backbone.")  # noqa: E731  Swin has other names
    expected = {rename_key(key): shape for key, shape in official.items() if is_compared(key)}
    assert {key: shape for key, shape in ours.items() if is_compared(key)} == expected
