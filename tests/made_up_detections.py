"""Datasets and detections for tests: made by hand, or at random."""

from __future__ import annotations

from typing import Any

import numpy as np

Dataset = dict[str, Any]
Results = list[dict[str, Any]]


def dataset_of(objects: list[tuple[int, int, list[float]]], num_images: int = 1, num_classes: int = 2) -> Dataset:
    """Objects are (image id, class from 1, box x, y, w, h)."""
    return {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 200, "height": 200} for n in range(1, num_images + 1)],
        "categories": [{"id": n, "name": f"class {n}"} for n in range(1, num_classes + 1)],
        "annotations": [
            {"id": n, "image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for n, (image, category, box) in enumerate(objects, 1)
        ],
    }


def found(image: int, category: int, box: list[float], score: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def random_case(seed: int, num_images: int = 12, num_classes: int = 4) -> tuple[Dataset, Results]:
    """Objects, some in crowds, and detections near them or anywhere, with tied scores; the last class has no object."""
    random = np.random.default_rng(seed)

    def box() -> list[float]:
        x, y = random.uniform(0, 120, 2)
        w, h = random.uniform(8, 80, 2)
        return [x, y, w, h]

    objects = [
        (image, int(random.integers(1, num_classes)), box())
        for image in range(1, num_images + 1)
        for _ in range(random.integers(0, 6))
    ]
    dataset = dataset_of(objects, num_images, num_classes)
    results = []
    for annotation in dataset["annotations"]:
        annotation["iscrowd"] = int(random.random() < 0.1)
        for _ in range(random.integers(0, 4)):
            moved = (np.array(annotation["bbox"]) + random.normal(0, random.choice([1, 8, 30]), 4)).clip(1)
            is_right = random.random() < 0.75
            category = annotation["category_id"] if is_right else int(random.integers(1, num_classes + 1))
            results.append(found(annotation["image_id"], category, moved.tolist(), float(random.integers(1, 40)) / 40))
    for _ in range(num_images):
        category, score = int(random.integers(1, num_classes + 1)), float(random.random())
        results.append(found(int(random.integers(1, num_images + 1)), category, box(), score))
    return dataset, results
