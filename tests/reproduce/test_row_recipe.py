from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mmengine.registry import MODELS, init_default_scope

from brs_detr.config.config import load_config
from brs_detr.config.folder_data import inner_dataset, split_of
from brs_detr.data.formats.coco_folder import CocoSplit
from brs_detr.reproduce.plan import share_out
from brs_detr.reproduce.recipe import make_recipe, recipe_hash
from brs_detr.reproduce.tables import ROWS, rows_of

TRAINED = [row.config for row in rows_of("table5")]
DETECTORS = [row.config for row in ROWS if row.loss]
HEADS = ("query_head", "rpn_head", "roi_head", "atss_head", "bbox_head")


def second_stages(config: Any) -> list[Any]:
    """Heads with ranking losses that classify proposals, except those of Co-DETR."""
    heads = config.model.get("roi_head", {}).get("bbox_head", [])
    heads = heads if isinstance(heads, list) else [heads]
    return [head for head in heads if head.type.startswith("Ranking") and "query_head" not in config.model]


def splits(root: str) -> dict[str, CocoSplit]:
    return {name: CocoSplit(name, Path(root, f"{name}.json"), Path(root, name)) for name in ("train", "val")}


@pytest.mark.parametrize("name", TRAINED + DETECTORS)
def test_on_the_gpus_of_the_paper_it_is_the_shipped_config(name: str) -> None:
    config = load_config(name)
    images = config.train_dataloader.batch_size
    recipe = make_recipe(name, share_out(16 // images, images), splits("/data"), smoke=False)
    for head in second_stages(recipe):
        assert head.pop("lowest_score") == (0.6 if "lvis" in name else 0.4)  # an official accident
    for key in ("model", "optim_wrapper", "param_scheduler", "train_cfg", "default_hooks"):
        assert recipe[key] == config[key]
    assert recipe.train_dataloader.batch_size == images
    assert inner_dataset(recipe, "train").pipeline == inner_dataset(config, "train").pipeline
    assert split_of(recipe, "train") == splits("/data")["train"]
    assert split_of(recipe, "val").annotation_file == Path(recipe.val_evaluator.ann_file) == Path("/data/val.json")


def test_on_fewer_gpus_images_are_accumulated() -> None:
    recipe = make_recipe(TRAINED[0], share_out(2), splits("/data"), smoke=False)
    assert recipe.train_dataloader.batch_size == 2
    assert recipe.optim_wrapper.accumulative_counts == 4
    assert "ranking_memory" not in recipe.pretty_text  # the official code ranks within a GPU's two images


def test_the_hash_knows_the_recipe_and_not_where_the_data_lie() -> None:
    def hash_of(name: str = TRAINED[1], processes: int = 8, root: str = "/data", smoke: bool = False) -> str:
        return recipe_hash(make_recipe(name, share_out(processes), splits(root), smoke))

    assert hash_of() == hash_of(root="/elsewhere")
    assert len({hash_of(), hash_of(name=TRAINED[0]), hash_of(processes=4), hash_of(smoke=True)}) == 4


# Others are built so, and trained, in tests/heads/test_detectors.py.
SOME = [
    "rs-cascade-rcnn_r50_fpn_4xb4-12e_coco",
    "brs-mask-rcnn_r101_fpn_4xb4-ms-36e_coco",
    "brs-paa_r50_fpn_4xb4-12e_coco",
]


@pytest.mark.parametrize("name", TRAINED + SOME)
def test_a_trial_has_every_part_of_the_model_and_is_small(name: str) -> None:
    recipe, config = make_recipe(name, share_out(1), splits("/data"), smoke=True), load_config(name)
    init_default_scope("mmdet")
    model = MODELS.build(recipe.model)
    assert sum(parameter.numel() for parameter in model.parameters()) < 2e6
    assert any(head in config.model for head in HEADS)
    for head in [head for head in HEADS if head in config.model]:
        assert recipe.model[head].type == config.model[head].type
        assert recipe.model[head].get("loss_cls") == config.model[head].get("loss_cls")
    assert recipe.model.train_cfg == config.model.train_cfg
    assert recipe.param_scheduler == config.param_scheduler
