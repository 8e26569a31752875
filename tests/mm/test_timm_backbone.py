"""timm models as backbones."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file

from brs_detr.errors import UserError
from brs_detr.mm.backbones.timm_backbone import TimmBackbone


@pytest.mark.parametrize(
    ("name", "out_indices", "options"),
    [
        ("resnet10t", (2, 3, 4), {}),
        ("convnext_atto", (1, 2, 3), {}),
        ("swin_tiny_patch4_window7_224", (1, 2, 3), {"img_size": (64, 96), "window_size": 4}),
        ("vit_tiny_patch16_224", (9, 10, 11), {"img_size": (64, 96)}),
    ],
)
def test_maps_have_the_promised_channels_and_strides(name, out_indices, options):
    backbone = TimmBackbone(name, out_indices, **options).eval()
    maps = backbone(torch.rand(2, 3, 64, 96))
    assert [m.shape[1] for m in maps] == backbone.out_channels
    assert [tuple(m.shape[2:]) for m in maps] == [(64 // s, 96 // s) for s in backbone.strides]


def test_loads_weights_from_a_file(tmp_path):
    source = timm.create_model("resnet10t")
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    backbone = TimmBackbone("resnet10t", weights_file=str(tmp_path / "weights.safetensors"))
    assert torch.equal(backbone.model.layer3[0].conv1.weight, source.layer3[0].conv1.weight)


def test_norm_eval_keeps_statistics():
    backbone = TimmBackbone("resnet10t", norm_eval=True).train()
    before = backbone.model.layer4[0].bn1.running_mean.clone()
    backbone(torch.rand(2, 3, 32, 32))
    assert torch.equal(backbone.model.layer4[0].bn1.running_mean, before)
    backbone.norm_eval = False
    backbone.train()(torch.rand(2, 3, 32, 32))
    assert not torch.equal(backbone.model.layer4[0].bn1.running_mean, before)


def test_unknown_model_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'resnet50'"):
        TimmBackbone("resnet5O")


def test_stage_out_of_range():
    with pytest.raises(UserError, match="out_indices"):
        TimmBackbone("resnet10t", out_indices=(2, 3, 9))


def test_missing_weights_file(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.pth"):
        TimmBackbone("resnet10t", weights_file=str(tmp_path / "nowhere.pth"))
