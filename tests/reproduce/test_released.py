"""Released weights: from a file to an entry in the ledger."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from mmengine.registry import MODELS, init_default_scope
from rich.console import Console

from brs_detr.checkpoints.convert_checkpoint import convert_checkpoint
from brs_detr.cli import main
from brs_detr.config.config import load_config
from brs_detr.data.loading.registry import register
from brs_detr.data.synthetic.shapes import make_shapes
from brs_detr.errors import UserError
from brs_detr.reproduce.data_sets import DATA_SETS, SplitFacts
from brs_detr.reproduce.ledger import read_ledger
from brs_detr.reproduce.reproduce import released_checkpoint, zoo_url
from brs_detr.reproduce.tables import ROWS, find_row
from brs_detr.training.train import TrainedRun

QUIET = Console(quiet=True)


@pytest.fixture
def tiny_coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two images in the layout of COCO 2017, with its 80 classes."""
    register()  # before mmdet can be imported
    from mmdet.datasets import CocoDataset

    folder, facts = tmp_path / "coco", {}
    make_shapes(folder, 1, 1, (64, 64), seed=0, masks=True)
    for name in ("train", "val"):
        (folder / name).rename(folder / f"{name}2017")
        file = folder / "annotations" / f"{name}.json"
        content = json.loads(file.read_text())
        content["categories"] = [{"id": i, "name": name} for i, name in enumerate(CocoDataset.METAINFO["classes"], 1)]
        facts[name] = SplitFacts(len(content["images"]), len(content["annotations"]))
        file.with_name(f"instances_{name}2017.json").write_text(json.dumps(content))
        file.unlink()
    monkeypatch.setitem(DATA_SETS, "coco", dataclasses.replace(DATA_SETS["coco"], splits=facts))
    return folder


def save_random(config_name: str | Path, path: Path, official: bool) -> None:
    """Weights of a full-size model in the official format."""
    from tiny_models import official_names

    register()
    config = load_config(config_name)
    config.model.backbone.init_cfg = None
    init_default_scope("mmdet")
    torch.manual_seed(0)
    state = MODELS.build(config.model).state_dict()
    torch.save({"state_dict": official_names(state) if official else state, "meta": {}}, path)


def evaluate(row: str, weights: Path, folder: Path, out: Path):
    (table, *_) = find_row(row).tables
    arguments = ["reproduce", table, "--row", row, "--eval-only", "--weights", weights, "--coco", folder, "--out", out]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    (entry,) = read_ledger(out / "ledger.json")
    assert (entry.row, entry.kind, entry.verdict, entry.seed) == (row, "released weights", "below", None)
    assert len(entry.data_hash) == len(entry.config_hash) == 64
    return entry, result.output


def test_official_weights_are_converted_and_evaluated(tiny_coco: Path, tmp_path: Path) -> None:
    save_random("brs-co-deformable-detr_r50_8xb2-12e_coco", tmp_path / "official.pth", official=True)
    entry, output = evaluate("brs-r50", tmp_path / "official.pth", tiny_coco, tmp_path / "out")
    assert "paper 50.1, difference -50" in output
    assert 0 <= entry.metrics["AP"] < 0.1


def test_weights_of_mmdets_zoo_are_evaluated(tiny_coco: Path, tmp_path: Path) -> None:
    from brs_detr.reproduce.reproduce import zoo_config_file

    save_random(zoo_config_file("detr/detr_r50_8xb2-150e_coco"), tmp_path / "detr.pth", official=False)
    entry, _ = evaluate("detr-r50", tmp_path / "detr.pth", tiny_coco, tmp_path / "out")
    assert entry.config == "detr/detr_r50_8xb2-150e_coco"


def test_masks_of_mmdets_zoo_are_measured(tiny_coco: Path, tmp_path: Path) -> None:
    from brs_detr.reproduce.reproduce import zoo_config_file

    save_random(zoo_config_file("mask_rcnn/mask-rcnn_r50_fpn_1x_coco"), tmp_path / "mask.pth", official=False)
    entry, output = evaluate("mask-rcnn-r50", tmp_path / "mask.pth", tiny_coco, tmp_path / "out")
    assert entry.metric == "mask_AP" and "mask_AP50" in entry.metrics
    assert "paper 34.7, difference -34" in output


def test_rows_without_released_weights() -> None:
    with pytest.raises(UserError, match=r"No weights of BRS-DETR with Swin-L are released.*\s+.*--row brs-swin-l"):
        released_checkpoint(find_row("brs-swin-l"), None, None, False, QUIET)


@pytest.mark.parametrize("row", [row for row in ROWS if row.zoo], ids=lambda row: row.name)
def test_addresses_of_the_zoo_carry_a_checksum(row) -> None:
    assert zoo_url(row.zoo).startswith("https://download.openmmlab.com/")
    assert len(zoo_url(row.zoo).rsplit("-", 1)[1]) == len("12345678.pth")


def test_a_checkpoint_of_another_model_is_not_taken_for_the_rows(trained: TrainedRun) -> None:
    with pytest.raises(UserError, match=r"is not BRS-DETR with R-50 .* its config differs"):
        released_checkpoint(find_row("brs-r50"), trained.best_checkpoint, None, False, QUIET)


def test_converted_official_weights_are_those_of_the_row(tmp_path: Path) -> None:
    save_random("co-deformable-detr_r50_8xb2-12e_coco", tmp_path / "official.pth", official=True)
    convert_checkpoint(tmp_path / "official.pth", tmp_path / "ours.safetensors")
    checkpoint = released_checkpoint(find_row("co-r50"), tmp_path / "ours.safetensors", None, False, QUIET)
    assert len(checkpoint.class_names) == 80
