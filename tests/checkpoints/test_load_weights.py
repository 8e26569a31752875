from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tiny_models import build, model_config, official_names

from brs_detr.checkpoints.load_weights import (
    ClassChange,
    find_class_layers,
    load_rows,
    load_table,
    load_weights,
    remade_layers,
)
from brs_detr.errors import UserError

OLD, NEW = ("cat", "dog", "cow", "hen"), ("Hen", "fox", "cat")
PRIOR = -math.log(99)  # bias for a probability of 0.01


@pytest.fixture(scope="module")
def old(tiny_config: Path):
    """Make weights for four classes, in which the bias of a class's logit is its label."""
    model = build(tiny_config, 4, seed=1)
    with torch.no_grad():
        for layer in (*model.query_head.cls_branches, model.atss_head.atss_cls, model.roi_head.bbox_head.fc_cls):
            layer.bias.copy_(torch.arange(4.0))
    return model.state_dict()


@pytest.fixture
def classes(tiny_config: Path) -> ClassChange:
    return ClassChange(find_class_layers(model_config(tiny_config, 3)), NEW, OLD)


def test_everything_is_loaded_where_nothing_differs(tiny_config: Path, old) -> None:
    model = build(tiny_config, 4)
    account = load_weights(model, old)
    assert not account.remade and not account.unused and not account.missing
    assert all(torch.equal(value, old[name]) for name, value in model.state_dict().items())
    assert account.used_share == 1


def test_known_classes_keep_their_rows_and_others_begin_anew(tiny_config: Path, old, classes: ClassChange) -> None:
    model = build(tiny_config, 3)
    account = load_weights(model, old, classes)
    assert set(account.remade) == set(classes.layers)
    assert not account.unused and not account.missing
    for layer in model.query_head.cls_branches[:2]:
        assert layer.bias.tolist() == [3, pytest.approx(PRIOR), 0]
    assert model.atss_head.atss_cls.bias.tolist() == [3, 0, 0]
    box_head = model.roi_head.bbox_head
    assert box_head.fc_cls.bias.tolist() == [3, 0, 0]
    assert torch.equal(box_head.fc_reg.weight[:4], old["roi_head.bbox_head.fc_reg.weight"][12:])
    assert torch.equal(model.neck.convs[0].conv.weight, old["neck.convs.0.conv.weight"])


def test_scores_of_proposals_stay_whatever_the_classes(tiny_config: Path, old, classes: ClassChange) -> None:
    model = build(tiny_config, 3)
    load_weights(model, old, classes)
    assert model.query_head.cls_branches[-1].bias.tolist() == [0, 1, 2]


def test_same_number_of_other_classes(tiny_config: Path, old, classes: ClassChange) -> None:
    swapped = ClassChange(classes.layers, ("dog", "cat", "hen", "pig"), OLD)
    model = build(tiny_config, 4)
    load_weights(model, old, swapped)
    assert model.atss_head.atss_cls.bias.tolist() == [1, 0, 3, 0]
    assert model.query_head.cls_branches[-1].bias.tolist() == [0, 1, 2, 3]


def test_unknown_classes_begin_anew(tiny_config: Path, old, classes: ClassChange) -> None:
    model = build(tiny_config, 3)
    account = load_weights(model, old, ClassChange(classes.layers, NEW))
    assert model.query_head.cls_branches[0].bias.tolist() == pytest.approx([PRIOR] * 3)
    assert "atss_head.atss_cls" in remade_layers(account)


def test_official_names(tiny_config: Path, old) -> None:
    official = official_names(old)
    assert set(official) != set(old)
    model = build(tiny_config, 4)
    account = load_weights(model, official)
    assert not account.unused and not account.missing
    assert torch.equal(model.atss_head.atss_cls.weight, old["atss_head.atss_cls.weight"])


def test_queries_are_added(tiny_config: Path, old) -> None:
    grown = {**old, "query_head.query_embedding.weight": old["query_head.query_embedding.weight"][:5]}
    model = build(tiny_config, 4)
    before = model.query_head.query_embedding.weight.clone()
    account = load_weights(model, grown)
    assert list(account.remade) == ["query_head.query_embedding.weight"]
    assert torch.equal(model.query_head.query_embedding.weight[:5], grown["query_head.query_embedding.weight"])
    assert torch.equal(model.query_head.query_embedding.weight[5:], before[5:])


def test_backbone_alone(tiny_config: Path, old) -> None:
    prefix = "backbone."
    alone = {name.removeprefix(prefix): value for name, value in old.items() if name.startswith(prefix)}
    model = build(tiny_config, 3)
    account = load_weights(model, {**alone, "fc.weight": torch.zeros(10, 64)})
    assert set(account.loaded) == {name for name in old if name.startswith(prefix)}
    assert account.unused == {"backbone.fc.weight": 640}
    assert torch.equal(model.backbone.conv1.weight, alone["conv1.weight"])
    rows = {row[0]: row[1:] for row in load_rows(account)}
    assert rows["backbone"] == ["177.9 k (120)", "-", "640 (1)", "-"]
    assert rows["neck"][:3] == ["-", "-", "-"]
    assert load_table(account).row_count == len(rows)


@pytest.mark.parametrize("is_timm", [False, True])
def test_swin_in_its_own_names(is_timm: bool) -> None:
    from mmdet.models.backbones import SwinTransformer
    from torch import nn

    model = nn.Module()
    model.backbone = SwinTransformer(embed_dims=8, depths=[1, 1], num_heads=[1, 1], strides=(4, 2), out_indices=(0, 1))
    own = {"attn.w_msa": "attn", "ffn.layers.0.0": "mlp.fc1", "ffn.layers.1": "mlp.fc2"}
    official = {}
    for name, value in model.backbone.state_dict().items():
        if name.startswith("stages"):
            for ours, theirs in own.items():
                name = name.replace(f".{ours}.", f".{theirs}.")
            name = name.replace("stages", "layers", 1)
        if is_timm:
            name = name.replace("layers.0.downsample", "layers.1.downsample")
        official[name.replace("patch_embed.projection", "patch_embed.proj")] = torch.zeros_like(value)
    account = load_weights(model, official)
    assert not account.missing
    assert not model.backbone.stages[0].downsample.reduction.weight.any()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a.b": torch.zeros(3)}, "0% of it can be used; its names are different, such as a.b"),
        ({"backbone.conv1.weight": torch.zeros(2, 3, 7, 7)}, "weight is 2 x 3 x 7 x 7, and 8 x 3 x 7 x 7 in the model"),
    ],
)
def test_weights_of_another_model_are_refused(weights, message: str, tiny_config: Path) -> None:
    model = build(tiny_config, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError, match="my.pth does not fit the model") as error:
        load_weights(model, weights, source="my.pth")
    assert message in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_detector_of_another_backbone_is_refused(tiny_config: Path, old) -> None:
    others = {name.replace("backbone.", "backbone.model."): value for name, value in old.items()}
    with pytest.raises(UserError, match="it has none for the backbone"):
        load_weights(build(tiny_config, 4), others)


def test_mostly_unused_weights_are_refused(tiny_config: Path, old) -> None:
    with pytest.raises(UserError, match=r"the model has no huge\.weight"):
        load_weights(build(tiny_config, 4), {**old, "huge.weight": torch.zeros(10**6)})
