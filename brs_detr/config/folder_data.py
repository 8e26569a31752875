"""Point a config at data, and fit its model to the classes found there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console

from brs_detr.data.annotations import read_class_names
from brs_detr.data.checks.check import check_split
from brs_detr.data.formats.coco_folder import CocoSplit, shared_class_names
from brs_detr.data.formats.layout import SourceSplit
from brs_detr.data.formats.source import open_source
from brs_detr.data.formats.splits import describe_splits, place_split, place_splits, require_known_names
from brs_detr.errors import UserError
from brs_detr.run.console import counter

if TYPE_CHECKING:
    from mmengine import Config, ConfigDict

Split = TypeVar("Split", CocoSplit, SourceSplit)

SPLIT_SEED = 0
_PHASES = {"train": ("train",), "val": ("val", "test"), "test": ("test", "val")}


def use_folder(
    config: Config, folder: str | Path, placed: Path, console: Console, class_names: Sequence[str] | None = None
) -> None:
    """Make a config train on the `train` split of a data set and evaluate on its `val` split, or `test` without one.

    Args:
        config: changed in place: data sets, evaluators, and every `num_classes` of the model.
        folder: data set in any format of `brs_detr.data.formats.source`.
        placed: where to write annotation files that the data set lacks.
        console: where to print what is dropped.
        class_names: by label, of the run that is resumed.

    Raises:
        UserError: there is no data set, it has no `train` split, its classes differ from the run's, or a split cannot
            be used. The message lists every fault.
    """
    splits = open_splits(folder, placed, console, class_names)
    chosen = {phase: choose_split(splits, names, folder) for phase, names in _PHASES.items()}
    class_names = shared_class_names(splits)
    for phase, split in chosen.items():
        use_split(config, phase, split, class_names)
    set_num_classes(config.model, len(class_names))


def open_splits(
    folder: str | Path, placed: Path, console: Console, class_names: Sequence[str] | None = None
) -> dict[str, CocoSplit]:
    """Check the splits of a data set and bring them into the form that training and evaluation read.

    Splits that the data set lacks are made. They depend on the data alone, so runs with different seeds are measured
    on the same images.

    Args:
        folder: data set in any format of `brs_detr.data.formats.source`.
        placed: where to write annotation files that the data set lacks.
        console: where to print what is dropped, and which splits were made.
        class_names: by label, of a trained model.

    Raises:
        UserError: there is no data set, its classes differ from the model's, or a split cannot be used.
    """
    source = open_source(folder)
    for split in source.splits.values():
        _check(split, split.file, console)
    origins = describe_splits(source, SPLIT_SEED)
    if any(origin != "found" for origin in origins.values()):
        console.print("\n".join(f"{name}: {origin}" for name, origin in origins.items()), markup=False)
    return place_splits(source, placed, SPLIT_SEED, class_names=class_names)


def open_split(folder: str | Path, names: Sequence[str], placed: Path, console: Console) -> CocoSplit:
    """Check the first of the named splits that a data set has, and bring it into the form that evaluation reads.

    Args:
        folder: data set in any format of `brs_detr.data.formats.source`.
        names: of splits, the preferred one first.
        placed: where to write its annotation file, if needed.
        console: where to print what is dropped.

    Raises:
        UserError: there is no data set, it has no such split, or the split cannot be used.
    """
    source = open_source(folder)
    if "all" in source.splits:
        return choose_split(open_splits(folder, placed, console), names, folder)
    split = choose_split(source.splits, names, folder)
    _check(split, split.file, console)
    return place_split(split, placed)


def use_config_data(config: Config, class_names: Sequence[str] | None = None) -> None:
    """Fit the model of a config to the classes of the data set that the config names.

    Args:
        config: changed in place.
        class_names: by label, of the run that is resumed.

    Raises:
        UserError: the annotation file does not exist, or its classes differ from the run's.
    """
    file = split_of(config, "train").annotation_file
    if not file.is_file():
        raise UserError(
            f"The config reads {file}, which does not exist.", "Give your data with --data DIR, or put COCO there."
        )
    if class_names is not None:
        require_known_names(file, config_class_names(config), class_names)
    set_num_classes(config.model, len(read_class_names(file)))


def config_class_names(config: Config) -> list[str]:
    """Return the class names of a config's training data by label: its own, or else the annotation file's."""
    own = (inner_dataset(config, "train").get("metainfo") or {}).get("classes")
    return list(own) if isinstance(own, (list, tuple)) else read_class_names(split_of(config, "train").annotation_file)


def check_data(config: Config, phases: Iterable[str], console: Console) -> None:
    """Check the annotations and images of some phases, and print what is dropped.

    Raises:
        UserError: a split cannot be used. The message lists every fault.
    """
    for phase in phases:
        split = split_of(config, phase)
        _check(split, split.annotation_file, console)


def _check(split: CocoSplit | SourceSplit, file: Path, console: Console) -> None:
    with counter(f"checking {file.name}", console) as progress:
        findings = check_split(split, progress)
    for warning in findings.warnings:
        console.print(f"{file}: {warning}. {warning.kind.cure}", markup=False)


def choose_split(splits: dict[str, Split], names: Sequence[str], folder: str | Path) -> Split:
    """Return the first of `names` that a folder has.

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
    """Make one phase of a config (`train`, `val` or `test`) read a split, with labels in the order of `class_names`."""
    inner_dataset(config, phase).update(
        type="CocoFolderDataset",
        data_root="",
        ann_file=str(split.annotation_file),
        data_prefix={"img": str(split.image_dir)},
        metainfo={"classes": tuple(class_names)},
    )
    if phase != "train":
        evaluator = config[f"{phase}_evaluator"]
        with_masks = evaluator.get("masks") or "segm" in evaluator.get("metric", ())  # ours, or mmdet's
        masks = {"masks": True} if with_masks else {}
        config[f"{phase}_evaluator"] = {"type": "CocoAPMetric", "ann_file": str(split.annotation_file), **masks}


def split_of(config: Config, phase: str) -> CocoSplit:
    """Return the split that a phase of a config reads."""
    dataset = inner_dataset(config, phase)
    root = Path(dataset.get("data_root") or "")
    return CocoSplit(phase, root / dataset.ann_file, root / dataset.data_prefix.img)


def set_num_classes(node: Any, num_classes: int) -> None:
    """Set every `num_classes` in a nested config, in place."""
    if isinstance(node, dict):
        if "num_classes" in node:
            node["num_classes"] = num_classes
        node = list(node.values())
    for child in node if isinstance(node, (list, tuple)) else ():
        set_num_classes(child, num_classes)


def inner_dataset(config: Config, phase: str) -> ConfigDict:
    """Return the innermost data set of a phase, below mmengine's wrappers."""
    dataset = config[f"{phase}_dataloader"].dataset
    while "dataset" in dataset:
        dataset = dataset.dataset
    return dataset
