"""Bring released weights into a checkpoint of this package, with an account of every tensor.

read -> recognise -> rename -> account -> write
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from brs_detr.checkpoints.load_weights import ClassChange, LoadAccount, sort_weights
from brs_detr.checkpoints.safetensors_checkpoint import write_safetensors, write_tensors
from brs_detr.checkpoints.weights_file import read_weights
from brs_detr.config.config import load_config
from brs_detr.config.folder_data import set_num_classes
from brs_detr.errors import UserError
from brs_detr.mm.backbones.swin_names import swin_names

if TYPE_CHECKING:
    from mmengine import Config

# Tensors that may be missing or unused, and why.
_COMPUTED = (r"relative_position_index$", r"attn_mask$", r"num_batches_tracked$")  # by the model itself, or never used
_CLASSIFIER = (r"^(backbone\.)?(fc|head|norm)\.",)  # of a backbone that was trained to classify
_OUTPUT_NORMS = (r"^backbone\.norm\d\.",)  # of the maps that mmdet's Swin gives, which a classifier does not have

_DETECTOR = re.compile(r"transformer\.decoder\.layers\.\d+\.attentions\.1\.")
_OURS = re.compile(r"transformer\.decoder\.layers\.\d+\.cross_attn\.")
_ATSS = "bbox_head.0.atss_{}.weight"


@dataclass(frozen=True)
class Recognised:
    """What weights are of.

    Args:
        config: the config that they fit, by name.
        num_classes: that they tell apart; None for a backbone alone.
    """

    config: str
    num_classes: int | None


@dataclass(frozen=True)
class Conversion:
    """What was converted.

    Args:
        recognised: what the weights are of.
        class_names: in the order of the labels; none for a backbone alone.
        state_dict: weights under our names.
        account: of all tensors, those listed as exceptions included.
        config: of the detector.
    """

    recognised: Recognised
    class_names: tuple[str, ...]
    state_dict: dict[str, Tensor]
    account: LoadAccount
    config: Config


def recognise(state_dict: Mapping[str, Tensor]) -> Recognised:
    """Tell by names and shapes which of our configs official weights belong to.

    Args:
        state_dict: of the official Co-DETR or BRS-DETR (mmdet 2.25), or of a ResNet or Swin backbone.

    Raises:
        UserError: they are of something else.
    """
    if any(map(_OURS.search, state_dict)):
        raise UserError("These weights have the names of this package already.", "Use them as they are.")
    is_detector = any(map(_DETECTOR.search, state_dict))
    backbone = _backbone_name(
        {key.removeprefix("backbone."): value for key, value in state_dict.items()} if is_detector else state_dict
    )
    if backbone is None:
        raise UserError(
            "These are no weights of Co-DETR or BRS-DETR, nor of a ResNet-50, Swin-T or Swin-L.",
            "Name the config that they belong to with --config, or look at them with `brs-detr info`.",
        )
    config = f"co-deformable-detr_{backbone}_8xb2-12e_coco"
    if not is_detector:
        return Recognised(f"brs-{config}", None)
    is_ranking = _ATSS.format("centerness") not in state_dict
    return Recognised(f"brs-{config}" if is_ranking else config, count_classes(state_dict))


def count_classes(state_dict: Mapping[str, Tensor]) -> int | None:
    """How many classes official weights of a detector tell apart; None for a backbone alone."""
    logits = state_dict.get(_ATSS.format("cls"))
    return None if logits is None else len(logits)


def _backbone_name(names: Mapping[str, Tensor]) -> str | None:
    """Name of a backbone as our configs have it."""
    if "layer3.5.conv3.weight" in names and "layer3.6.conv3.weight" not in names:
        return "r50"
    if "patch_embed.proj.weight" not in names:
        return None
    depth = sum(1 for name in names if re.fullmatch(r"layers\.2\.blocks\.\d+\.norm1\.weight", name))
    width = len(names["patch_embed.proj.weight"])
    return {(96, 6): "swin-t", (192, 18): "swin-l"}.get((width, depth))


def convert_weights(
    state_dict: Mapping[str, Tensor],
    class_names: tuple[str, ...] = (),
    config: str | Path | None = None,
    source: str = "the weights",
) -> Conversion:
    """Rename weights, and account for every one of them.

    Args:
        state_dict: see `recognise`; values are left as they are, of Swin some are put into another order.
        class_names: in the order of the labels; by default COCO's for 80 classes. A backbone needs none.
        config: that they belong to, where it cannot be recognised.
        source: for messages.

    Raises:
        UserError: they are of something else, class names are needed or are too many or too few, or a tensor remains
            unexplained.
    """
    from brs_detr.config.config import import_modules

    recognised = recognise(state_dict) if config is None else Recognised(str(config), count_classes(state_dict))
    resolved = load_config(recognised.config)
    import_modules(resolved)
    names: tuple[str, ...] = ()
    if recognised.num_classes is not None:
        names = _class_names(class_names, recognised.num_classes, source)
        set_num_classes(resolved.model, recognised.num_classes)
    model = _build(resolved)
    own, given = model.state_dict(), _rename(state_dict, model, recognised)
    if recognised.num_classes is None:
        own = {name: value for name, value in own.items() if name.startswith("backbone.")}
    values, account = sort_weights(own, given, ClassChange(), ())
    _require_all(account, recognised, source)
    return Conversion(recognised, names, values, account, resolved)


def _rename(state_dict: Mapping[str, Tensor], model: nn.Module, recognised: Recognised) -> Mapping[str, Tensor]:
    if recognised.num_classes is not None:
        return model.own_names(state_dict)  # type: ignore[operator]
    return swin_names(state_dict) or {f"backbone.{name}": value for name, value in state_dict.items()}


def _build(config: Config) -> nn.Module:
    """The model for its names and shapes; its weights take memory only where the backbone cannot do without."""
    from mmengine.registry import MODELS, init_default_scope

    init_default_scope(config.get("default_scope", "mmdet"))
    config.model.backbone.init_cfg = None
    with torch.random.fork_rng(devices=[]), torch.device("cpu" if "Swin" in config.model.backbone.type else "meta"):
        return MODELS.build(copy.deepcopy(config.model))  # mmdet's layers write into theirs


def coco_classes() -> tuple[str, ...]:
    """Names of COCO's 80 classes, in the order of the labels."""
    from mmdet.datasets import CocoDataset

    return tuple(CocoDataset.METAINFO["classes"])


