"""Find, read and change configs, and list the models for fine-tuning."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import brs_detr
from brs_detr.config.own_modules import own_modules
from brs_detr.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from mmengine import Config

# Keys that mmengine's Runner reads from a config besides its own parameters.
_EXTRA_KEYS = {"custom_imports", "model_wrapper_cfg", "compile", "activation_checkpointing"}
_EXTRA_KEYS |= {"efficient_conv_bn_eval", "sync_bn", "fsdp"}
OWN_LOOP = {"save_minutes": 15, "max_unreadable": 0.01}
"""Settings of our `TrainLoop` that mmengine's loop does not have, with their defaults."""

_BACKBONES = {
    "r18": "r18_1xb4-12e_coco",
    "lite0": "lite0_finetune",
    "r50": "r50_finetune",
    "swin-t": "swin-t_finetune",
    "swin-l": "swin-l_finetune",
}
MODELS = {
    f"{prefix}{backbone}": f"{detector}_{config}"
    for prefix, detector in (("", "brs-co-deformable-detr"), ("co-", "co-deformable-detr"))
    for backbone, config in _BACKBONES.items()
}
"""Config by short name of the model; the prefix `co-` stands for plain Co-DETR."""


@dataclass(frozen=True)
class ConfigEntry:
    """A shipped config."""

    name: str
    path: Path
    description: str


def configs_dir() -> Path:
    """Return the folder of the shipped configs: in the package if installed, beside it in a checkout."""
    package = Path(brs_detr.__file__).parent
    shipped = package / "configs"
    return shipped if shipped.is_dir() else package.parent / "configs"


def list_configs() -> list[ConfigEntry]:
    """List the shipped configs that can be trained, sorted by name. The files are not executed."""
    files = (path for path in configs_dir().rglob("*.py") if "_base_" not in path.parts)
    return [ConfigEntry(path.stem, path, _description(path)) for path in sorted(files, key=lambda path: path.stem)]


def find_config(name_or_path: str | Path) -> Path:
    """Return the path of a config file.

    Args:
        name_or_path: a name from `list_configs`, or the path of a `.py` file.

    Raises:
        UserError: there is no such config. The hint suggests the closest name.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    entries = {entry.name: entry.path for entry in list_configs()}
    if path.suffix == ".py" or len(path.parts) > 1:
        hint = "Check the path, or use a name from `brs-detr configs`."
        if path.stem in entries:
            hint = f"Its name alone is enough: {path.stem}"
        raise UserError(f"There is no config file {path}.", hint)
    if path.name not in entries:
        raise UserError(f"There is no config called {path.name!r}.", did_you_mean(path.name, entries))
    return entries[path.name]


def find_model(name: str) -> str:
    """Return the config of a model, given a key of `MODELS`, a name from `brs-detr configs`, or a config file.

    Raises:
        UserError: there is no such model.
    """
    if name in MODELS:
        return MODELS[name]
    try:
        find_config(name)
    except UserError:
        if name.endswith(".py") or "/" in name:
            raise
        known = [*MODELS, *(entry.name for entry in list_configs())]
        raise UserError(f"There is no model {name!r}.", did_you_mean(name, known)) from None
    return name


def default_model() -> tuple[str, str]:
    """Return the short name of the default model for this machine, and the reason for the choice."""
    import torch

    return ("r50", "there is a GPU") if torch.cuda.is_available() else ("r18", "small, because there is no GPU")


def load_config(name_or_path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a config and apply overrides.

    Helper variables of the file (`train_pipeline`, `data_root`, ...) are dropped, so that overriding one of them, which
    would have no effect, is an error.

    Args:
        name_or_path: a name from `list_configs`, or the path of a `.py` file.
        overrides: `key=value` assignments, see `apply_overrides`.

    Raises:
        UserError: there is no such config, the file is not valid Python, or an override names an unknown key.
    """
    from mmengine import Config

    from brs_detr.config.config_text import PlainConfig
    from brs_detr.data.loading.registry import register

    register()
    path = find_config(name_or_path)
    try:
        with _bases_by_name():
            config = Config.fromfile(path)
    except SyntaxError as error:
        raise UserError(f"{path} is not valid Python: {error.msg}, line {error.lineno}.", "Correct it.") from None
    except FileNotFoundError as error:
        raise UserError(
            f"{path} needs a file that does not exist: {error}",
            "Give the path of a file, or a name from `brs-detr configs`, as its `_base_`.",
        ) from None
    except Exception as error:  # a config is a program, so anything can go wrong
        raise UserError(f"{path} stops with {type(error).__name__}: {error}", "Correct the file.") from error
    missing = [key for key in ("model", "train_dataloader", "optim_wrapper", "train_cfg") if key not in config]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}.", "Base it on a config from `brs-detr configs --path`.")
    kept = {key: value for key, value in config.items() if key in _runner_keys()}
    kept["train_cfg"] = with_own_loop(kept["train_cfg"])
    kept["custom_imports"] = _with_base_imports(kept.get("custom_imports"))
    apply_overrides(kept, overrides)
    return PlainConfig(kept, filename=path)


