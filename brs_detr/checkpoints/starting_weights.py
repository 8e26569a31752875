"""The weights that a fine-tuning starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brs_detr.checkpoints.weights_file import Start, Weights, fetch_named, read_weights

if TYPE_CHECKING:
    from mmengine import Config

NONE = "none"


@dataclass(frozen=True)
class StartingWeights:
    """What a fine-tuning starts from.

    Args:
        weights: to be loaded into the model; None where there are none, or the backbone fetches its own.
        start: what they are weights of.
        source: in words.
    """

    weights: Weights | None
    start: Start
    source: str


def fetch_weights(config: Config) -> None:
    """Fetch the weights that a config names for its backbone, before any time is spent.

    Raises:
        UserError: they cannot be fetched.
    """
    for entry in _pretrained(config):
        fetch_named(str(entry["checkpoint"]), "start from random weights: --set model.backbone.init_cfg=None")


def no_weights(config: Config, start: Start, source: str) -> StartingWeights:
    """For a run that is resumed: its weights are in its last checkpoint, and none are to be fetched."""
    _take_out(config)
    return StartingWeights(None, start, source)


def choose_weights(config: Config, asked: str | None, trust_file: bool = False) -> StartingWeights:
    """Read the weights that the user asked for, or those that the config of the model names.

    Args:
        config: weights that it names are taken out of it, so that they are loaded once.
        asked: what `read_weights` takes, or `none`.
        trust_file: run the code that a file asks for.

    Raises:
        UserError: see `read_weights`.
    """
    backbone = config.model.backbone
    brings_its_own = bool(backbone.get("pretrained") or backbone.get("weights_file"))
    named = _named_source(config)
    if asked is None and named is None and brings_its_own:  # a TimmBackbone
        return StartingWeights(None, "backbone", str(backbone.get("weights_file") or f"timm's {backbone.model_name}"))
    _take_out(config)
    source = asked or named or NONE
    if source == NONE:
        return StartingWeights(None, "nothing", "none: all weights are random")
    weights = read_weights(source, trust_file)
    return StartingWeights(weights, weights.start, source)


def _named_source(config: Config) -> str | None:
    return config.get("load_from") or next((str(entry["checkpoint"]) for entry in _pretrained(config)), None)


def _pretrained(config: Config) -> list[dict[str, Any]]:
    """Entries of the backbone's `init_cfg` that name weights."""
    entries = config.model.backbone.get("init_cfg") or []
    return [entry for entry in (entries if isinstance(entries, list) else [entries]) if entry["type"] == "Pretrained"]


def _take_out(config: Config) -> None:
    backbone = config.model.backbone
    config.load_from = None
    if _pretrained(config):
        backbone.init_cfg = None
    backbone.update({key: value for key, value in (("pretrained", False), ("weights_file", None)) if key in backbone})
