"""Pascal VOC folders to be broken by a test."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

OBJECT = "<object><name>{}</name><difficult>{}</difficult><bndbox>{}</bndbox></object>"


def voc_object(name: str, box: tuple, difficult: int = 0) -> str:
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    return OBJECT.format(name, difficult, "".join(f"<{key}>{value}</{key}>" for key, value in corners))


def write_voc(folder: Path, stem: str, *objects: str, size: tuple[int, int] | None = (40, 30)) -> None:
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), "teal").save(folder / "JPEGImages" / f"{stem}.jpg")
    write_xml(folder / "Annotations" / f"{stem}.xml", *objects, size=size)


def write_xml(file: Path, *objects: str, size: tuple[int, int] | None = (40, 30), name: str = "") -> None:
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    text = f"<annotation><filename>{name}</filename>{stated}{''.join(objects)}</annotation>"
    file.write_text(text, encoding="utf-8")


def write_list(folder: Path, split: str, *stems: str) -> None:
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems))


def make_voc(folder: Path) -> Path:
    """A correct dataset of three pictures."""
    write_voc(folder, "one", voc_object("dog", (1, 1, 40, 30)), voc_object("cat", (11, 6, 20, 15), difficult=1))
    write_voc(folder, "two", voc_object("ant", (5, 7, 9, 8)), size=None)
    write_voc(folder, "three")
    write_list(folder, "train", "two", "one", "one")
    write_list(folder, "val", "three 1")
    write_list(folder, "trainval", "one", "two", "three")
    return folder
