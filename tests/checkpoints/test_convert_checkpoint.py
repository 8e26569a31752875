"""Converted weights account for every tensor and compute the same."""

from __future__ import annotations

import json
import lzma
from functools import cache
from pathlib import Path

import numpy as np
import official_models
import pytest
import timm
import torch
import torchvision
from click.testing import CliRunner
from mmengine.registry import MODELS

from brs_detr.checkpoints.checkpoint import build_model, read_checkpoint
from brs_detr.checkpoints.convert_checkpoint import convert_checkpoint, convert_weights, recognise
from brs_detr.checkpoints.file_info import describe_file
from brs_detr.checkpoints.weights_file import read_weights
from brs_detr.cli.convert_checkpoint import command
from brs_detr.errors import UserError

GOLDEN = Path(__file__).parents[1] / "golden" / "models"
KEYS = GOLDEN / "state_dict_keys_full_size.json.xz"
MODELS_OF = {
    **{
        f"brs_{backbone}": f"brs-co-deformable-detr_{backbone.replace('_', '-')}"
        for backbone in ("r50", "swin_t", "swin_l")
    },
    **{
        f"baseline_{backbone}": f"co-deformable-detr_{backbone.replace('_', '-')}"
        for backbone in ("r50", "swin_t", "swin_l")
    },
}


@cache
def official_keys(name: str) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a full-size official model."""
    content = json.loads(lzma.decompress(KEYS.read_bytes()))
    entry = content[name]
    if "same_as" in entry:
        keys = {**official_keys(entry["same_as"]), **entry["added"], **entry["reshaped"]}
        return {key: tuple(shape) for key, shape in keys.items() if key not in entry["removed"]}
    return {key: tuple(shape) for key, shape in entry.items()}


def weightless(name: str, num_classes: int = 80) -> dict[str, torch.Tensor]:
    """Make the tensors of an official model without memory, for any number of classes."""
    of_80 = official_keys(name)
    shapes = {
        key: tuple(num_classes if side == 80 else num_classes + 1 if side == 81 else side for side in shape)
        for key, shape in of_80.items()
    }
    shapes["roi_head.0.bbox_head.fc_reg.weight"] = (4 * num_classes, 1024)
    shapes["roi_head.0.bbox_head.fc_reg.bias"] = (4 * num_classes,)
    return {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}


@pytest.mark.parametrize("name", MODELS_OF)
def test_every_tensor_of_the_six_official_models_is_accounted_for(name: str) -> None:
    official = weightless(name)
    conversion = convert_weights(official)
    assert conversion.recognised.config == f"{MODELS_OF[name]}_8xb2-12e_coco"
    assert (len(conversion.class_names), conversion.class_names[0], conversion.class_names[-1]) == (
        80,
        "person",
        "toothbrush",
    )
    account = conversion.account
    assert (account.missing, account.unused, account.remade, account.other_shape) == ({}, {}, {}, {})
    assert len(account.loaded) == len(official)
    assert sum(account.loaded.values()) == sum(value.numel() for value in official.values())


def test_any_number_of_classes() -> None:
    names = ("cat", "dog", "cow")
    conversion = convert_weights(weightless("brs_r50", 3), names)
    assert (conversion.recognised.num_classes, conversion.class_names) == (3, names)
    assert conversion.account.missing == conversion.account.unused == {}
    assert conversion.config.model.query_head.num_classes == 3
    with pytest.raises(UserError, match=r"has 3 classes and does not name.*\s+.*--class-names"):
        convert_weights(weightless("brs_r50", 3))
    with pytest.raises(UserError, match="has 3 classes, but 2 names were given"):
        convert_weights(weightless("brs_r50", 3), ("cat", "dog"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda keys: keys.pop("query_head.transformer.enc_output.weight"), "enc_output.weight is missing"),
        (lambda keys: keys.update({"query_head.label_embed": torch.zeros(3)}), "label_embed is unexpected"),
        (
            lambda keys: keys.update({"neck.convs.0.conv.weight": torch.zeros(3, 4)}),
            r"neck.convs.0.conv.weight is \(3, 4\), expected \(256, 512, 1, 1\)",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_stops_it(change, message: str) -> None:
    keys = weightless("brs_r50")
    change(keys)
    with pytest.raises(UserError, match=f"does not fit brs-co-deformable-detr_r50_8xb2-12e_coco:\\s+.*{message}"):
        convert_weights(keys)


def test_what_is_not_recognised() -> None:
    for keys, message in (
        ({"backbone.body.conv1.weight": torch.zeros(1)}, "belong neither to Co-DETR or BRS-DETR"),
        ({"query_head.transformer.decoder.layers.0.cross_attn.x": torch.zeros(1)}, "names of this package already"),
        (torchvision.models.resnet18().state_dict(), "nor to a ResNet-50"),
    ):
        with pytest.raises(UserError, match=message):
            recognise(keys)


@pytest.fixture(scope="module")
def official_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The official reduced BRS-DETR."""
    return official_models.save_official(GOLDEN, "brs", tmp_path_factory.mktemp("official"))


