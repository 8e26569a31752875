"""A dataset of two images and two classes, and detections on it."""

from __future__ import annotations

from typing import Any


def dataset(*boxes: tuple[int, int, list[float]], crowd: int = 0) -> dict[str, Any]:
    """Two images and the classes 3 "cat" and 9 "dog"; a box is (image, category, x y w h)."""
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": category,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": crowd,
        }
        for number, (image, category, box) in enumerate(boxes, start=1)
    ]
    return {
        "images": [{"id": 7, "width": 64, "height": 64}, {"id": 8, "width": 64, "height": 64}],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}],
    }


def found(image: int, category: int, box: list[float], score: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


BOX = [10.0, 10.0, 20.0, 20.0]
ELSEWHERE = [40.0, 40.0, 20.0, 20.0]
