"""Weights to start a training from: files of any origin, and names of torchvision's, timm's or this package's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from brs_detr.checkpoints.checkpoint_index import fetch, read_index
from brs_detr.checkpoints.download import download
from brs_detr.checkpoints.plain_file import load_plain
from brs_detr.checkpoints.stored_config import require_harmless
from brs_detr.errors import UserError
from brs_detr.run.console import make_console
from brs_detr.run.run_folder import checkpoint_file

if TYPE_CHECKING:
    from mmengine import Config
    from torch import Tensor

Start = Literal["detector", "backbone", "nothing"]
"""What the weights are of: a detector, a backbone alone, or nothing."""
NONE = "none"

_OTHERWISE = "give its path with --weights FILE, or start from random weights: --weights none."
_OWN_PARTS = {"backbone", "head", "fc"}  # of a classifier that wraps its backbone


@dataclass(frozen=True)
class Weights:
    """Weights and what they were trained for.

    Args:
        source: the name that the user gave.
        state_dict: tensors under the names that they have in the file.
        class_names: by label; empty if the file does not say.
    """

    source: str
    state_dict: dict[str, Tensor]
    class_names: tuple[str, ...] = ()

    @property
    def start(self) -> Start:
        """Whether these are the weights of a detector or of a backbone alone."""
        parts = {key.split(".")[0] for key in self.state_dict}
        return "detector" if "backbone" in parts and parts - _OWN_PARTS else "backbone"


@dataclass(frozen=True)
class StartingWeights:
    """What a fine-tuning starts from.

    Args:
        weights: to load into the model; None if there are none, or the backbone fetches its own.
        start: what they are weights of.
        source: in words.
    """

    weights: Weights | None
    start: Start
    source: str


def choose_weights(config: Config, asked: str | None, trust_file: bool = False) -> StartingWeights:
    """Read the weights that the user asked for, or else those that the config names.

    Args:
        config: weights that it names are taken out, so that they are loaded once.
        asked: what `read_weights` takes, or `none`.
        trust_file: run the code that a file asks for.

    Raises:
        UserError: see `read_weights`.
    """
    backbone = config.model.backbone
    named = config.get("load_from") or next((str(entry["checkpoint"]) for entry in _pretrained(config)), None)
    if asked is None and named is None and (backbone.get("pretrained") or backbone.get("weights_file")):  # TimmBackbone
        return StartingWeights(None, "backbone", str(backbone.get("weights_file") or f"timm's {backbone.model_name}"))
    source = asked or named or NONE
    if source == NONE:
        return no_weights(config, "nothing", "none: all weights are random")
    _take_out(config)
    weights = read_weights(source, trust_file)
    return StartingWeights(weights, weights.start, source)


def no_weights(config: Config, start: Start, source: str) -> StartingWeights:
    """Take the weights that a config names out of it, and start from none, as a resumed run does."""
    _take_out(config)
    return StartingWeights(None, start, source)


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


def fetch_weights(config: Config) -> None:
    """Fetch the weights that a config names for its backbone into PyTorch's cache, where mmengine looks for them.

    Raises:
        UserError: there are none, or they cannot be fetched.
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
        source: a checkpoint or the folder of a run; a `.safetensors` file; a name from `brs-detr download --list`,
            `torchvision://NAME`, `timm://NAME` or an address, which are fetched once; or a plain name of torchvision's
            or timm's.
        trust_file: run the code that a file asks for.

    Raises:
        UserError: there is no such file or name, it cannot be fetched, it holds no weights, or it is refused for what
            it asks for.
    """
    scheme, _, name = source.rpartition("://")
    if Path(source).exists():
        content = load_plain(checkpoint_file(source), trust_file)
        meta = content.get("meta") if isinstance(content, dict) else None
        if isinstance(meta, dict) and not trust_file:
            require_harmless(meta.get("cfg"), source)
    elif not scheme and (len(Path(source).parts) > 1 or Path(source).suffix in (".pth", ".pt", ".safetensors")):
        raise UserError(f"There is no file {source}.", "Check the path.")
    elif scheme in ("http", "https"):
        content = load_plain(cached_file(source, source, _OTHERWISE))
    elif source in read_index():
        content = load_plain(fetch(source, console=make_console()).path, trust_file)
    elif scheme in ("", "torchvision") and name in _torchvision_urls():
        content = load_plain(cached_file(_torchvision_urls()[name], source, _OTHERWISE))
    elif scheme in ("", "timm"):
        content = _timm_weights(name)
    else:
        raise UserError(
            f"There are no weights {source}.",
            "Give a file, a name such as torchvision://resnet50 or timm://resnet18.a1_in1k, or none.",
        )
    return _from_content(source, content)


def _torchvision_urls() -> dict[str, str]:
    from mmengine.runner.checkpoint import get_torchvision_models

    return get_torchvision_models()


def cached_file(url: str, source: str, otherwise: str) -> Path:
    """Return the file of an address in PyTorch's cache, fetched if it is not there.

    Args:
        url: its address.
        source: the name that the user knows, for messages.
        otherwise: what else the user can do, for messages.

    Raises:
        UserError: it cannot be fetched.
    """
    import torch
    from torch.hub import HASH_REGEX

    cache = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    sha256 = HASH_REGEX.search(cache.name)  # files of PyTorch and of mmdet have its beginning in their names
    try:
        if not cache.is_file():
            download(url, cache, sha256=sha256[1] if sha256 else "", console=make_console())
    except UserError as error:
        raise UserError(
            f"The weights {source} cannot be fetched: {error.message}\n  Tried {cache} and {url}.",
            f"Put the file there, or {otherwise}",
        ) from None
    return cache


def _timm_weights(name: str) -> Any:
    import timm

    if name.split(".")[0] not in timm.list_models():
        raise UserError(
            f"There are no weights called {name}.",
            "Give a file, a name of torchvision or timm such as resnet50 or timm://resnet18.a1_in1k, or none.",
        )
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # the hub's client has exceptions of many kinds for a missing network
        raise UserError(
            f"timm cannot fetch the weights {name}: {error}",
            "Give a file with --weights FILE, or start from random weights: --weights none.",
        ) from None


def _from_content(source: str, content: Any) -> Weights:
    import torch

    content = content if isinstance(content, dict) else {}
    inner = next((content[key] for key in ("state_dict", "model") if isinstance(content.get(key), dict)), content)
    tensors = {str(key): value for key, value in inner.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise UserError(f"{source} holds no weights.", "Give a checkpoint, a state dict, or a .safetensors file.")
    if all(key.startswith("module.") for key in tensors):  # saved from PyTorch's wrapper for several processes
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    return Weights(source, tensors, _class_names(content.get("meta")))


def _class_names(meta: Any) -> tuple[str, ...]:
    """Class names in the meta data of mmengine's checkpoints, or of mmdet 2's."""
    meta = meta if isinstance(meta, dict) else {}
    dataset_meta = meta.get("dataset_meta")
    names = (dataset_meta.get("classes") if isinstance(dataset_meta, dict) else None) or meta.get("CLASSES") or ()
    if isinstance(names, str):  # mmdet 2 keeps a single class without a list
        return (names,)
    return tuple(map(str, names)) if isinstance(names, (list, tuple)) else ()
