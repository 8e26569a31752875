"""Find images, annotations and splits in a Pascal VOC folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from brs_detr.data.images import SUFFIXES
from brs_detr.data.voc_file import VocImage, read_voc_file
from brs_detr.errors import UserError

_LAYOUT = "A Pascal VOC folder has JPEGImages/, Annotations/*.xml and ImageSets/Main/{train,val,test}.txt."


@dataclass(frozen=True)
class VocFolder:
    """A Pascal VOC folder, read.

    Args:
        splits: by name (`train`, `val`, `test`), the annotations in the order of the split's list.
        image_files: image file by the name of its annotation file without `.xml`.
    """

    splits: dict[str, list[VocImage]]
    image_files: dict[str, Path]

    @property
    def class_names(self) -> list[str]:
        """Names of all classes in all splits, sorted."""
        return sorted({thing.name for split in self.splits.values() for image in split for thing in image.objects})

    @property
    def origin(self) -> int:
        """What the first pixel is called: 1 as in Pascal VOC, or 0 when any box begins at 0."""
        every = (thing.corners[:2] for split in self.splits.values() for image in split for thing in image.objects)
        return 0 if any(corner < 1 for corners in every for corner in corners) else 1


def read_voc_folder(folder: str | Path) -> VocFolder:
    """Read the annotations of every split of a Pascal VOC folder.

    Args:
        folder: with `JPEGImages/`, `Annotations/` and `ImageSets/Main/`.

    Returns:
        The splits that have a list, at least one.

    Raises:
        UserError: the folder has another layout, no split list, or an annotation that cannot be read.
    """
    folder = Path(folder)
    missing = [name for name in ("JPEGImages", "Annotations") if not (folder / name).is_dir()]
    if missing:
        raise UserError(f"{folder} has no folder {' and no folder '.join(missing)}.", _LAYOUT)
    lists = {name: _read_list(folder / "ImageSets" / "Main" / f"{name}.txt") for name in ("train", "val", "test")}
    splits = {
        name: [read_voc_file(folder / "Annotations" / f"{stem}.xml") for stem in stems]
        for name, stems in lists.items()
        if stems
    }
    if not splits:
        raise UserError(f"No split list with a name in it in {folder / 'ImageSets' / 'Main'}.", _LAYOUT)
    return VocFolder(splits, _image_files(folder / "JPEGImages"))


def _read_list(file: Path) -> list[str]:
    """Names in a split list, each once; a second column, as in the lists of one class, is not read."""
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8").splitlines()
    return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))


def _image_files(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES}
