from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from brs_detr.data.checks.check import check_split
from brs_detr.data.formats.coco_folder import find_splits, shared_class_names
from brs_detr.data.synthetic.scene import SHAPE_NAMES, draw_scene, shape_mask
from brs_detr.data.synthetic.shapes import make_shapes, run_lengths


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    make_shapes(folder, num_train=80, num_val=20, image_size=(96, 128), seed=3)
    return folder


def fingerprint(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def load(folder: Path, split: str) -> dict:
    return json.loads((folder / "annotations" / f"{split}.json").read_text())


def test_our_own_reader_and_check_accept_it(shapes: Path) -> None:
    splits = find_splits(shapes)
    assert list(splits) == ["train", "val"] and shared_class_names(splits) == list(SHAPE_NAMES)
    assert all(check_split(split).found == () for split in splits.values())
    assert [len(list(split.image_dir.iterdir())) for split in splits.values()] == [80, 20]


def test_it_has_all_classes_crowds_and_empty_images(shapes: Path) -> None:
    data = load(shapes, "train")
    assert {annotation["category_id"] for annotation in data["annotations"]} == set(range(1, 7))
    assert 2 <= sum(annotation["iscrowd"] for annotation in data["annotations"]) <= 20
    assert 1 <= len(data["images"]) - len({annotation["image_id"] for annotation in data["annotations"]}) <= 12
    sides = np.array([max(annotation["bbox"][2:]) for annotation in data["annotations"]])
    assert sides.min() < 16 and sides.max() > 40


def test_crowds_carry_a_mask_that_fits_their_box(shapes: Path) -> None:
    crowds = [annotation for annotation in load(shapes, "train")["annotations"] if annotation["iscrowd"]]
    for crowd in crowds:
        code = coco_mask.frPyObjects(crowd["segmentation"], *crowd["segmentation"]["size"])
        assert coco_mask.toBbox(code).tolist() == crowd["bbox"]
        assert coco_mask.area(code) == crowd["area"]


def test_same_seed_same_bytes_and_a_smaller_set_is_a_beginning(shapes: Path, tmp_path: Path) -> None:
    make_shapes(tmp_path / "again", num_train=80, num_val=20, image_size=(96, 128), seed=3)
    whole = fingerprint(shapes)
    assert fingerprint(tmp_path / "again") == whole
    make_shapes(tmp_path / "few", num_train=3, num_val=1, image_size=(96, 128), seed=3)
    few = fingerprint(tmp_path / "few")
    assert all(whole[name] == digest for name, digest in few.items() if name.endswith(".jpg"))
    make_shapes(tmp_path / "other", num_train=3, num_val=1, image_size=(96, 128), seed=4)
    other = fingerprint(tmp_path / "other")
    assert not any(other[name] == digest for name, digest in few.items())
    assert few["train/000001.jpg"] != few["val/000001.jpg"]


def test_boxes_are_tight_around_what_is_seen() -> None:
    rng = np.random.default_rng(7)
    for _ in range(20):
        picture, objects = draw_scene(rng, (64, 80))
        assert picture.shape == (64, 80, 3) and picture.dtype == np.uint8
        seen = np.sum([thing.mask for thing in objects], axis=0) if objects else np.zeros((64, 80))
        assert seen.max() <= 1  # a pixel shows one object
        assert all(thing.mask.any() for thing in objects)


def test_objects_stand_out_from_the_ground() -> None:
    rng = np.random.default_rng(1)
    differences = []
    for _ in range(30):
        picture, objects = draw_scene(rng, (96, 96))
        ground = ~np.any([thing.mask for thing in objects], axis=0) if objects else np.ones((96, 96), bool)
        tone = picture[ground].mean(axis=0)
        differences += [np.linalg.norm(picture[thing.mask].mean(axis=0) - tone) for thing in objects]
    assert np.quantile(differences, 0.1) > 40


@pytest.mark.parametrize("name", SHAPE_NAMES)
def test_outlines_cover_the_area_of_their_shape(name: str) -> None:
    exact = {
        "circle": np.pi,
        "square": 2.0,
        "triangle": 3 * np.sqrt(3) / 4,
        "star": 10 * 0.42 * np.sin(np.pi / 5) / 2,
        "ring": np.pi * (1 - 0.55**2),
        "cross": 4 * (2 * 0.32 * np.sqrt(1 - 0.32**2) - 0.32**2),
    }[name]
    mask = shape_mask(name, 30.0, 0.4, 1.1)
    assert mask.sum() == pytest.approx(exact * 30**2, rel=0.03)
    assert mask[[0, -1]].max() == mask[:, [0, -1]].max() == 0  # never cut off by its window


def test_an_unknown_outline_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown shape 'hexagon'"):
        shape_mask("hexagon", 9.0, 0.0, 1.0)


@pytest.mark.parametrize("seed", range(4))
def test_run_lengths_are_those_of_pycocotools(seed: int) -> None:
    mask = np.random.default_rng(seed).random((9, 13)) < 0.4
    code = coco_mask.frPyObjects({"size": [9, 13], "counts": run_lengths(mask)}, 9, 13)
    assert (coco_mask.decode(code) == mask).all()


def test_progress_counts_every_picture(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    make_shapes(tmp_path / "s", 2, 1, (48, 48), progress=lambda *step: steps.append(step))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert Image.open(tmp_path / "s" / "val" / "000001.jpg").size == (48, 48)


@pytest.mark.parametrize("wrong", [{"num_train": 0}, {"num_val": 0}, {"image_size": (40, 96)}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(ValueError, match="out of range"):
        make_shapes(tmp_path / "s", **wrong)
    assert not (tmp_path / "s").exists()
