from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from rich.console import Console

from brs_detr.checkpoints.weights_file import Start
from brs_detr.config.config import load_config
from brs_detr.config.folder_data import inner_dataset, use_folder
from brs_detr.recipes.apply_recipe import (
    apply_recipe,
    augmentation,
    learning_rate_keys,
    needed_queries,
    resolution_of,
    stage_names,
)
from brs_detr.recipes.plan import TrainingFacts, TrainingPlan, measure_facts, plan_batch
from brs_detr.recipes.recipe import RECIPES


def decide(
    start: Start = "detector", num_images: int = 400, max_objects: int = 7, batch: int = 2, **settings
) -> TrainingPlan:
    recipe = replace(RECIPES["few", start], **settings)
    facts = TrainingFacts(num_images, max_objects)
    return TrainingPlan(
        recipe, start, facts, plan_batch(batch, recipe.effective_batch, 1, num_images), frozenset(settings)
    )


def applied(config_name: str | Path, plan: TrainingPlan):
    config = load_config(config_name)
    apply_recipe(config, plan)
    return config


def test_schedule(tiny_config: Path) -> None:
    config = applied(tiny_config, decide(epochs=40, evaluations=10))
    assert (config.train_cfg.max_epochs, config.train_cfg.val_interval) == (40, 4)
    warmup, cosine = config.param_scheduler
    assert (warmup.type, warmup.end) == ("LinearLR", 400)  # 40 epochs x 200 iterations x 5 %
    assert (cosine.type, cosine.end, cosine.convert_to_iter_based) == ("CosineAnnealingLR", 40, True)
    assert config.optim_wrapper.optimizer.lr == pytest.approx(1e-4)
    assert config.optim_wrapper.accumulative_counts == 8
    (steps,) = applied(tiny_config, decide(epochs=24, schedule="step", warmup=0)).param_scheduler
    assert (steps.milestones, steps.gamma) == ([20, 22], 0.2)
    assert applied(tiny_config, decide(epochs=1, schedule="step")).param_scheduler[-1].milestones == [1]


def test_hooks(tiny_config: Path) -> None:
    hooks = {hook.type: hook for hook in applied(tiny_config, decide(epochs=50, mosaic=True)).custom_hooks}
    assert set(hooks) == {"CloseMosaic", "EMAHook", "StopEarly"}
    assert hooks["CloseMosaic"].begin == 40
    assert hooks["EMAHook"].momentum == pytest.approx(1 / 500)  # 5 % of 50 x 200 iterations
    assert hooks["EMAHook"].update_buffers
    plain = decide(ema=False, patience=0, effective_batch=2)
    assert applied(tiny_config, plain).custom_hooks == []


def test_frozen_stages_have_no_gradient(tiny_config: Path) -> None:
    config = applied(tiny_config, decide(frozen_stages=2))
    assert config.model.backbone.norm_eval
    init_default_scope("mmdet")
    backbone = MODELS.build(config.model.backbone)
    backbone.train()
    sum(maps.sum() for maps in backbone(torch.randn(1, 3, 64, 64))).backward()
    moving = {name.split(".")[0] for name, value in backbone.named_parameters() if value.grad is not None}
    assert moving == {"layer3", "layer4"}


def test_from_nothing_everything_moves() -> None:
    config = applied("brs-co-deformable-detr_r50_finetune", decide("nothing"))
    backbone = config.model.backbone
    assert (backbone.frozen_stages, backbone.norm_eval, backbone.norm_cfg.requires_grad) == (-1, False, True)


def test_early_stages_learn_slower(tiny_config: Path) -> None:
    config = applied(tiny_config, decide(layer_decay=0.5, backbone_lr=0.1, frozen_stages=-1))
    init_default_scope("mmdet")
    model = MODELS.build(config.model)
    optimizer = build_optim_wrapper(model, config.optim_wrapper).optimizer
    rate = {group["params"][0]: group["lr"] for group in optimizer.param_groups}
    rates = {name: rate[value] for name, value in model.named_parameters()}
    for name, share in {"conv1": 1 / 16, "bn1": 1 / 16, "layer1.0.conv1": 1 / 8, "layer3.0.bn1": 1 / 2}.items():
        assert rates[f"backbone.{name}.weight"] == pytest.approx(1e-5 * share)
    assert rates["backbone.layer4.0.conv1.weight"] == pytest.approx(1e-5)
    assert rates["neck.convs.0.conv.weight"] == pytest.approx(1e-4)
    attention = "encoder.layers.0.self_attn.sampling_offsets.weight"
    assert rates[attention] == pytest.approx(1e-5)