def _class_names(given: tuple[str, ...], num_classes: int, source: str) -> tuple[str, ...]:
    coco = coco_classes()
    names = given or (coco if num_classes == len(coco) else ())
    if not names:
        raise UserError(
            f"{source} tells {num_classes} classes apart and does not say what they are called.",
            "Name them in the order of their labels: --class-names cat,dog,...",
        )
    if len(names) != num_classes:
        raise UserError(f"{source} tells {num_classes} classes apart, and {len(names)} names are given for them.")
    return names


def _require_all(account: LoadAccount, recognised: Recognised, source: str) -> None:
    is_backbone = recognised.num_classes is None
    missing = _unexplained(account.missing, (*_COMPUTED, *_OUTPUT_NORMS) if is_backbone else (), account)
    unused = _unexplained(account.unused, (*_COMPUTED, *_CLASSIFIER) if is_backbone else _COMPUTED, account)
    faults = [
        *(f"{name} is {tuple(there)} there, {tuple(here)} here" for name, (there, here) in account.other_shape.items()),
        *(f"{name} is missing" for name in missing),
        *(f"{name} belongs to nothing" for name in unused),
    ]
    if faults:
        shown = "\n".join(f"  {fault}" for fault in faults[:10])
        more = f"\n  and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise UserError(
            f"{source} does not fit {recognised.config}:\n{shown}{more}",
            "Name the config that it belongs to with --config.",
        )


def _unexplained(names: Iterable[str], exceptions: tuple[str, ...], account: LoadAccount) -> list[str]:
    is_explained = re.compile("|".join(exceptions) or r"(?!)").search
    return [name for name in names if name not in account.other_shape and not is_explained(name)]


def convert_checkpoint(
    source: Path,
    out: Path,
    *,
    class_names: tuple[str, ...] = (),
    config: str | Path | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    trust_file: bool = False,
) -> Conversion:
    """Convert a file.

    Args:
        source: file of weights; code in it is not run.
        out: `.safetensors` file to write: a checkpoint of a detector, or the weights of a backbone.
        class_names, config: see `convert_weights`.
        overwrite: replace the file.
        dry_run: write nothing.
        trust_file: run the code that the file asks for.

    Raises:
        UserError: see `convert_weights`; or the file cannot be read or written. Nothing is written then.
    """
    if out.suffix != ".safetensors":
        raise UserError(f"{out} does not end in .safetensors.", "That is the format that is written.")
    if out.exists() and not (overwrite or dry_run):
        raise UserError(f"{out} is there already.", "Add --overwrite to replace it, or choose another name.")
    weights = read_weights(str(source), trust_file)
    conversion = convert_weights(weights.state_dict, class_names or weights.class_names, config, str(source))
    if not dry_run:
        out.parent.mkdir(parents=True, exist_ok=True)
        if conversion.class_names:
            meta = {"cfg": conversion.config.pretty_text, "dataset_meta": {"classes": conversion.class_names}}
            write_safetensors(out, conversion.state_dict, meta)
        else:
            write_tensors(out, conversion.state_dict)
    return conversion
