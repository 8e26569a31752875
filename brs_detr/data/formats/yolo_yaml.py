"""Read the YAML file that describes a YOLO data set."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from brs_detr.data.formats.source_files import is_image, list_files
from brs_detr.data.formats.source_split import split_name
from brs_detr.errors import UserError

_KEYS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_CURE = "It should say, for example: train: images/train, val: images/val, names: [cat, dog]."


@dataclass(frozen=True)
class DataYaml:
    """What a `data.yaml` says.

    Args:
        file: the file.
        root: its `path`, empty where it has none.
        splits: by split name, the folders, lists or images that it names.
        names: class name by number; empty where it has none.
        num_classes: its `nc`.
        has_keypoints: whether rows carry key points behind the box.
    """

    file: Path
    root: str
    splits: dict[str, tuple[str, ...]]
    names: dict[int, str]
    num_classes: int | None
    has_keypoints: bool

    @property
    def folders(self) -> list[Path]:
        """What its paths may be relative to: `path`, seen from the file or from here, and the folder of the file."""
        folder = self.file.parent
        stated = [folder / self.root, Path(self.root)] if self.root else []
        return [path for path in (*stated, folder) if path.is_dir()]


def read_data_yaml(file: Path) -> DataYaml:
    """Read the YAML file of a YOLO data set.

    Raises:
        UserError: it is no YAML (with line and column), or one of its fields cannot be used.
    """
    fields = _load(file)
    if not isinstance(fields, dict):
        raise UserError(f"{file} does not describe a data set.", _CURE)
    splits = {_KEYS[key]: _texts(file, key, value) for key, value in fields.items() if key in _KEYS}
    count = fields.get("nc")
    return DataYaml(
        file,
        _text(fields.get("path")),
        {name: texts for name, texts in splits.items() if texts},
        _read_names(file, fields.get("names")),
        int(count) if isinstance(count, str) and count.isdecimal() else None,
        "kpt_shape" in fields,
    )


def is_data_yaml(file: Path) -> bool:
    """Whether a YAML file names classes or splits; a broken one does when it is called `data` or `dataset`."""
    try:
        fields = _load(file)
    except UserError:
        return file.stem.lower() in ("data", "dataset")
    return isinstance(fields, dict) and ("names" in fields or ("nc" in fields and not _KEYS.keys().isdisjoint(fields)))


def find_images(stated: str, folders: Iterable[Path]) -> tuple[list[Path], list[str]] | None:
    """The images that an entry of a split names.

    Args:
        stated: folder of images, text file with a path a line, or an image.
        folders: what it may be relative to.

    Returns:
        Images, and the paths in the list that lead nowhere; None when the entry itself leads nowhere.
    """
    folders = list(folders)
    path = longest_end(stated, folders)
    if path is None:
        return None
    if path.is_dir():
        return [path / image for image in list_files(path).images], []
    if is_image(path):
        return [path], []
    return _listed_images(path, [path.parent, *folders])


def longest_end(stated: str, folders: Iterable[Path]) -> Path | None:
    """The file or folder that a path names, also where its beginning belongs to another machine or folder.

    Roboflow writes `../train/images` for a folder beside the YAML file; other tools write absolute paths. So parts are
    taken off the front until something is there. A last part on its own counts only when it names a split or a file.
    """
    parts = stated.replace("\\", "/").rstrip("/").split("/")
    ends = ["/".join(parts[start:]) for start in range(len(parts))]
    if not (split_name(parts[-1]) or Path(parts[-1]).suffix):
        ends = ends[:-1] or ends
    for end, folder in itertools.product(filter(None, ends), list(folders)):
        path = Path(os.path.normpath(folder / end))
        if path.exists():
            return path
    return None


def _listed_images(file: Path, folders: list[Path]) -> tuple[list[Path], list[str]]:
    lines = [line.strip() for line in file.read_text(encoding="utf-8-sig", errors="replace").splitlines()]
    lines = list(dict.fromkeys(line for line in lines if line))
    found = {line: longest_end(line, folders) for line in lines}
    images = [path for path in found.values() if path is not None]
    return images, [f"{line}, named in {file.name}" for line, path in found.items() if path is None]


def _load(file: Path) -> Any:
    """Every scalar stays the text that it is: `names: [no, 1]` are two names, not a truth value and a number."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            return yaml.load(stream, Loader=yaml.BaseLoader)  # as safe as SafeLoader
    except OSError as error:
        raise UserError(f"Cannot open {file}: {error.strerror}.", "Check the path.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "it cannot be read"
        raise UserError(f"{file} is not valid YAML: {reason}{where}.", "Mend the file.") from None
    except RecursionError:
        raise UserError(f"{file} is not valid YAML: it has lists in lists without end.", "Mend the file.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not text in UTF-8 (byte {error.start}).", "Save the file as UTF-8.") from None


def _texts(file: Path, key: str, value: Any) -> tuple[str, ...]:
    entries = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, str) for entry in entries):
        raise UserError(f"'{key}' in {file} is neither a path nor a list of paths.", _CURE)
    return tuple(text for entry in entries if (text := _text(entry)))


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value.lower() not in ("~", "null", "none") else ""


def _read_names(file: Path, names: Any) -> dict[int, str]:
    if isinstance(names, list):
        names = {str(number): name for number, name in enumerate(names)}
    if names is None or names == "":
        return {}
    if not isinstance(names, dict) or not all(_is_number(key) for key in names):
        raise UserError(f"'names' in {file} is neither a list nor numbers with names.", _CURE)
    if not all(isinstance(name, str) for name in names.values()):
        raise UserError(f"'names' in {file} holds something that is not a name.", _CURE)
    return {int(key): name for key, name in names.items()}


def _is_number(key: Any) -> bool:
    return isinstance(key, str) and key.isdecimal()
