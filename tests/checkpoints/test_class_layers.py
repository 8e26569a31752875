from __future__ import annotations

from pathlib import Path

import torch
from tiny_models import model_config

from brs_detr.checkpoints.load_weights import ClassLayer, carry_rows, find_class_layers, shared_classes


def test_layers_of_both_detectors(tiny_config: Path, tiny_plain_config: Path) -> None:
    before = torch.get_rng_state()
    ranking, plain = (find_class_layers(model_config(path, 5)) for path in (tiny_config, tiny_plain_config))
    assert torch.equal(torch.get_rng_state(), before)
    branches = {f"query_head.cls_branches.{layer}.{kind}" for layer in range(3) for kind in ("weight", "bias")}
    box_head = {f"roi_head.bbox_head.{layer}.{kind}" for layer in ("fc_cls", "fc_reg") for kind in ("weight", "bias")}
    assert set(ranking) == branches | box_head | {"atss_head.atss_cls.weight", "atss_head.atss_cls.bias"}
    assert set(plain) == set(ranking)
    assert ranking["roi_head.bbox_head.fc_reg.weight"] == ClassLayer(4)
    assert ranking["roi_head.bbox_head.fc_cls.bias"] == ClassLayer(1)
    assert plain["roi_head.bbox_head.fc_cls.weight"] == ClassLayer(1, extra=1)  # a softmax with background


def test_convolution_with_several_anchors_is_not_taken_apart() -> None:
    layers = find_class_layers(
        {
            "type": "RetinaNet",
            "backbone": {},
            "neck": {"type": "FPN", "in_channels": [128, 256, 512], "out_channels": 8, "num_outs": 5},
            "bbox_head": {"type": "RetinaHead", "num_classes": 9, "in_channels": 8, "feat_channels": 8},
            "train_cfg": None,
            "test_cfg": {},
        }
    )
    assert layers == dict.fromkeys(
        ("bbox_head.retina_cls.weight", "bbox_head.retina_cls.bias"), ClassLayer(9, is_by_class=False)
    )
    old, new = torch.zeros(18, 1), torch.ones(18, 1)
    assert torch.equal(carry_rows(layers["bbox_head.retina_cls.weight"], old, new, ("a", "b"), ("a", "b")), new)


def test_rows_follow_the_names() -> None:
    assert shared_classes(("Cat", "dog"), ("bird", "cat")) == [(0, 1)]
    old, new = torch.arange(8.0).reshape(8, 1), -torch.ones(12, 1)
    carried = carry_rows(ClassLayer(4), old, new, ("Cat", "dog"), ("bird", "cat", "cow")).flatten()
    assert carried.tolist() == [-1] * 4 + [0, 1, 2, 3] + [-1] * 4


def test_background_is_carried_where_both_have_it() -> None:
    old, new = torch.tensor([1.0, 2, 9]), torch.zeros(2)
    assert carry_rows(ClassLayer(1, extra=1), old, new, ("a", "b"), ("b",)).tolist() == [2, 9]
    assert carry_rows(ClassLayer(1), old, new, ("a", "b"), ("b", "c")).tolist() == [2, 0]
    assert carry_rows(ClassLayer(1, extra=1), old[:2], torch.zeros(3), ("a", "b"), ("b", "c")).tolist() == [2, 0, 0]
