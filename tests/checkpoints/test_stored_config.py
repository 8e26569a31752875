"""No command runs anything in the config of a file."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from hostile_configs import HOSTILE, hostile_config, write_with_config
from mmengine.registry import MODELS
from PIL import Image
from torch import nn

from brs_detr import Detector
from brs_detr.checkpoints.checkpoint import build_model, read_checkpoint
from brs_detr.checkpoints.stored_config import ALLOWED_TYPES, find_refusals, is_harmless, read_stored_config
from brs_detr.cli import main
from brs_detr.config.config import list_configs, load_config
from brs_detr.config.config_text import PlainConfig, parse_config_text
from brs_detr.errors import UserError
from brs_detr.training.train import TrainedRun


@pytest.fixture(scope="module")
def config(trained: TrainedRun) -> dict[str, Any]:
    """A config as training Co-DETR stores it."""
    text = torch.load(trained.best_checkpoint, weights_only=True)["meta"]["cfg"]
    return parse_config_text(text).to_dict()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which the attacker's modules could be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    Image.new("RGB", (64, 64)).save(tmp_path / "picture.png")
    return tmp_path


def opened_by(file: Path, folder: Path, data: Path) -> dict[str, list[Any]]:
    return {
        "predict": ["predict", file, folder / "picture.png", "--device", "cpu", "--out", folder / "found"],
        "eval": ["eval", file, "--device", "cpu"],
        "export": ["export", file, "--out", folder / "model.onnx"],
        "serve": ["serve", file, "--port", 0],
        "convert-checkpoint": ["convert-checkpoint", file, folder / "converted.safetensors"],
        "finetune": ["finetune", data, "--weights", file, "--work-dir", folder / "tuned"],
    }


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.fault(
    "Files from elsewhere",
    "a config inside a file that would run, import, open or download something",
    "refused, with the key",
)
def test_every_command_refuses_it(
    kind: str, suffix: str, config: dict[str, Any], folder: Path, trained: TrainedRun, shapes: Path
) -> None:
    file = folder / f"hostile{suffix}"
    write_with_config(trained.best_checkpoint, file, hostile_config(config, kind, folder))
    for name, arguments in opened_by(file, folder, shapes).items():
        result = CliRunner().invoke(main, list(map(str, arguments)))
        assert result.exit_code == 2, (name, result.output)
        assert HOSTILE[kind] in result.stderr, (name, result.stderr)
        assert "Traceback" not in result.output
    with pytest.raises(UserError, match=f"(?s)refused.*{HOSTILE[kind]}"):
        Detector(file, device="cpu")
    shown = CliRunner().invoke(main, ["info", str(file)])
    assert shown.exit_code == 0
    assert HOSTILE[kind] in "".join(shown.output.split("\n"))
    assert not (folder / "touched").exists()
    assert "evil_scope" not in sys.modules


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_failed_step_of_somebody_else(kind: str, config: dict[str, Any], folder: Path) -> None:
    content = {"brs_detr_step": 2, "config": PlainConfig(hostile_config(config, kind, folder)).pretty_text}
    torch.save({**content, "state_dict": {}, "seeds": [0, 0, 0], "step": 1}, folder / "failed_step.pth")
    result = CliRunner().invoke(main, ["replay", str(folder / "failed_step.pth")])
    assert result.exit_code == 2
    assert HOSTILE[kind] in result.stderr
    assert not (folder / "touched").exists()


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_run_of_somebody_else_is_not_resumed(
    kind: str, config: dict[str, Any], folder: Path, trained: TrainedRun, shapes: Path, tiny_config: Path
) -> None:
    run = folder / "run"
    shutil.copytree(trained.work_dir, run)
    last = run / "checkpoints" / "last.pth"
    write_with_config(last, last, hostile_config(config, kind, folder))
    result = CliRunner().invoke(
        main, ["train", str(tiny_config), "--data", str(shapes), "--work-dir", str(run), "--resume"]
    )
    assert result.exit_code == 2, result.output
    assert HOSTILE[kind] in result.stderr
    assert not (folder / "touched").exists()


def test_the_text_that_mmengine_would_execute(
    folder: Path, trained: TrainedRun, shapes: Path, tiny_config: Path
) -> None:
    run = folder / "run"
    shutil.copytree(trained.work_dir, run)
    last = run / "checkpoints" / "last.pth"
    content = torch.load(last, weights_only=True)
    content["meta"]["config"] = f"open({str(folder / 'touched')!r}, 'w')\n"
    torch.save(content, last)
    arguments = ["train", tiny_config, "--data", shapes, "--work-dir", run, "--resume", "--no-report"]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    assert not (folder / "touched").exists()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"config": "evil_program.py"}, "was trained with the config file"),
        ({"config": "small", "overrides": ["model.backbone.type=evil_scope.Net"]}, "more than numbers and names"),
    ],
)
def test_a_record_that_names_a_program(
    record: dict[str, Any], message: str, folder: Path, trained: TrainedRun, shapes: Path
) -> None:
    run = folder / "run"
    shutil.copytree(trained.work_dir, run)
    known = json.loads((run / "run.json").read_text())
    record = {**known, "overrides": [], "tuning": {"start": "nothing", "weights": "none"}, **record}
    (run / "run.json").write_text(json.dumps(record))
    result = CliRunner().invoke(main, ["finetune", str(shapes), "--work-dir", str(run), "--resume"])
    assert result.exit_code == 2
    assert message in result.stderr


def test_every_shipped_config_is_allowed() -> None:
    for entry in list_configs():
        assert find_refusals(load_config(entry.path)) == [], entry.name


def test_every_allowed_type_is_one_class_alone() -> None:
    from mmdet.registry import MODELS, TASK_UTILS, TRANSFORMS

    import_everything = load_config(list_configs()[0].path)
    assert find_refusals(import_everything) == []
    for name in ALLOWED_TYPES - {"nms", "soft_nms", "RoIAlign"}:
        found = {registry.get(name) for registry in (MODELS, TASK_UTILS, TRANSFORMS)} - {None}
        assert len(found) == 1, (name, found)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"depth": "__import__('os')"}, "model.backbone.depth"),
        ({"style": "caffe.x"}, "model.backbone.style"),
        ({"deep_stem": [[{"type": "GFL"}]]}, "model.backbone.deep_stem.0.0.type"),
        ({"strange": 1}, "model.backbone.strange = 1 is not an argument of ResNet"),
        ({"depth": 10**9}, "model.backbone.depth = 1000000000 is not a plausible number"),
        ({"depth": float("nan")}, "model.backbone.depth = nan"),
        ({"depth": b"18"}, "model.backbone.depth = b'18' is neither"),
        ({"type": None}, "model.backbone.type"),
        ({"type": "mmdet.ResNet"}, "model.backbone.type"),
        ({1: 2}, "model.backbone.1"),
    ],
)
def test_what_is_refused(change: dict[Any, Any], key: str, config: dict[str, Any]) -> None:
    model = {**config["model"], "backbone": {**config["model"]["backbone"], **change}}
    with pytest.raises(UserError) as raised:
        read_stored_config(PlainConfig({**config, "model": model}).pretty_text, "a.pth")
    assert key in raised.value.message


@pytest.mark.parametrize("setting", [{"score_thr": [0.1]}, {"max_per_img": 1.5}, {"nms": ["nms"]}])
def test_settings_of_detections_are_of_their_kind(setting: dict[str, Any], config: dict[str, Any]) -> None:
    rcnn = {**config["model"]["test_cfg"]["rcnn"], **setting}
    model = {**config["model"], "test_cfg": {**config["model"]["test_cfg"], "rcnn": rcnn}}
    with pytest.raises(UserError, match=rf"model\.test_cfg\.rcnn\.{next(iter(setting))} = .* has the wrong type"):
        read_stored_config(PlainConfig({**config, "model": model}).pretty_text, "a.pth")


def test_the_origin_of_weights_is_left_out_unread(config: dict[str, Any]) -> None:
    backbone = {**config["model"]["backbone"], "init_cfg": {"type": "Pretrained", "checkpoint": "http://evil/a.pth"}}
    read = read_stored_config(
        PlainConfig({**config, "model": {**config["model"], "backbone": backbone}}).pretty_text, ""
    )
    assert "init_cfg" not in read.model.backbone


def test_what_the_file_says_of_loading_is_not_used(config: dict[str, Any]) -> None:
    loader = {**config["test_dataloader"], "sampler": {"type": "evil.Sampler"}, "collate_fn": "evil.collate"}
    read = read_stored_config(PlainConfig({**config, "test_dataloader": loader}).pretty_text, "")
    assert read.test_dataloader.sampler == {"type": "DefaultSampler", "shuffle": False}
    assert "collate_fn" not in read.test_dataloader


class OwnNeck(nn.Module):
    """A class that a user's program registers."""

    def __init__(self, note: str, inner: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.note = note


def test_a_class_of_the_running_program_is_trusted_and_what_it_builds_is_not(config: dict[str, Any]) -> None:
    MODELS.register_module(module=OwnNeck, force=True)
    try:
        for inner, refused in ((None, []), ({"type": "os.system"}, ["model.neck.inner.type"])):
            neck = {"type": "OwnNeck", "note": "any text: /a/path", "inner": inner}
            found = find_refusals({**config, "model": {**config["model"], "neck": neck}})
            assert [refusal.key for refusal in found] == refused
    finally:
        del MODELS.module_dict["OwnNeck"]


def test_a_trusted_file_may_ask_for_any_class(trained: TrainedRun, config: dict[str, Any], tmp_path: Path) -> None:
    coder = {**config["model"]["atss_head"]["bbox_coder"], "type": "mmdet.DeltaXYWHBBoxCoder"}
    changed = {
        **config,
        "model": {**config["model"], "atss_head": {**config["model"]["atss_head"], "bbox_coder": coder}},
    }
    file = write_with_config(trained.best_checkpoint, tmp_path / "a.pth", changed)
    with pytest.raises(UserError, match=r"model\.atss_head\.bbox_coder\.type.*\n.*add --trust-file"):
        Detector(file, device="cpu")
    assert Detector(file, device="cpu", trust_file=True).class_names


def test_weights_of_a_detector_that_is_unknown_here_are_read(
    trained: TrainedRun, config: dict[str, Any], tmp_path: Path
) -> None:
    from brs_detr.checkpoints.weights_file import read_weights

    gfl = {"type": "GFL", "bbox_head": {"type": "GFLHead", "loss_dfl": {"type": "DistributionFocalLoss"}}}
    file = write_with_config(trained.best_checkpoint, tmp_path / "gfl.pth", {**config, "model": gfl})
    assert read_weights(str(file)).class_names
    with pytest.raises(UserError, match=r"model\.type = 'GFL'"):
        read_checkpoint(file)


def test_a_small_file_builds_no_large_model(trained: TrainedRun, config: dict[str, Any], tmp_path: Path) -> None:
    neck = {**config["model"]["neck"], "out_channels": 90_000}
    file = write_with_config(
        trained.best_checkpoint, tmp_path / "large.pth", {**config, "model": {**config["model"], "neck": neck}}
    )
    with pytest.raises(UserError, match="it would be larger than the file"):
        build_model(read_checkpoint(file), "cpu")


@pytest.mark.parametrize(
    "command", ["train {}", "finetune data --model {}", "convert-checkpoint a.pth b.safetensors --config {}"]
)
def test_a_config_by_its_path_is_a_program_which_data_only_refuses(command: str, folder: Path) -> None:
    program = folder / "mine.py"
    program.write_text(f"open({str(folder / 'touched')!r}, 'w')\n")
    result = CliRunner().invoke(main, [*command.format(program).split(), "--data-only"])
    assert result.exit_code == 2, result.output
    assert "mine.py is a program, and --data-only runs none" in result.stderr
    assert not (folder / "touched").exists()


def test_weights_of_the_official_code_are_read_and_their_config_is_not(trained: TrainedRun, tmp_path: Path) -> None:
    from brs_detr.checkpoints.weights_file import read_weights

    state_dict = torch.load(trained.best_checkpoint, weights_only=True)["state_dict"]
    meta = {"mmdet_version": "2.25.3", "CLASSES": ("cat", "dog"), "config": f"open({str(tmp_path / 'touched')!r}, 'w')"}
    torch.save({"meta": meta, "state_dict": state_dict}, tmp_path / "official.pth")
    assert read_weights(str(tmp_path / "official.pth")).class_names == ("cat", "dog")
    assert not (tmp_path / "touched").exists()


def test_a_config_that_is_no_plain_data(trained: TrainedRun, shapes: Path, tmp_path: Path) -> None:
    content = torch.load(trained.best_checkpoint, weights_only=True)
    content["meta"]["cfg"] = f"model = open({str(tmp_path / 'touched')!r}, 'w')"
    torch.save(content, tmp_path / "a.pth")
    shown = CliRunner().invoke(main, ["info", str(tmp_path / "a.pth"), "--json"])
    assert "cannot be read as plain data" in json.loads(shown.output)["facts"]["refused"][0]
    tuned = ["finetune", shapes, "--weights", tmp_path / "a.pth", "--work-dir", tmp_path / "tuned"]
    result = CliRunner().invoke(main, list(map(str, tuned)))
    assert result.exit_code == 2 and "add --trust-file" in result.stderr
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("value", "harmless"),
    [(0.1, True), ((0.9, 0.999), True), ("AdamW", True), ({"type": "SGD"}, True), (None, True),
     ("a.b", False), (["x", {"type": "os.system"}], False), ("/etc/x", False), ("http://x", False), (b"x", False)],
)  # fmt: skip
def test_settings_of_a_record(value: object, harmless: bool) -> None:
    assert is_harmless(value) is harmless
