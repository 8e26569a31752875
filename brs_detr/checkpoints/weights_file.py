"""Read weights to start from: a file of ours or of others, or a name of torchvision's or timm's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from brs_detr.checkpoints.checkpoint_index import fetch, read_index
from brs_detr.checkpoints.download import download
from brs_detr.checkpoints.plain_file import load_plain
from brs_detr.checkpoints.safetensors_checkpoint import read_any_safetensors
from brs_detr.checkpoints.stored_config import require_harmless
from brs_detr.errors import UserError
from brs_detr.run.console import make_console
from brs_detr.run.run_folder import checkpoint_file

if TYPE_CHECKING:
    from torch import Tensor

Start = Literal["detector", "backbone", "nothing"]
"""What weights are there: those of a detector, those of a backbone alone, or none."""

_OWN_PARTS = {"backbone", "head", "fc"}  # of a classifier that wraps its backbone


@dataclass(frozen=True)
class Weights:
    """Weights and what they were trained for.

    Args:
        source: as the user knows them.
        state_dict: tensors under the names that they have there.
        class_names: the place is the label; empty where the file does not say.
    """

    source: str
    state_dict: dict[str, Tensor]
    class_names: tuple[str, ...] = ()

    @property
    def start(self) -> Start:
        """Whether these are the weights of a detector or of a backbone alone."""
        parts = {key.split(".")[0] for key in self.state_dict}
        return "detector" if "backbone" in parts and parts - _OWN_PARTS else "backbone"


def read_weights(source: str, trust_file: bool = False) -> Weights:
    """Read weights without running code that is stored with them.

    Args:
        source: a checkpoint or the folder of a run; a `.safetensors` file; a name from `brs-detr download --list`,
            `torchvision://NAME`, `timm://NAME` or an address, which are fetched unless an earlier run has; or a plain
            name of torchvision's or timm's.
        trust_file: run the code that a file asks for.

    Raises:
        UserError: there is no such file or name, it cannot be fetched, it holds no weights, or it is
            refused for what it asks for.
    """
    if Path(source).exists():
        content = _read_file(checkpoint_file(source), trust_file)
        if not trust_file:
            _require_harmless(content, source)
        return _from_content(source, content)
    if "://" not in source and (len(Path(source).parts) > 1 or Path(source).suffix in (".pth", ".pt", ".safetensors")):
        raise UserError(f"There is no file {source}.", "Check the path.")
    scheme, _, name = source.rpartition("://")
    if scheme in ("http", "https"):
        return _from_content(source, _fetch(source, source))
    if source in read_index():
        return _from_content(source, _read_file(fetch(source, console=make_console()).path, trust_file))
    if scheme in ("", "torchvision") and name in _torchvision_urls():
        return _from_content(source, _fetch(_torchvision_urls()[name], source))
    if scheme in ("", "timm"):
        return _from_content(source, _timm_weights(name))
    raise UserError(
        f"There are no weights {source}.",
        "Give a file, a name such as torchvision://resnet50 or timm://resnet18.a1_in1k, or none.",
    )


def _read_file(path: Path, trust_file: bool) -> Any:
    return read_any_safetensors(path) if path.suffix == ".safetensors" else load_plain(path, trust_file)


def _require_harmless(content: Any, source: str) -> None:
    meta = content.get("meta") if isinstance(content, dict) else None
    require_harmless(meta.get("cfg") if isinstance(meta, dict) else None, source)


def _torchvision_urls() -> dict[str, str]:
    from mmengine.runner.checkpoint import get_torchvision_models

    return get_torchvision_models()


def fetch_named(source: str, otherwise: str) -> None:
    """Bring the weights that a config names into PyTorch's cache, where mmengine looks for them.

    Args:
        source: `torchvision://NAME`, an address, or a file.
        otherwise: what else a user can do.

    Raises:
        UserError: there are none, or they cannot be fetched.
    """
    scheme, _, name = source.rpartition("://")
    if scheme in ("http", "https"):
        cached_file(source, source, otherwise)
    elif scheme == "torchvision" and name in _torchvision_urls():
        cached_file(_torchvision_urls()[name], source, otherwise)
    elif not scheme and not Path(source).is_file():
        raise UserError(f"There is no file {source}, which the config names.", otherwise)


def _fetch(url: str, source: str) -> Any:
    otherwise = "give its path with --weights FILE, or start from random weights: --weights none."
    return load_plain(cached_file(url, source, otherwise))


def cached_file(url: str, source: str, otherwise: str) -> Path:
    """The file of an address in PyTorch's cache; fetched unless an earlier run has."""
    import torch

    cache = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    try:
        if not cache.is_file():
            download(url, cache, sha256=_expected_hash(cache.name), console=make_console())
    except UserError as error:
        raise UserError(
            f"The weights {source} cannot be fetched: {error.message}\n  Tried {cache} and {url}.",
            f"Put the file there, or {otherwise}",
        ) from None
    return cache


def _expected_hash(file_name: str) -> str:
    """The beginning of the SHA-256 that files of PyTorch and of mmdet carry in their names."""
    from torch.hub import HASH_REGEX

    found = HASH_REGEX.search(file_name)
    return found[1] if found else ""


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
    """The names in the meta data of mmengine's checkpoints, or of the older ones of mmdet 2."""
    meta = meta if isinstance(meta, dict) else {}
    dataset_meta = meta.get("dataset_meta")
    names = (dataset_meta.get("classes") if isinstance(dataset_meta, dict) else None) or meta.get("CLASSES") or ()
    if isinstance(names, str):  # mmdet 2 keeps a single class without a list
        return (names,)
    return tuple(map(str, names)) if isinstance(names, (list, tuple)) else ()
