"""Point a config at data, and fit its model to the classes found there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from brs_detr.data.annotations import read_class_names
from brs_detr.data.check import check_split
from brs_detr.data.coco_folder import CocoSplit, find_splits, shared_class_names
from brs_detr.engine.progress import counter
from brs_detr.errors import UserError

if TYPE_CHECKING:
    from mmengine import Config, ConfigDict

_PHASES = {"train": ("train",), "val": ("val", "test"), "test": ("test", "val")}


def use_folder(config: Config, folder: str | Path) -> None:
    """Make a config train on the `train` split of a folder and evaluate on its `val` split.

    The `test` split is left for `brs-detr eval`; where there is no `val` split, `test` stands in for it.

    Args:
        config: changed in place: datasets, evaluators, and every `num_classes` of the model.
        folder: data set in COCO format.

    Raises:
        UserError: the folder has no `train` split, or neither `val` nor `test`, or their classes differ.
    """
    splits = find_splits(folder)
    chosen = {phase: choose_split(splits, names, folder) for phase, names in _PHASES.items()}
    class_names = shared_class_names(splits)
    for phase, split in chosen.items():
        use_split(config, phase, split, class_names)
    set_num_classes(config.model, len(class_names))


def use_config_data(config: Config) -> None:
    """Fit the model of a config to the classes of the data set that the config itself names.

    Raises:
        UserError: the annotation file of the data set does not exist.
    """
    file = split_of(config, "train").annotation_file
    if not file.is_file():
        raise UserError(
            f"The config reads {file}, which does not exist.", "Give your data with --data DIR, or put COCO there."
        )
    set_num_classes(config.model, len(read_class_names(file)))


def check_data(config: Config, phases: Iterable[str], console: Console) -> None:
    """Check the annotations and images of some phases; print what will be dropped.

    Raises:
        UserError: a split cannot be used; the message lists every fault.
    """
    for phase in phases:
        split = split_of(config, phase)
        with counter(f"checking {split.annotation_file.name}", console) as progress:
            findings = check_split(split, progress)
        for warning in findings.warnings:
            console.print(f"{split.annotation_file}: {warning}. {warning.kind.cure}")


def choose_split(splits: dict[str, CocoSplit], names: Sequence[str], folder: str | Path) -> CocoSplit:
    """The first of `names` that a folder has.

    Raises:
        UserError: it has none of them.
    """
    for name in names:
        if name in splits:
            return splits[name]
    raise UserError(
        f"{folder} has no {' or '.join(names)} split, only {', '.join(splits)}.",
        "Add one; docs/data.md shows how a data set folder is laid out.",
    )


def use_split(config: Config, phase: str, split: CocoSplit, class_names: Sequence[str]) -> None:
    """Make one phase of a config (`train`, `val` or `test`) read a split, its labels following `class_names`."""
    _dataset(config, phase).update(
        type="CocoFolderDataset",
        data_root="",
        ann_file=str(split.annotation_file),
        data_prefix={"img": str(split.image_dir)},
        metainfo={"classes": tuple(class_names)},
    )
    if phase != "train":
        config[f"{phase}_evaluator"] = {"type": "CocoAPMetric", "ann_file": str(split.annotation_file)}


def split_of(config: Config, phase: str) -> CocoSplit:
    """The split that a phase of a config reads."""
    dataset = _dataset(config, phase)
    root = Path(dataset.get("data_root") or "")
    return CocoSplit(phase, root / dataset.ann_file, root / dataset.data_prefix.img)


def set_num_classes(node: Any, num_classes: int) -> None:
    """Set every `num_classes` in a nested config, in place."""
    if isinstance(node, dict):
        if "num_classes" in node:
            node["num_classes"] = num_classes
        children = list(node.values())
    else:
        children = list(node) if isinstance(node, (list, tuple)) else []
    for child in children:
        set_num_classes(child, num_classes)


def _dataset(config: Config, phase: str) -> ConfigDict:
    """The innermost data set of a phase, below mmengine's wrappers."""
    dataset = config[f"{phase}_dataloader"].dataset
    while "dataset" in dataset:
        dataset = dataset.dataset
    return dataset