@pytest.mark.parametrize("name", ["brs", "codetr"])
def test_the_reduced_models_compute_what_the_official_code_computes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, config = official_models.save_official(GOLDEN, name, tmp_path)
    conversion = convert_checkpoint(source, tmp_path / "out.safetensors", config=config)
    assert conversion.class_names == ("a", "b", "c", "d", "e")
    official_models.promote_to_float64(monkeypatch)
    checkpoint = read_checkpoint(tmp_path / "out.safetensors")
    assert all(value.dtype == torch.float64 for value in checkpoint.state_dict.values() if value.is_floating_point())
    model = build_model(checkpoint, "cpu").double()
    model.load_state_dict(checkpoint.state_dict)
    expected = np.load(GOLDEN / name / "eval_f64.npz")
    with torch.inference_mode():
        logits, boxes = model(official_models.read_images(GOLDEN), official_models.read_samples(GOLDEN), mode="tensor")
    for found, output in ((logits, "all_cls_scores"), (boxes, "all_bbox_preds")):
        assert np.abs(found.numpy() - expected[output]).max() <= 1e-6 * np.abs(expected[output]).max(), output


def test_the_file_is_a_checkpoint_like_any_other(official_file, tmp_path: Path) -> None:
    source, config = official_file
    convert_checkpoint(source, tmp_path / "out.safetensors", config=config)
    assert describe_file(tmp_path / "out.safetensors").facts["classes"] == ["a", "b", "c", "d", "e"]
    assert read_weights(str(tmp_path / "out.safetensors")).start == "detector"
    assert read_weights(str(tmp_path / "out.safetensors")).class_names == ("a", "b", "c", "d", "e")


def features(model: torch.nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    model.eval()
    with torch.inference_mode():
        return [*model(image)]


def backbone_of(conversion) -> torch.nn.Module:
    model = MODELS.build(conversion.config.model.backbone)
    model.load_state_dict(
        {name.removeprefix("backbone."): value for name, value in conversion.state_dict.items()}, strict=False
    )
    return model


@pytest.mark.parametrize("origin", ["torchvision", "timm"])
def test_a_resnet_gives_the_same_maps(origin: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = timm.create_model("resnet50", features_only=True, out_indices=(2, 3, 4))
    whole = torchvision.models.resnet50() if origin == "torchvision" else timm.create_model("resnet50")
    torch.save(whole.state_dict(), tmp_path / "resnet50.pth")
    conversion = convert_checkpoint(tmp_path / "resnet50.pth", tmp_path / "out.safetensors")
    assert conversion.recognised.num_classes is None
    assert set(conversion.account.unused) == {"backbone.fc.weight", "backbone.fc.bias"}
    reference.load_state_dict({key: value for key, value in whole.state_dict().items() if not key.startswith("fc.")})
    image = torch.randn(1, 3, 64, 96)
    for found, expected in zip(features(backbone_of(conversion), image), features(reference, image), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert read_weights(str(tmp_path / "out.safetensors")).start == "backbone"


def test_a_swin_of_timm_gives_the_same_maps(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = timm.create_model("swin_tiny_patch4_window7_224").eval()
    torch.save(whole.state_dict(), tmp_path / "swin.pth")
    conversion = convert_checkpoint(tmp_path / "swin.pth", tmp_path / "out.safetensors")
    missing = {name.split(".")[1] for name in conversion.account.missing if "relative_position_index" not in name}
    assert missing == {"norm1", "norm2", "norm3"}
    image = torch.randn(1, 3, 224, 224)
    expected = whole.forward_intermediates(image, indices=(1, 2), intermediates_only=True)
    backbone = backbone_of(conversion)
    for number in (1, 2, 3):
        setattr(backbone, f"norm{number}", torch.nn.Identity())
    # Not the last map: where a map is one window, timm does not shift it, and mmdet does.
    for found, theirs in zip(features(backbone, image)[:2], expected, strict=True):
        torch.testing.assert_close(found, theirs, atol=1e-5, rtol=1e-5)


def invoke(*arguments: object):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_the_command_prints_the_account(official_file, tmp_path: Path) -> None:
    source, config = official_file
    out = tmp_path / "out.safetensors"
    result = invoke(source, out, "--config", config, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "Nothing was written" in result.output and not out.exists()
    result = invoke(source, out, "--config", config)
    assert result.exit_code == 0, result.output
    assert "detector of 5 classes" in result.output and "query_head" in result.output
    assert out.exists()
    with pytest.raises(UserError, match="already exists"):
        convert_checkpoint(source, out, config=config)
    convert_checkpoint(source, out, config=config, overwrite=True)


def test_files_that_are_something_else(tmp_path: Path, official_file) -> None:
    (tmp_path / "page.pth").write_text("<html></html>")
    for source, out, message in (
        (official_file[0], "out.pth", "does not end in .safetensors"),
        (tmp_path / "none.pth", "out.safetensors", "There is no file"),
        (tmp_path / "page.pth", "out.safetensors", "a web page"),
        (official_file[0], "out.safetensors", "does not fit brs-co-deformable-detr_r50"),
    ):
        with pytest.raises(UserError, match=message):
            convert_checkpoint(source, tmp_path / out)
        assert not (tmp_path / out).exists()
