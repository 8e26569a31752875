"""Weights to start training from: files of any origin, and weights of torchvision, timm or this package by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from brs_detr.checkpoints.checkpoint_index import fetch, read_index
from brs_detr.checkpoints.download import download
from brs_detr.checkpoints.plain_file import find_meta, find_tensors, load_plain
from brs_detr.checkpoints.stored_config import require_harmless
from brs_detr.errors import UserError
from brs_detr.run.console import make_console
from brs_detr.run.run_folder import checkpoint_file

if TYPE_CHECKING:
    from mmengine import Config
    from torch import Tensor

Start = Literal["detector", "backbone", "nothing"]
"""What the weights belong to: a detector, only a backbone, or nothing."""
NONE = "none"

_OTHERWISE = "give its path with --weights FILE, or start from random weights: --weights none."
_CLASSIFIER_PARTS = {"backbone", "head", "fc"}


@dataclass(frozen=True)
class Weights:
    """Weights and the classes that they were trained for.

    Args:
        source: name or path that the user gave.
        state_dict: tensors under their names in the file.
        class_names: class names by label; empty if the file does not tell.
    """

    source: str
    state_dict: dict[str, Tensor]
    class_names: tuple[str, ...] = ()

    @property
    def start(self) -> Start:
        """Whether the weights belong to a detector or only to a backbone."""
        parts = {key.split(".")[0] for key in self.state_dict}
        return "detector" if "backbone" in parts and parts - _CLASSIFIER_PARTS else "backbone"


@dataclass(frozen=True)
class StartingWeights:
    """Weights that fine-tuning starts from.

    Args:
        weights: weights to load into the model; None if there are none, or if the backbone loads its own.
        start: what the weights belong to.
        source: description of their origin.
    """

    weights: Weights | None
    start: Start
    source: str


def choose_weights(config: Config, asked: str | None, trust_file: bool = False) -> StartingWeights:
    """Read the weights that the user asked for, or by default those that the config names.

    Args:
        config: config of the model; weights that it names are removed, so that they are not loaded twice.
        asked: argument of `read_weights`, or `none`; None for the config's weights.
        trust_file: run code that the file asks for.

    Raises:
        UserError: see `read_weights`.
    """
    backbone = config.model.backbone
    named = config.get("load_from") or next((str(entry["checkpoint"]) for entry in _pretrained(config)), None)
    if asked is None and named is None and (backbone.get("pretrained") or backbone.get("weights_file")):  # TimmBackbone
        library = "the installed" if backbone.get("pretrained") == "package" else "timm's"
        return StartingWeights(
            None, "backbone", str(backbone.get("weights_file") or f"{library} {backbone.model_name}")
        )
    source = asked or named or NONE
    if source == NONE:
        return no_weights(config, "nothing", "none: all weights are random")
    _remove_weights(config)
    weights = read_weights(source, trust_file)
    return StartingWeights(weights, weights.start, source)


def no_weights(config: Config, start: Start, source: str) -> StartingWeights:
    """Remove the weights that a config names, and start without weights, as a resumed run does."""
    _remove_weights(config)
    return StartingWeights(None, start, source)


def _pretrained(config: Config) -> list[dict[str, Any]]:
    """Return the entries of the backbone's `init_cfg` that name weights."""
    entries = config.model.backbone.get("init_cfg") or []
    return [entry for entry in (entries if isinstance(entries, list) else [entries]) if entry["type"] == "Pretrained"]


def _remove_weights(config: Config) -> None:
    backbone = config.model.backbone
    config.load_from = None
    if _pretrained(config):
        backbone.init_cfg = None
    backbone.update({key: value for key, value in (("pretrained", False), ("weights_file", None)) if key in backbone})