@contextmanager
def _bases_by_name() -> Iterator[None]:
    """Let the `_base_` of a config be the name of a shipped config."""
    from mmengine import Config

    original, shipped = Config._get_cfg_path, {entry.name: str(entry.path) for entry in list_configs()}

    def find(base: str, filename: str) -> tuple[str, str | None]:
        return (shipped[base], None) if base in shipped else original(base, filename)

    Config._get_cfg_path = staticmethod(find)
    try:
        yield
    finally:
        Config._get_cfg_path = staticmethod(original)


def with_own_loop(train_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Replace mmengine's epoch-based loop in a `train_cfg` by our `TrainLoop`, which can stop after any step."""
    if not (train_cfg.get("by_epoch") or train_cfg.get("type") in ("EpochBasedTrainLoop", "TrainLoop")):
        return {**train_cfg}
    kept = {key: value for key, value in train_cfg.items() if key != "by_epoch"}
    return {**OWN_LOOP, **kept, "type": "TrainLoop"}


def _with_base_imports(custom_imports: Mapping[str, Any] | None) -> dict[str, Any]:
    """Add the imports that every config needs and those of `--import`: a list in a config replaces that of its base."""
    asked = {"imports": [], **(custom_imports or {})}
    names = [asked["imports"]] if isinstance(asked["imports"], str) else asked["imports"]
    return {**asked, "imports": [*dict.fromkeys(["co_detr", *names, *own_modules()])]}


def import_modules(config: Mapping[str, Any]) -> None:
    """Import the modules in `custom_imports` of a trusted config.

    Raises:
        UserError: there is no such module.
    """
    for name in (config.get("custom_imports") or {}).get("imports", []):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UserError(
                f"The config needs the module {name}: {error}",
                "Install it, or name its file on the command line: --import path/to/module.py",
            ) from None


def explain_unknown_type(error: KeyError) -> UserError | None:
    """Explain a KeyError that is due to an unregistered `type`; return None for any other KeyError."""
    from mmengine import registry

    found = re.search(r"(\w+) is not in the (\S+) registry", str(error))
    if found is None:
        return None
    known = {name for models in (registry.MODELS, *registry.MODELS.children.values()) for name in models.module_dict}
    return UserError(f"The config names a type that does not exist: {found[1]}.", did_you_mean(found[1], known))


def explain_unknown_option(error: TypeError) -> UserError | None:
    """Explain a TypeError that is due to an unknown argument; return None for any other TypeError."""
    found = re.search(r"(\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'", str(error))
    if found is None:
        return None
    return UserError(f"The config gives {found[1]} an option that it does not have: {found[2]}.", "Check its spelling.")


def apply_overrides(config: MutableMapping[str, Any], assignments: Iterable[str]) -> None:
    """Change values of a config in place.

    Args:
        config: nested mappings and lists.
        assignments: each of the form `key=value`. The key is a path of names and list indices joined by dots
            (`param_scheduler.0.gamma=0.5`). The value is a Python literal, or else a string.

    Raises:
        UserError: an assignment has no `=`, names a key that the config does not have, or sets a number or a bool to a
            string.
    """
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator or not key:
            raise UserError(
                f"--set {assignment} is not of the form key=value.", "Example: --set train_cfg.val_interval=2"
            )
        _set(config, key.strip(), parse_value(text.strip()))


def parse_value(text: str) -> Any:
    """Parse a Python literal, or return the text itself if it is not one."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _set(config: Any, key: str, value: Any) -> None:
    *parents, last = key.split(".")
    node, walked = config, ""
    for part in parents:
        node = node[_find_key(node, part, walked, key)]
        walked += f"{part}."
    index = _find_key(node, last, walked, key)
    if isinstance(node, tuple):
        raise UserError(f"--set {key}: {walked.rstrip('.')} is a tuple.", f"Set all of it; it is {node!r}.")
    old = node[index]
    if isinstance(old, (bool, int, float)) and isinstance(value, str):
        kind = "True or False" if isinstance(old, bool) else "a number"
        raise UserError(f"--set {key}={value}: expected {kind}, as in {old!r}.", "Check the value.")
    node[index] = value


def _find_key(node: Any, part: str, walked: str, key: str) -> str | int:
    """Return the key or index of `node` that one part of a dotted path refers to."""
    if isinstance(node, Mapping):
        valid = {str(name): name for name in node}
    elif isinstance(node, (list, tuple)):
        valid = {str(index): index for index in range(len(node))}
    else:
        raise UserError(f"--set {key}: {walked.rstrip('.')} is {node!r} and has no keys.", "Shorten the key.")
    if part not in valid:
        nearest = did_you_mean(f"{walked}{part}", [f"{walked}{name}" for name in valid])
        hint = nearest if valid else f"{walked.rstrip('.')} is empty."
        raise UserError(f"--set {key}: the config has no key {walked}{part}.", hint)
    return valid[part]


def _runner_keys() -> set[str]:
    from mmengine.runner import Runner

    return set(inspect.signature(Runner.__init__).parameters) - {"self", "cfg"} | _EXTRA_KEYS


def _description(path: Path) -> str:
    """Return the first line of a config's docstring, or else its first comment."""
    text = path.read_text(encoding="utf-8")
    comment = next((line.lstrip("# ") for line in text.splitlines() if line.startswith("#")), "")
    return (ast.get_docstring(ast.parse(text)) or comment).partition("\n")[0]
