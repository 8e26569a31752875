"""Find images, labels and splits of a data set in YOLO format, whichever tool laid out the folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from brs_detr.data.findings import MISSING_IMAGE, FaultKind
from brs_detr.data.formats.source_faults import MISSING_SPLIT, OUTSIDE_OF_SPLITS, Fault
from brs_detr.data.formats.source_files import FolderFiles, common_folder, folded, is_image, name_below
from brs_detr.data.formats.source_split import SPLITS, split_name, split_of_path
from brs_detr.data.formats.yolo_labels import looks_like_labels
from brs_detr.data.formats.yolo_names import find_names_files, read_names_files, require_same_names
from brs_detr.data.formats.yolo_pairs import IMAGE_FOLDERS, label_texts, unread_images
from brs_detr.data.formats.yolo_yaml import DataYaml, find_images, longest_end
from brs_detr.data.text import read_text
from brs_detr.errors import UserError, shortened

WRONG_COUNT = FaultKind("number of classes that does not fit the names", "Mend nc; the names count.", "warning")

UNUSED_LIST = FaultKind(
    "list of a split that data.yaml passes over",
    "Left out. Delete the list, or name it in data.yaml (train: train.txt) instead of the images there.",
    "warning",
)

_NUM_PEEKED = 20


@dataclass(frozen=True)
class YoloSplit:
    """Images of one split.

    Args:
        file: what a message calls it: the list of the split, or the folder of its images.
        images: paths of its images.
        faults: what is wrong with the list.
    """

    file: Path
    images: tuple[Path, ...]
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class YoloFolder:
    """A data set in YOLO format: where everything is, no label read.

    Args:
        files: its folder.
        splits: at least one, with at least one image each.
        names: class name by number; empty where they are nowhere to be found.
        names_file: where they stand.
        num_classes: how many there are where only that is said.
        num_keypoint_columns: how many numbers of key points follow a box, None where that is not said.
        faults: what is wrong with the data set as a whole.
        other_files: what it was read from besides labels and lists, and folders that it names, with what a message
            calls them.
    """

    files: FolderFiles
    splits: dict[str, YoloSplit]
    names: dict[int, str]
    names_file: Path
    num_classes: int | None = None
    num_keypoint_columns: int | None = None
    faults: tuple[Fault, ...] = ()
    other_files: Mapping[Path, str] = field(default_factory=dict)


def find_yolo(files: FolderFiles, names_file: Path | None = None) -> YoloFolder | None:
    """Recognise a data set in YOLO format that no YAML file describes.

    Args:
        files: the folder.
        names_file: file with the class names, where it was chosen among several.

    Returns:
        Its splits: those of `train.txt`, `val.txt` and `test.txt`, else those whose folders the images lie in, else
        `all`. None when it holds no label file.

    Raises:
        UserError: a list cannot be read, or files with class names, among which none was chosen, do not agree.
    """
    if not _holds_labels(files):
        return None
    splits = _splits_by_list(files) or _splits_by_folder(files)
    names, source = read_names_files(find_names_files(files) if names_file is None else [names_file])
    other = {} if source is None else {source: name_below(source, files.root)}
    return YoloFolder(files, splits, names, source or files.root, other_files=other) if splits else None


def follow_yaml(data: DataYaml, files: FolderFiles, is_chosen: bool = False) -> YoloFolder:
    """Find what a YAML file describes.

    Args:
        data: the file.
        files: the folder that it lies in, where splits and names are looked for that it does not mention.
        is_chosen: whether its names count, whatever other files say.

    Returns:
        Its splits, those left out that have no image.

    Raises:
        UserError: there are no images to train with, or other class names lie beside the file.
    """
    found = {name: _named_split(data, data.splits[name]) for name in SPLITS if name in data.splits}
    splits = {name: split for name, split in found.items() if split.images}
    lost = [f"{name}: {', '.join(data.splits[name])}{_first(found[name])}" for name in found if name not in splits]
    if not data.splits:
        splits = _splits_by_list(files) or _splits_by_folder(files)
    if not splits:
        require_readable_images(files)
    if not splits or ("train" in found and "train" not in splits):
        named = f", {'; '.join(lost)}" if lost else ""
        looked = ", ".join(map(str, data.folders))
        raise UserError(
            f"No images where {data.file} says they are{named}; looked in {looked}.",
            "Mend its paths, or those in the lists that it names.",
        )
    names, names_file = _names_of(data, files, is_chosen)
    faults = [(MISSING_SPLIT, f"{data.file.name}, {text}") for text in lost]
    faults += [(UNUSED_LIST, text) for text in _passed_over(data, files, splits) if data.splits]
    if names and data.num_classes not in (None, len(names)):
        faults.append((WRONG_COUNT, f"{data.file.name}: nc is {data.num_classes}, but there are {len(names)} names"))
    other = {file: name_below(file, files.root) for file in (data.file, names_file)}
    other |= {folder: f"path {data.root} of {data.file.name}" for folder in data.folders[:1] if data.root}
    for name, text in ((name, text) for name, texts in data.splits.items() for text in texts):
        path = longest_end(text, data.folders)
        if path is not None:
            other.setdefault(path, f"{name} {text} of {data.file.name}")
    return YoloFolder(
        files, splits, names, names_file, data.num_classes, data.num_keypoint_columns, tuple(faults), other
    )


def require_no_labels(files: FolderFiles) -> None:
    """Say why a folder with label files is no data set.

    Raises:
        UserError: it has label files without images, or without a row.
    """
    require_readable_images(files)
    labels = label_texts(files)
    if not labels:
        return
    first, *_ = labels
    if not files.images:
        raise UserError(
            f"{files.root} has label files, {len(labels)} like {first.as_posix()}, but no image.",
            "Put the images into a folder images beside labels, under the same names.",
        )
    texts = ((label, line, row.strip()) for label in labels for line, row in _rows(files.root / label))
    for label, line, row in itertools.islice((text for text in texts if text[2]), 1):
        raise UserError(
            f"{files.root / label}, line {line}: {row[:40]!r} is no row of a label file.",
            "A row is a class number, then x and y of the middle, width and height as fractions of the image.",
        )
    raise UserError(
        f"All label files of {files.root} are empty: {shortened([path.as_posix() for path in labels])}.",
        "Annotate at least one object.",
    )


def _rows(file: Path) -> Iterator[tuple[int, str]]:
    return enumerate(read_text(file).split("\n"), start=1)


def require_readable_images(files: FolderFiles) -> None:
    """Refuse a folder all of whose images are of a kind that is not read.

    Raises:
        UserError: it names the first of them.
    """
    unread = [] if files.images else unread_images(files)
    if unread:
        listed = shortened([path.as_posix() for path in unread])
        raise UserError(
            f"The images of {files.root} are of a kind that is not read: {listed}.",
            "Save them as JPEG or PNG, under the same names.",
        )


def _names_of(data: DataYaml, files: FolderFiles, is_chosen: bool) -> tuple[dict[int, str], Path]:
    if data.names and is_chosen:
        return data.names, data.file
    names, file = read_names_files(find_names_files(files))
    if data.names and file is not None:
        require_same_names(data.file, data.names, file, names)
    return (data.names, data.file) if data.names or file is None else (names, file)


def _holds_labels(files: FolderFiles) -> bool:
    """Whether one of the first text files that may be label files and are not empty looks like one."""
    labels = label_texts(files) if files.images else []
    looks = (looks_like_labels(files.root / path) for path in labels)
    return any(itertools.islice((look for look in looks if look is not None), _NUM_PEEKED))


def _named_split(data: DataYaml, stated: Sequence[str]) -> YoloSplit:
    found = [find_images(text, data.folders) for text in stated]
    images = itertools.chain(*(images for images, _ in filter(None, found)))
    missing = itertools.chain(*(missing for _, missing in filter(None, found)))
    file = longest_end(stated[0], data.folders) if len(stated) == 1 else None
    return _split(file or data.file, images, ((MISSING_IMAGE, text) for text in missing))


def _splits_by_list(files: FolderFiles) -> dict[str, YoloSplit]:
    """Splits of `train.txt` and so on, at the top of the folder or in `ImageSets`.

    Raises:
        UserError: a list leads to no image, or to one in the folder of another split, or a split has two lists.
    """
    splits: dict[str, YoloSplit] = {}
    for path in _split_lists(files):
        name = str(split_name(path.stem))
        if name in splits:
            raise UserError(f"Two lists for the split {name}: {splits[name].file} and {path}.", "Keep one of them.")
        images, missing = find_images(path.as_posix(), [files.root]) or ([], [])
        if not any(map(is_image, images)):
            line = read_text(files.root / path).strip().split("\n")[0]
            raise UserError(
                f"No line of {files.root / path} leads to an image; the first is {line!r}.",
                "Write the path of an image into each line, such as images/a.jpg, or delete the list.",
            )
        splits[name] = _split(files.root / path, images, ((MISSING_IMAGE, text) for text in missing))
    _require_own_folders(files, splits)
    return _with_strays(files, {name: splits[name] for name in SPLITS if name in splits})


def _split_lists(files: FolderFiles) -> list[Path]:
    """The lists of splits: text files with lines that are no labels of an image called `train.jpg` or so."""
    texts = [path for path in files.ending(".txt") if split_name(path.stem) is not None]
    texts = [path for path in texts if len(path.parts) == 1 or path.parts[0].lower() == "imagesets"]
    return [path for path in texts if read_text(files.root / path).strip() and not looks_like_labels(files.root / path)]


def _require_own_folders(files: FolderFiles, splits: dict[str, YoloSplit]) -> None:
    """Refuse lists that put an image into another split than its folder does, where both splits have a folder."""
    in_folder = {split_of_path(path) for path in files.images}
    for name, split in splits.items():
        for image in split.images if name in in_folder else ():
            path = Path(name_below(image, files.root))
            if split_of_path(path) not in (None, name):
                raise UserError(
                    f"{split.file} lists {path.as_posix()}, which the folder puts into {split_of_path(path)}.",
                    "Delete the lists, or write a data.yaml that names them: train: train.txt, val: val.txt.",
                )


def _with_strays(files: FolderFiles, splits: dict[str, YoloSplit]) -> dict[str, YoloSplit]:
    """Splits of lists, the first with the labelled images that none of them lists."""
    listed = {image.resolve() for split in splits.values() for image in split.images}
    labelled = {folded(label.stem) for label in label_texts(files)} if splits else set()
    strays = [path for path in files.images if not labelled.isdisjoint({folded(path.name), folded(path.stem)})]
    faults = [(OUTSIDE_OF_SPLITS, path.as_posix()) for path in strays if (files.root / path).resolve() not in listed]
    first = next(iter(splits), None)
    return {
        name: replace(split, faults=(*split.faults, *faults)) if name == first else split
        for name, split in splits.items()
    }


def _passed_over(data: DataYaml, files: FolderFiles, splits: dict[str, YoloSplit]) -> Iterator[str]:
    """Lists of splits with other images than the split of that name has."""
    stated = {Path(text).name for text in itertools.chain(*data.splits.values())}
    for path in (path for path in _split_lists(files) if path.name not in stated):
        images, _ = find_images(path.as_posix(), [files.root]) or ([], [])
        split = splits.get(str(split_name(path.stem)))
        own = {image.resolve() for image in split.images} if split else set()
        if own != {image.resolve() for image in images}:
            yield path.as_posix()


def _first(split: YoloSplit) -> str:
    return f" ({split.faults[0][1]})" if split.faults else ""


def _splits_by_folder(files: FolderFiles) -> dict[str, YoloSplit]:
    in_folder = [path for path in files.images if any(part.lower() in IMAGE_FOLDERS for part in path.parts[:-1])]
    by_split: dict[str, list[Path]] = {}
    _require_one_word(files, in_folder or files.images)
    for path in in_folder or files.images:
        by_split.setdefault(split_of_path(path) or "all", []).append(path)
    strays = by_split.pop("all") if len(by_split) > 1 and "all" in by_split else []
    faults = [(OUTSIDE_OF_SPLITS, path.as_posix()) for path in strays]
    names = [name for name in SPLITS if name in by_split]
    splits = {name: [files.root / path for path in by_split[name]] for name in names}
    return {
        name: _split(common_folder(images, files.root), images, faults if name == names[0] else [])
        for name, images in splits.items()
    }


def _require_one_word(files: FolderFiles, images: Iterable[Path]) -> None:
    """Refuse folders that are called differently and mean one split, such as `val` and `valid`."""
    words: dict[str, dict[str, Path]] = {}
    for path in images:
        folders = [folder for folder in reversed(path.parents) if split_name(folder.name) is not None]
        for folder in folders[:1]:
            words.setdefault(str(split_name(folder.name)), {}).setdefault(folder.name.lower(), folder)
    for name, folders_by_word in words.items():
        if len(folders_by_word) > 1:
            listed = " and ".join(sorted(folder.as_posix() for folder in folders_by_word.values()))
            raise UserError(
                f"{files.root} has two folders for the split {name}: {listed}.", "Keep or merge one of them."
            )


def _split(file: Path, images: Iterable[Path], faults: Iterable[Fault]) -> YoloSplit:
    return YoloSplit(file, tuple(dict.fromkeys(images)), tuple(faults))
