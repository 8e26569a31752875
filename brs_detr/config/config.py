"""Find, read and adjust configs."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import brs_detr
from brs_detr.config.overrides import apply_overrides
from brs_detr.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from mmengine import Config

# What mmengine's Runner reads from a config besides its own parameters.
_EXTRA_KEYS = {
    "custom_imports",
    "model_wrapper_cfg",
    "compile",
    "activation_checkpointing",
    "efficient_conv_bn_eval",
    "sync_bn",
    "fsdp",
}
OWN_LOOP = {"save_minutes": 15, "max_unreadable": 0.01}
"""Settings of `brs_detr.training.train_loop` that mmengine's loop does not have."""


@dataclass(frozen=True)
class ConfigEntry:
    """A config that can be named on the command line."""

    name: str
    path: Path
    description: str


def configs_dir() -> Path:
    """Folder of the shipped configs: inside the package when installed, beside it in a checkout of the repository."""
    package = Path(brs_detr.__file__).parent
    shipped = package / "configs"
    return shipped if shipped.is_dir() else package.parent / "configs"


def list_configs() -> list[ConfigEntry]:
    """Every shipped config that can be trained, sorted by name. Reads their first lines, runs nothing."""
    files = (path for path in configs_dir().rglob("*.py") if "_base_" not in path.parts)
    return [ConfigEntry(path.stem, path, _description(path)) for path in sorted(files, key=lambda path: path.stem)]


def find_config(name_or_path: str | Path) -> Path:
    """Path of a config file.

    Args:
        name_or_path: a name from `list_configs`, or the path of a `.py` file.

    Raises:
        UserError: there is no such config; the message names the nearest one.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    entries = {entry.name: entry.path for entry in list_configs()}
    if path.suffix == ".py" or len(path.parts) > 1:
        if path.stem in entries:
            raise UserError(f"There is no config file {path}.", f"Its name alone is enough: {path.stem}")
        raise UserError(f"There is no config file {path}.", "Check the path, or take a name from `brs-detr configs`.")
    if path.name not in entries:
        raise UserError(f"There is no config called {path.name!r}.", did_you_mean(path.name, entries))
    return entries[path.name]


def load_config(name_or_path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a config and change single keys of it.

    Variables that only help to write the file (`train_pipeline`, `data_root`, ...) are left out of the result: whatever
    key is in it is read by somebody, so that an override of a key that has no effect is an error.

    Args:
        name_or_path: a name from `list_configs`, or the path of a `.py` file.
        overrides: assignments `key=value`, see `apply_overrides`.

    Raises:
        UserError: no such config, the file is not valid Python, or an override names an unknown key.
    """
    from mmengine import Config

    from brs_detr.config.config_text import PlainConfig
    from brs_detr.data.loading.registry import register

    register()
    path = find_config(name_or_path)
    try:
        config = Config.fromfile(path)
    except SyntaxError as error:
        raise UserError(f"{path} is not valid Python: {error.msg}, line {error.lineno}.", "Mend that line.") from None
    except FileNotFoundError as error:
        raise UserError(f"{path} needs a file that does not exist: {error}", "Check its `_base_` list.") from None
    except Exception as error:  # it is a program, so anything can go wrong in it
        raise UserError(f"{path} stops with {type(error).__name__}: {error}", "Mend the file.") from error
    missing = [key for key in ("model", "train_dataloader", "optim_wrapper", "train_cfg") if key not in config]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}.", "Let it begin from one of `brs-detr configs --path`.")
    kept = {key: value for key, value in config.items() if key in _runner_keys()}
    kept["train_cfg"] = with_own_loop(kept["train_cfg"])
    apply_overrides(kept, overrides)
    return PlainConfig(kept, filename=path)


def with_own_loop(train_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Let a training by epochs be one that can be left after any step, with all that can be set of it."""
    if not (train_cfg.get("by_epoch") or train_cfg.get("type") in ("EpochBasedTrainLoop", "TrainLoop")):
        return {**train_cfg}
    kept = {key: value for key, value in train_cfg.items() if key != "by_epoch"}
    return {**OWN_LOOP, **kept, "type": "TrainLoop"}


def import_modules(config: Mapping[str, Any]) -> None:
    """Import what a config that is trusted needs.

    Raises:
        UserError: there is no such module.
    """
    for name in (config.get("custom_imports") or {}).get("imports", []):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UserError(
                f"The config needs the module {name}: {error}", "Install it, or add its folder to PYTHONPATH."
            ) from None


def explain_unknown_type(error: KeyError) -> UserError | None:
    """What to tell a user whose config names a `type` that is not registered; None for any other KeyError."""
    from mmengine.registry import MODELS

    found = re.search(r"(\w+) is not in the (\S+) registry", str(error))
    if found is None:
        return None
    registries = [MODELS, *MODELS.children.values()]
    known = {name for registry in registries for name in registry.module_dict}
    return UserError(f"The config names a type that does not exist: {found[1]}.", did_you_mean(found[1], known))


def explain_unknown_option(error: TypeError) -> UserError | None:
    """What to tell a user whose config gives a class an argument that it does not have; None for other TypeErrors."""
    found = re.search(r"(\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'", str(error))
    if found is None:
        return None
    return UserError(f"The config gives {found[1]} an option that it does not have: {found[2]}.", "Check its spelling.")


def _runner_keys() -> set[str]:
    from mmengine.runner import Runner

    return set(inspect.signature(Runner.__init__).parameters) - {"self", "cfg"} | _EXTRA_KEYS


def _description(path: Path) -> str:
    """First line of the docstring of a config, or its first comment."""
    text = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text))
    if docstring:
        return docstring.splitlines()[0]
    comment = next((line for line in text.splitlines() if line.startswith("#")), "")
    return comment.lstrip("# ")
