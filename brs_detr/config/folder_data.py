"""Point a config at a dataset, and adapt its model to the classes."""

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
from brs_detr.data.kinds import NO_TRAINING_SPLIT
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
    """Make a config train on the `train` split of a dataset, and evaluate on `val` or, without one, on `test`.

    Args:
        config: config to change in place: datasets, evaluators, and every `num_classes` of the model.
        folder: dataset in any format of `brs_detr.data.formats.source`.
        placed: folder for annotation files that the dataset lacks.
        console: where to print warnings about the data.
        class_names: class names of the run that is resumed, by label.

    Raises:
        UserError: there is no dataset, it has no `train` split, its classes differ from the run's, or a split cannot be
            used. The message lists all faults.
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
    """Check the splits of a dataset, and convert them to COCO format if needed.

    Missing splits are made. They depend only on the data, so that runs with different seeds are compared on the same
    images.

    Args:
        folder: dataset in any format of `brs_detr.data.formats.source`.
        placed: folder for annotation files that the dataset lacks.
        console: where to print warnings about the data, and which splits were made.
        class_names: class names of a trained model, by label.

    Raises:
        UserError: there is no dataset, its classes differ from the model's, or a split cannot be used.
    """
    source = open_source(folder)
    for split in source.splits.values():
        _check(split, split.file, console)
    origins = describe_splits(source, SPLIT_SEED)
    if any(origin != "found" for origin in origins.values()):
        console.print("\n".join(f"{name}: {origin}" for name, origin in origins.items()), markup=False)
    return place_splits(source, placed, SPLIT_SEED, class_names=class_names)


def open_split(folder: str | Path, names: Sequence[str], placed: Path, console: Console) -> CocoSplit:
    """Check one split of a dataset, and convert it to COCO format if needed.

    Args:
        folder: dataset in any format of `brs_detr.data.formats.source`.
        names: names of splits, of which the first that exists is opened.
        placed: folder for its annotation file, if one has to be written.
        console: where to print warnings about the data.

    Raises:
        UserError: there is no dataset, it has no such split, or the split cannot be used.
    """
    source = open_source(folder)
    if "all" in source.splits:
        return choose_split(open_splits(folder, placed, console), names, folder)
    split = choose_split(source.splits, names, folder)
    _check(split, split.file, console)
    return place_split(split, placed)


def use_config_data(config: Config, class_names: Sequence[str] | None = None) -> None:
    """Adapt the model of a config to the classes of the config's own dataset.

    Args:
        config: config to change in place.
        class_names: class names of the run that is resumed, by label.

    Raises:
        UserError: the annotation file does not exist, or its classes differ from the run's.
    """
    file = split_of(config, "train").annotation_file
    if not file.is_file():
        raise UserError(
            f"The config reads {file}, which does not exist.", "Name your data with --data DIR, or put COCO there."
        )
    if class_names is not None:
        require_known_names(file, config_class_names(config), class_names)
    set_num_classes(config.model, len(read_class_names(file)))


def config_class_names(config: Config) -> list[str]:
    """Return the class names of a config's training data by label: from the config, or else the annotation file."""
    names = (inner_dataset(config, "train").get("metainfo") or {}).get("classes")
    if isinstance(names, (list, tuple)):
        return list(names)
    return read_class_names(split_of(config, "train").annotation_file)


def check_data(config: Config, phases: Iterable[str], console: Console) -> None:
    """Check the annotations and images of some phases, and print warnings.

    Raises:
        UserError: a split cannot be used. The message lists all faults.
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
    """Return the first split in `names` that exists.

    Raises:
        UserError: none of them exists.
    """
    for name in names:
        if name in splits:
            return splits[name]
    raise UserError(f"{folder} has no {' or '.join(names)} split, only {', '.join(splits)}.", NO_TRAINING_SPLIT.cure)


def use_split(config: Config, phase: str, split: CocoSplit, class_names: Sequence[str]) -> None:
    """Make a phase of a config (`train`, `val` or `test`) read a split. The label of a class is its index."""
    inner_dataset(config, phase).update(
        type="CocoFolderDataset",
        data_root="",
        ann_file=str(split.annotation_file),
        data_prefix={"img": str(split.image_dir)},
        metainfo={"classes": tuple(class_names)},
    )
    if phase != "train":
        evaluator = config[f"{phase}_evaluator"]
        with_masks = evaluator.get("masks") or "segm" in evaluator.get("metric", ())  # ours or mmdet's
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
    """Return the dataset config of a phase, without mmengine's wrappers around it."""
    dataset = config[f"{phase}_dataloader"].dataset
    while "dataset" in dataset:
        dataset = dataset.dataset
    return dataset
