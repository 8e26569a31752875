"""The synthetic dataset that the demo trains on: shapes on textured ground."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brs_detr.data.annotations import write_annotations
from brs_detr.data.synthetic.scene import SHAPE_NAMES, SceneObject, draw_scene
from brs_detr.data.writing.folder import fresh_folder

_SPLITS = ("train", "val")
_JPEG_QUALITY = 94


def make_shapes(
    folder: str | Path,
    num_train: int = 1000,
    num_val: int = 200,
    image_size: tuple[int, int] = (192, 192),
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    overwrite: bool = False,
    masks: bool = False,
) -> None:
    """Write a COCO-format dataset of six classes, with overlaps, crowd regions and empty images.

    An image depends only on the seed, its split and its number: the same seed gives the same pixels and annotation
    files, and a larger dataset begins with the images of a smaller one.

    Args:
        folder: target; `train/`, `val/` and `annotations/{train,val}.json` appear in it, all at once.
        num_train: number of training images, at least 1.
        num_val: number of validation images, at least 1.
        image_size: (h, w) in pixels, each at least 48.
        seed: not negative.
        progress: called as `progress(done, total)` after each image.
        overwrite: replace an existing dataset.
        masks: write the mask of every object, not only of crowds.

    Raises:
        ValueError: a number is out of range.
        UserError: the folder is not empty.
    """
    if min(num_train, num_val) < 1 or min(image_size) < 48 or seed < 0:
        raise ValueError(f"out of range: {num_train=}, {num_val=}, {image_size=}, {seed=}")
    total, done = num_train + num_val, 0
    with fresh_folder(folder, overwrite) as partial:
        for split_index, count in enumerate((num_train, num_val)):
            dataset = _empty_dataset(seed)
            for index in range(count):
                image, objects = draw_scene(np.random.default_rng([seed, split_index, index]), image_size)
                _add_image(dataset, objects, image_size, masks)
                _save(image, partial / _SPLITS[split_index] / dataset["images"][-1]["file_name"])
                done += 1
                if progress is not None:
                    progress(done, total)
            write_annotations(partial / "annotations" / f"{_SPLITS[split_index]}.json", dataset)


def _empty_dataset(seed: int) -> dict[str, Any]:
    return {
        "info": {"description": "Synthetic shapes on textured ground", "seed": seed},
        "categories": [{"id": number, "name": name} for number, name in enumerate(SHAPE_NAMES, start=1)],
        "images": [],
        "annotations": [],
    }


def _add_image(dataset: dict[str, Any], objects: list[SceneObject], image_size: tuple[int, int], masks: bool) -> None:
    image_id = len(dataset["images"]) + 1
    height, width = image_size
    dataset["images"].append({"id": image_id, "file_name": f"{image_id:06d}.jpg", "width": width, "height": height})
    for thing in objects:
        number = len(dataset["annotations"]) + 1
        dataset["annotations"].append({"id": number, "image_id": image_id, **_annotation(thing, masks)})


def _annotation(thing: SceneObject, mask: bool) -> dict[str, Any]:
    rows, columns = np.flatnonzero(thing.mask.any(axis=1)), np.flatnonzero(thing.mask.any(axis=0))
    corner, far = (int(columns[0]), int(rows[0])), (int(columns[-1]) + 1, int(rows[-1]) + 1)
    annotation = {
        "category_id": thing.label + 1,
        "bbox": [*corner, far[0] - corner[0], far[1] - corner[1]],
        "area": int(thing.mask.sum()),
        "iscrowd": int(thing.is_crowd),
    }
    if mask or thing.is_crowd:
        annotation["segmentation"] = {"size": list(thing.mask.shape), "counts": run_lengths(thing.mask)}
    return annotation


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's uncompressed run-length code of a mask [h, w]: column by column, beginning with a run of zeros."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs


def _save(image: NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(image).save(path, quality=_JPEG_QUALITY, subsampling=0)
