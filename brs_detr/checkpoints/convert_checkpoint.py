"""Convert released weights to a checkpoint of this package, accounting for every tensor."""

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
from brs_detr.checkpoints.plain_file import write_safetensors
from brs_detr.checkpoints.weights_file import read_weights
from brs_detr.config.config import import_modules, load_config
from brs_detr.config.folder_data import set_num_classes
from brs_detr.errors import UserError
from brs_detr.mm.backbones import swin_names

if TYPE_CHECKING:
    from mmengine import Config

# Tensors that may be missing or unused.
_COMPUTED = (r"relative_position_index$", r"attn_mask$", r"num_batches_tracked$")  # computed by the model, or unused
_CLASSIFIER = r"^(backbone\.)?(fc|head|norm)\."  # classification head of a pretrained backbone
_OUTPUT_NORMS = r"^backbone\.norm\d\."  # norms of the output maps in mmdet's Swin, which a classifier does not have

_DETECTOR = re.compile(r"transformer\.decoder\.layers\.\d+\.attentions\.1\.")
_OURS = re.compile(r"query_head\.(transformer\.)?decoder\.layers\.\d+\.cross_attn\.")
_ATSS = "bbox_head.0.atss_{}.weight"


@dataclass(frozen=True)
class Recognised:
    """The config that weights belong to.

    Args:
        config: name of the config.
        num_classes: number of classes of the detector; None for a backbone.
    """

    config: str
    num_classes: int | None


@dataclass(frozen=True)
class Conversion:
    """Converted weights.

    Args:
        recognised: what the weights belong to.
        class_names: class names by label; empty for a backbone.
        state_dict: weights under this package's names.
        account: account of all tensors.
        config: config of the detector.
    """

    recognised: Recognised
    class_names: tuple[str, ...]
    state_dict: dict[str, Tensor]
    account: LoadAccount
    config: Config


def recognise(state_dict: Mapping[str, Tensor]) -> Recognised:
    """Find the config that official weights belong to, by names and shapes.

    Args:
        state_dict: weights of the official Co-DETR or BRS-DETR (mmdet 2.25), or of a ResNet or Swin backbone.

    Raises:
        UserError: they belong to something else.
    """
    if any(map(_OURS.search, state_dict)):
        raise UserError("These weights have the names of this package already.", "Use them as they are.")
    is_detector = any(map(_DETECTOR.search, state_dict))
    backbone = _backbone_name(
        {key.removeprefix("backbone."): value for key, value in state_dict.items()} if is_detector else state_dict
    )
    if backbone is None:
        raise UserError(
            "These weights belong neither to Co-DETR or BRS-DETR, nor to a ResNet-50, Swin-T or Swin-L.",
            "Name their config with --config, or inspect them with `brs-detr info`.",
        )
    config = f"co-deformable-detr_{backbone}_8xb2-12e_coco"
    if not is_detector:
        return Recognised(f"brs-{config}", None)
    is_ranking = _ATSS.format("centerness") not in state_dict
    return Recognised(f"brs-{config}" if is_ranking else config, count_classes(state_dict))


def count_classes(state_dict: Mapping[str, Tensor]) -> int | None:
    """Return the number of classes of official weights; None for a backbone."""
    logits = state_dict.get(_ATSS.format("cls"))
    return None if logits is None else len(logits)


def _backbone_name(names: Mapping[str, Tensor]) -> str | None:
    """Return the name of a backbone in our configs; None for another backbone."""
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
    """Rename weights, and account for every tensor.

    Args:
        state_dict: see `recognise`. Values are unchanged; some of Swin's are reordered.
        class_names: class names by label; default for 80 classes: COCO's. A backbone needs none.
        config: config that the weights belong to; default: it is recognised.
        source: origin of the weights, for messages.

    Raises:
        UserError: the weights belong to something else, the number of class names is wrong, or a tensor is missing or
            unexpected.
    """
    recognised = recognise(state_dict) if config is None else Recognised(str(config), count_classes(state_dict))
    resolved = load_config(recognised.config)
    import_modules(resolved)
    num_classes = recognised.num_classes
    names: tuple[str, ...] = ()
    if num_classes is not None:
        names = _class_names(class_names, num_classes, source)
        set_num_classes(resolved.model, num_classes)
    model = _build(resolved)
    own = model.state_dict()
    if num_classes is None:
        own = {name: value for name, value in own.items() if name.startswith("backbone.")}
        given = swin_names(state_dict) or {f"backbone.{name}": value for name, value in state_dict.items()}
    else:
        given = model.own_names(state_dict)  # type: ignore[operator]
    values, account = sort_weights(own, given, ClassChange(), ())
    _require_all(account, recognised, source)
    return Conversion(recognised, names, values, account, resolved)