def fetch_weights(config: Config) -> None:
    """Download the backbone's weights that a config names to PyTorch's cache, where mmengine looks for them.

    Raises:
        UserError: there is no such file, or it cannot be downloaded.
    """
    otherwise = "start from random weights: --set model.backbone.init_cfg=None"
    for entry in _pretrained(config):
        source = str(entry["checkpoint"])
        scheme, _, name = source.rpartition("://")
        if scheme in ("http", "https"):
            cached_file(source, source, otherwise)
        elif scheme == "torchvision" and name in _torchvision_urls():
            cached_file(_torchvision_urls()[name], source, otherwise)
        elif not scheme and not Path(source).is_file():
            raise UserError(f"There is no file {source}, which the config names.", otherwise)


def read_weights(source: str, trust_file: bool = False) -> Weights:
    """Read weights without running code that is stored with them.

    Args:
        source: a checkpoint, run folder or `.safetensors` file; a name from `brs-detr download --list`; an address;
            `torchvision://NAME` or `timm://NAME`, also without the prefix. Downloads are kept.
        trust_file: run code that the file asks for.

    Raises:
        UserError: there is no such file or name, it cannot be downloaded, it contains no weights, or it is refused for
            what it asks for.
    """
    scheme, _, name = source.rpartition("://")
    if Path(source).exists():
        content = load_plain(checkpoint_file(source), trust_file)
        if not trust_file:
            require_harmless(find_meta(content).get("cfg"), source)
    elif not scheme and (len(Path(source).parts) > 1 or Path(source).suffix in (".pth", ".pt", ".safetensors")):
        raise UserError(f"There is no file {source}.", "Check the path.")
    elif scheme in ("http", "https"):
        content = load_plain(cached_file(source, source, _OTHERWISE))
    elif source in read_index():
        content = load_plain(fetch(source, console=make_console()).path, trust_file)
    elif scheme in ("", "torchvision") and name in _torchvision_urls():
        content = load_plain(cached_file(_torchvision_urls()[name], source, _OTHERWISE))
    elif scheme in ("", "timm"):
        content = _timm_weights(name, source)
    else:
        raise _unknown_weights(source)
    tensors = find_tensors(content, source)
    if all(key.startswith("module.") for key in tensors):  # saved from a model in DistributedDataParallel
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    return Weights(source, tensors, _class_names(find_meta(content)))


def _torchvision_urls() -> dict[str, str]:
    from mmengine.runner.checkpoint import get_torchvision_models

    return get_torchvision_models()


def cached_file(url: str, source: str, otherwise: str) -> Path:
    """Return a file in PyTorch's cache, and download it if needed.

    Args:
        url: address of the file.
        source: name that the user gave, for messages.
        otherwise: what else the user can do, for messages.

    Raises:
        UserError: it cannot be downloaded.
    """
    import torch
    from torch.hub import HASH_REGEX

    cache = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    sha256 = HASH_REGEX.search(cache.name)  # PyTorch's and mmdet's file names contain the first digits of the checksum
    try:
        if not cache.is_file():
            download(url, cache, sha256=sha256[1] if sha256 else "", console=make_console())
    except UserError as error:
        raise UserError(
            f"The weights {source} cannot be downloaded: {error.message}\n  Tried {cache} and {url}.",
            f"Put the file there, or {otherwise}",
        ) from None
    return cache


def _timm_weights(name: str, source: str) -> Any:
    import timm

    if name.split(".")[0] not in timm.list_models():
        raise _unknown_weights(source)
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # the client of the hub has many exceptions for network failures
        raise UserError(
            f"timm cannot download the weights {name}: {error}",
            "Give a file with --weights FILE, or start from random weights: --weights none.",
        ) from None


def _unknown_weights(source: str) -> UserError:
    return UserError(
        f"There are no weights called {source}.",
        "Give a file, a name such as torchvision://resnet50 or timm://resnet18.a1_in1k, or none.",
    )


def _class_names(meta: dict[str, Any]) -> tuple[str, ...]:
    """Return the class names in the metadata of mmengine or mmdet 2."""
    dataset_meta = meta.get("dataset_meta")
    names = (dataset_meta.get("classes") if isinstance(dataset_meta, dict) else None) or meta.get("CLASSES") or ()
    if isinstance(names, str):  # mmdet 2 stores a single class without a list
        return (names,)
    return tuple(map(str, names)) if isinstance(names, (list, tuple)) else ()
