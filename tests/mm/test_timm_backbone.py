"""timm models as backbones."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from matplotlib import cbook
from PIL import Image
from safetensors.torch import save_file

from brs_detr.config.config import load_config
from brs_detr.errors import UserError
from brs_detr.mm.backbones.timm_backbone import TimmBackbone, packaged_weights


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


def test_weights_of_a_package_recognise_a_photograph() -> None:
    """Grace Hopper in uniform, from matplotlib's samples, with the normalisation of the configs."""
    config = load_config("brs-co-deformable-detr_lite0_finetune").model
    name = config.backbone.model_name
    classifier = timm.create_model(name).eval()
    classifier.load_state_dict(packaged_weights(name))
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        photo = Image.open(file).convert("RGB").resize((256, 300)).crop((16, 20, 240, 244))
    mean, std = (torch.tensor(config.data_preprocessor[key]).view(3, 1, 1) for key in ("mean", "std"))
    image = (torch.from_numpy(np.array(photo)).permute(2, 0, 1) - mean) / std
    military_uniform = 652
    assert military_uniform in classifier(image[None]).topk(5).indices
    backbone = TimmBackbone(**{key: value for key, value in config.backbone.items() if key != "type"}).eval()
    assert backbone.out_channels == config.neck.in_channels and backbone.strides == [8, 16, 32]
    stem = classifier.bn1(classifier.conv_stem(image[None]))
    torch.testing.assert_close(backbone.model.bn1(backbone.model.conv_stem(image[None])), stem)


def test_weights_of_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="No package holds weights of 'resnet10t'"):
        packaged_weights("resnet10t")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"\[pretrained\]"):
        packaged_weights("tf_efficientnet_lite0")
