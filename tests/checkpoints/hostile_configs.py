"""Configs that would run, import, open or download something if a model were built from them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from brs_detr.checkpoints.plain_file import write_safetensors
from brs_detr.config.config_text import PlainConfig

HOSTILE = {
    "nms": "model.test_cfg.rcnn.nms.type",
    "warp": "model.atss_head.bbox_coder.",
    "program": "model.teacher_config",
    "dotted": "model.backbone.type",
    "part": "model.rpn_head.loss_cls.type",
    "pipeline": "test_dataloader.dataset.pipeline.1.type",
    "default_scope": "default_scope",
    "scope": "model.backbone._scope_",
    "address": "model.teacher_ckpt",
    "imports": "custom_imports",
}
"""The kinds of hostile configs, and the key that the message must name."""


def hostile_config(config: dict[str, Any], kind: str, folder: Path) -> dict[str, Any]:
    """A config that makes the file ``touched`` in a folder, or would try to.

    Args:
        config: of a Co-DETR; left as it is.
        kind: of `HOSTILE`.
        folder: of the file; gets the programs that the config names.
    """
    config = copy.deepcopy(config)
    model, touched = config["model"], folder / "touched"
    (folder / "evil_program.py").write_text(f"open({str(touched)!r}, 'w')\nmodel = dict(type='ATSS')\n")
    (folder / "evil_scope").mkdir(exist_ok=True)
    for name in ("__init__", "registry", "utils"):
        (folder / "evil_scope" / f"{name}.py").write_text(f"open({str(touched)!r}, 'w')\n")
    expression = f"[open({str(touched)!r}, 'w'), __import__('mmcv.ops')][1].ops.nms"
    teacher = {"type": "KnowledgeDistillationSingleStageDetector", "bbox_head": {}, "neck": {}}
    if kind == "nms":
        model["test_cfg"]["rcnn"]["nms"]["type"] = expression
    elif kind == "warp":
        model["atss_head"]["bbox_coder"] = {"type": "CameraMotionCompensation", "warp_mode": expression}
    elif kind == "program":
        config["model"] = {**teacher, "teacher_config": str(folder / "evil_program.py")}
    elif kind == "dotted":
        model["backbone"] = {"type": "subprocess.getoutput", "cmd": f"touch {touched}"}
    elif kind == "part":
        model["rpn_head"]["loss_cls"] = {"type": "evil_scope.Loss"}
    elif kind == "pipeline":
        pipeline = config["test_dataloader"]["dataset"]["pipeline"]
        pipeline[1] = {"type": "subprocess.getoutput", "cmd": f"touch {touched}"}
    elif kind == "default_scope":
        config["default_scope"] = "evil_scope"
    elif kind == "scope":
        model["backbone"]["_scope_"] = "evil_scope"
    elif kind == "address":
        config["model"] = {**teacher, "teacher_config": {"model": {}}, "teacher_ckpt": "http://127.0.0.1:9/evil.pth"}
    elif kind == "imports":
        config["custom_imports"] = {"imports": ["evil_scope"]}
    return config


def write_with_config(source: Path, target: Path, config: dict[str, Any]) -> Path:
    """Copy a checkpoint to `.pth` or `.safetensors`, with another config."""
    content = torch.load(source, weights_only=True)
    content["meta"]["cfg"] = PlainConfig(config).pretty_text
    if target.suffix == ".safetensors":
        write_safetensors(target, content["state_dict"], content["meta"])
    else:
        torch.save(content, target)
    return target
