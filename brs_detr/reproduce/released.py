"""Weights that somebody else released for a row: the official ones, and those of mmdet's zoo."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from brs_detr.checkpoints.checkpoint import Checkpoint, read_checkpoint
from brs_detr.checkpoints.checkpoint_index import fetch
from brs_detr.checkpoints.convert_checkpoint import coco_classes, convert_weights
from brs_detr.checkpoints.file_info import describe_file
from brs_detr.checkpoints.weights_file import cached_file, read_weights
from brs_detr.config.config import load_config
from brs_detr.config.folder_data import set_num_classes
from brs_detr.errors import UserError
from brs_detr.reproduce.tables import Row

if TYPE_CHECKING:
    from mmengine import Config

_OTHERWISE = "give a file of yours with --weights FILE."


def released_checkpoint(
    row: Row, weights: Path | None, mirror: str | None, trust_file: bool, console: Console
) -> Checkpoint:
    """Fetch released weights and bring them into the form of a checkpoint.

    Args:
        row: whose weights.
        weights: a file to take instead: official, of ours, or for a row of the zoo of mmdet 3.
        mirror: see `brs_detr.checkpoints.checkpoint_index.fetch`.
        trust_file: run the code that the file asks for.
        console: where progress is shown.

    Raises:
        UserError: none are released, they cannot be fetched, or they do not fit.
    """
    if row.zoo is not None:
        return _of_zoo(row.zoo, weights, trust_file)
    if weights is None and row.weights is None:
        raise UserError(
            f"Nobody has released weights of {row.detector} with {row.backbone} for this table.",
            f"Train it: brs-detr reproduce {row.tables[0]} --row {row.name}. Or give a file with --weights FILE.",
        )
    path = weights or fetch(str(row.weights), mirror=mirror, console=console).path
    if _is_ours(path):
        checkpoint = read_checkpoint(path, trust_file)
        _require_model_of(row, checkpoint)
        return checkpoint
    released = read_weights(str(path), trust_file)
    conversion = convert_weights(released.state_dict, released.class_names, row.config, str(path))
    return Checkpoint(path, conversion.config, conversion.class_names, conversion.state_dict, {})


def _is_ours(path: Path) -> bool:
    return path.is_dir() or describe_file(path).kind.startswith("checkpoint of this package")


def _require_model_of(row: Row, checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint of another model than the row's."""
    expected = load_config(str(row.config)).model
    set_num_classes(expected, len(checkpoint.class_names))
    if _comparable(expected) != _comparable(checkpoint.config.model):
        raise UserError(
            f"{checkpoint.path} is not of {row.detector} with {row.backbone} as in {row.config}: its config differs.",
            "`brs-detr info FILE` says what it is; `brs-detr eval FILE --data DIR` measures it without the ledger.",
        )


def _comparable(model: Config) -> str:
    """The config of a model as text, without where the backbone's first weights came from."""
    backbone = {name: value for name, value in model.backbone.items() if name != "init_cfg"}
    return json.dumps({**model.to_dict(), "backbone": backbone}, sort_keys=True)


def _of_zoo(name: str, weights: Path | None, trust_file: bool) -> Checkpoint:
    config = load_config(zoo_config_file(name))
    path = weights or cached_file(zoo_url(name), name, _OTHERWISE)
    read = read_weights(str(path), trust_file)
    config.model.backbone.init_cfg = None
    return Checkpoint(path, config, read.class_names or coco_classes(), read.state_dict, {})


def zoo_config_file(name: str) -> Path:
    """Config file of mmdet, as installed.

    Args:
        name: such as `dino/dino-4scale_r50_8xb2-12e_coco`.
    """
    return Path(str(files("mmdet") / ".mim" / "configs" / f"{name}.py"))


def zoo_model(name: str) -> dict[str, Any]:
    """What mmdet says of a model of its zoo: AP, epochs, address of the weights."""
    import yaml

    metafile = zoo_config_file(name).with_name("metafile.yml")
    models = yaml.safe_load(metafile.read_text(encoding="utf-8"))["Models"]
    return next(model for model in models if model["Name"] == name.rpartition("/")[2])


def zoo_url(name: str) -> str:
    """Address of the weights of a model of mmdet's zoo."""
    return str(zoo_model(name)["Weights"])