def test_stages_of_backbones() -> None:
    swin = load_config("brs-co-deformable-detr_swin-t_finetune").model.backbone
    assert stage_names(swin)[0] == ("patch_embed", "absolute_pos_embed")
    assert stage_names(swin)[4] == ("stages.3", "norm3")
    names = {f"backbone.{name}" for names in stage_names(swin) for name in names}
    assert set(learning_rate_keys(swin, 0.1, 0.9)) == {"backbone", *names}
    parameters = [name for name, _ in MODELS.build({**swin, "init_cfg": None}).named_parameters()]
    assert all(any(name.startswith(stage) for stages in stage_names(swin) for stage in stages) for name in parameters)
    other = {"type": "TimmBackbone", "model_name": "convnext_atto"}
    assert learning_rate_keys(other, 0.1, 0.5) == {"backbone": {"lr_mult": 0.1}}


def test_queries_follow_the_data(tiny_config: Path) -> None:
    config = load_config("brs-co-deformable-detr_r18_1xb4-12e_coco")  # 100 queries, 100 detections
    assert needed_queries(config, decide(max_objects=66)) == 100
    assert needed_queries(config, decide(max_objects=120)) == 200
    assert needed_queries(config, decide(max_objects=120, queries=90)) == 90
    config = applied("brs-co-deformable-detr_r18_1xb4-12e_coco", decide(max_objects=120))
    assert config.model.query_head.num_queries == 200
    assert config.model.test_cfg.query.max_per_img == 150
    baseline = applied("deformable-detr_r18_1xb4-12e_coco", decide(max_objects=120))
    assert (baseline.model.num_queries, baseline.model.test_cfg.max_per_img) == (200, 150)


def test_joint_ranking(tiny_config: Path, tiny_plain_config: Path) -> None:
    assert "ranking_memory" not in str(applied(tiny_config, decide(joint_ranking=False)).model)
    model = applied(tiny_config, decide()).model
    heads = (model.query_head, model.rpn_head, model.roi_head.bbox_head, model.atss_head)
    assert [head.ranking_memory for head in heads] == [7] * 4
    assert "ranking_memory" not in str(applied(tiny_plain_config, decide(joint_ranking=True)).model)


def test_detector_without_queries(tmp_path: Path) -> None:
    (tmp_path / "retina.py").write_text("_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'\n")
    config = applied(tmp_path / "retina.py", decide())
    assert needed_queries(config, decide()) is None
    assert config.model.backbone.frozen_stages == 2


def test_sizes() -> None:
    config = applied("brs-co-deformable-detr_r50_finetune", decide(resolution=(800, 500), multi_scale=(0.6, 1.0)))
    for phase in ("val", "test"):
        assert resolution_of(inner_dataset(config, phase).pipeline) == (800, 500)
    resize = inner_dataset(config, "train").pipeline[-2]
    assert [choice[0].scale for choice in resize.transforms] == [(800, side) for side in (300, 340, 380, 420, 460, 500)]
    demo = applied("brs-co-deformable-detr_r18_1xb4-4e_shapes", decide(multi_scale=(0.5, 1.0)))
    assert resolution_of(inner_dataset(demo, "val").pipeline) is None
    first = inner_dataset(demo, "train").pipeline[-2].transforms[0][0]
    assert first == {"type": "Resize", "scale_factor": 0.5}
    shaped = applied("brs-co-deformable-detr_r18_1xb4-4e_shapes", decide(resolution=(320, 320)))
    assert resolution_of(inner_dataset(shaped, "test").pipeline) == (320, 320)


def test_augmentation_can_be_left_out() -> None:
    recipe = decide(flip=0, crop=0, colour=False, multi_scale=(1.0, 1.0)).recipe
    steps = augmentation(recipe, (64, 64))
    assert [step["type"] for step in steps] == ["RandomChoice", "PackDetInputs"]
    assert len(steps[0]["transforms"]) == 1


@pytest.mark.parametrize("mosaic", [False, True])
def test_augmented_images_have_objects_inside(mosaic: bool, tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    config = load_config(tiny_config)
    use_folder(config, shapes, tmp_path, Console(quiet=True))
    apply_recipe(config, decide(num_images=6, mosaic=mosaic, crop=1.0))
    init_default_scope("mmdet")
    dataset = DATASETS.build(config.train_dataloader.dataset)
    assert type(dataset).__name__ == ("MultiImageMixDataset" if mosaic else "CocoFolderDataset")
    sizes = set()
    for index in 2 * list(range(len(dataset))):
        packed = dataset[index]
        height, width = packed["inputs"].shape[1:]
        boxes = packed["data_samples"].gt_instances.bboxes.tensor
        assert packed["inputs"].dtype == torch.uint8
        assert max(height, width) <= 64
        assert (boxes[:, 2] <= width + 1e-3).all() and (boxes[:, 3] <= height + 1e-3).all()
        sizes.add((height, width))
    assert len(sizes) > 1
    assert dataset.metainfo["classes"][0] == "circle"


def test_facts(shapes: Path) -> None:
    from brs_detr.data.formats.coco_folder import find_splits

    splits = find_splits(shapes)
    assert measure_facts(splits["train"]).num_images == 6
    assert measure_facts(splits["train"], [splits["val"]]).max_objects == 5  # and a crowd
