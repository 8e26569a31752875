from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from brs_detr.runtime.draw import class_colour, draw_detections, font, ink_on

GREY = (128, 128, 128)
NAMES = ("cat", "dog")


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def test_a_box_is_drawn_in_the_colour_of_its_class_at_its_place() -> None:
    ground = Image.new("RGB", (600, 500), GREY)
    drawn = draw_detections(ground, [[100, 200, 400, 450]], [1], class_names=NAMES)
    array = pixels(drawn)
    for x, y in ((101, 300), (399, 300), (250, 201), (250, 449)):
        assert tuple(array[y, x]) == class_colour(1)
    assert tuple(array[480, 50]) == GREY
    assert abs(array[300, 250] - GREY).max() < 40  # the interior stays visible
    assert pixels(ground).std() == 0  # drawn on a copy


def test_small_images_are_enlarged_with_their_boxes() -> None:
    drawn = draw_detections(Image.new("RGB", (32, 24), GREY), [[8, 8, 24, 20]], [0], class_names=NAMES)
    assert drawn.size == (640, 480)
    assert tuple(pixels(drawn)[300, 161]) == class_colour(0)
    assert draw_detections(Image.new("RGB", (32, 24)), [], [], class_names=NAMES, min_side=0).size == (32, 24)


def test_lines_grow_with_the_image() -> None:
    def line_width(side: int) -> int:
        image = draw_detections(
            Image.new("RGB", (side, side), GREY), [[side / 4] * 2 + [side * 0.75] * 2], [0], class_names=NAMES
        )
        return int((pixels(image)[side // 2, : side // 2] == class_colour(0)).all(axis=1).sum())

    assert line_width(500) < line_width(2000) <= 10


def test_the_best_score_is_drawn_on_top() -> None:
    box = [[100, 100, 300, 300]]
    drawn = draw_detections(
        np.full((500, 500, 3), 128, np.uint8), box * 2, [0, 1], np.array([0.9, 0.3]), class_names=NAMES
    )
    assert tuple(pixels(drawn)[200, 101]) == class_colour(0)


def test_labels_do_not_cover_each_other() -> None:
    box = [100, 200, 300, 300]
    drawn = pixels(draw_detections(np.full((500, 500, 3), 128, np.uint8), [box, box], [0, 1], class_names=NAMES))
    area = [(drawn == class_colour(label)).all(axis=2).sum() for label in (0, 1)]
    alone = pixels(draw_detections(np.full((500, 500, 3), 128, np.uint8), [box], [0], class_names=NAMES))
    lone_area = (alone == class_colour(0)).all(axis=2).sum()
    assert area[1] == pytest.approx(lone_area, rel=0.1)
    assert area[0] > 200  # the frame is hidden, the label of the lower box is not


@pytest.mark.parametrize("box", [[-50, -50, 700, 700], [0, 0, 1, 1], [499, 499, 500, 500], [300, 300, 200, 200]])
def test_boxes_at_and_over_the_edge_are_drawn(box: list[int]) -> None:
    drawn = draw_detections(Image.new("L", (500, 500), 128), [box], [0], [0.5], class_names=("a" * 80,))
    assert (pixels(drawn) == class_colour(0)).all(axis=2).any()


def test_class_colours_differ_and_their_ink_is_readable() -> None:
    colours = [class_colour(label) for label in range(80)]
    assert len(set(colours)) == 80
    first = np.array(colours[:7])
    distances = np.linalg.norm(first[:, None] - first[None], axis=2)
    assert distances[~np.eye(7, dtype=bool)].min() > 55
    assert ink_on((255, 255, 0)) == (0, 0, 0) and ink_on((0, 0, 90)) == (255, 255, 255)


def test_letters_grow_with_the_size_with_and_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    assert font.__wrapped__(20, bold=True).getname() == ("DejaVu Sans", "Bold")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    small, large = (font.__wrapped__(size).getbbox("cat 0.75") for size in (12, 24))
    assert large[2] == pytest.approx(2 * small[2], rel=0.1)
    assert large[3] > small[3]