def _build(config: Config) -> nn.Module:
    """Build a model for its names and shapes, on the meta device if the backbone allows it."""
    from mmengine.registry import MODELS, init_default_scope

    init_default_scope(config.get("default_scope", "mmdet"))
    config.model.backbone.init_cfg = None
    with torch.random.fork_rng(devices=[]), torch.device("cpu" if "Swin" in config.model.backbone.type else "meta"):
        return MODELS.build(copy.deepcopy(config.model))  # mmdet's layers modify their configs


def coco_classes() -> tuple[str, ...]:
    """Return the names of COCO's 80 classes by label."""
    from mmdet.datasets import CocoDataset

    return tuple(CocoDataset.METAINFO["classes"])


def _class_names(given: tuple[str, ...], num_classes: int, source: str) -> tuple[str, ...]:
    names = given or (coco_classes() if num_classes == 80 else ())
    if not names:
        raise UserError(
            f"{source} has {num_classes} classes and does not name them.",
            "Name them in the order of their labels: --class-names cat,dog,...",
        )
    if len(names) != num_classes:
        raise UserError(f"{source} has {num_classes} classes, but {len(names)} names were given.")
    return names


def _require_all(account: LoadAccount, recognised: Recognised, source: str) -> None:
    is_backbone = recognised.num_classes is None
    missing = _unexplained(account.missing, (*_COMPUTED, _OUTPUT_NORMS) if is_backbone else (), account)
    unused = _unexplained(account.unused, (*_COMPUTED, _CLASSIFIER) if is_backbone else _COMPUTED, account)
    faults = [
        *(f"{name} is {tuple(old)}, expected {tuple(new)}" for name, (old, new) in account.other_shape.items()),
        *(f"{name} is missing" for name in missing),
        *(f"{name} is unexpected" for name in unused),
    ]
    if faults:
        shown = "\n".join(f"  {fault}" for fault in faults[:10])
        more = f"\n  and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise UserError(
            f"{source} does not fit {recognised.config}:\n{shown}{more}",
            "Name its config with --config.",
        )


def _unexplained(names: Iterable[str], exceptions: tuple[str, ...], account: LoadAccount) -> list[str]:
    return [
        name
        for name in names
        if name not in account.other_shape and not any(re.search(pattern, name) for pattern in exceptions)
    ]


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
    """Convert a file of weights.

    Args:
        source: file to read.
        out: `.safetensors` file to write: a checkpoint of a detector, or the weights of a backbone.
        class_names, config: see `convert_weights`.
        overwrite: replace an existing file.
        dry_run: write nothing.
        trust_file: run code that the file asks for.

    Raises:
        UserError: see `convert_weights`; or a file cannot be read or written. Then nothing is written.
    """
    require_writable(out, overwrite or dry_run)
    weights = read_weights(str(source), trust_file)
    conversion = convert_weights(weights.state_dict, class_names or weights.class_names, config, str(source))
    if not dry_run:
        names = conversion.class_names
        meta = {"cfg": conversion.config.pretty_text, "dataset_meta": {"classes": names}} if names else None
        write_safetensors(out, conversion.state_dict, meta)
    return conversion


def require_writable(out: Path, overwrite: bool) -> None:
    """Refuse a path that does not end in `.safetensors`, or that exists."""
    if out.suffix != ".safetensors":
        raise UserError(f"{out} does not end in .safetensors.", "No other format is written.")
    if out.exists() and not overwrite:
        raise UserError(f"{out} already exists.", "Add --overwrite to replace it, or choose another name.")
