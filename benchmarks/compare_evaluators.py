"""Compare faster evaluators with pycocotools, in all numbers, on random datasets of several kinds.

Run `pip install faster-coco-eval hotcoco`, then `python benchmarks/compare_evaluators.py`. The result is written to
`benchmarks/results`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from measuring.results import describe_environment

KINDS = ("plain", "crowds", "tied scores", "more than 100 detections", "empty images and classes", "areas of masks")
Evaluate = Callable[[dict[str, Any], list[dict[str, Any]]], tuple[np.ndarray, np.ndarray]]


def make_case(kind: str, seed: int, num_images: int, num_classes: int = 8) -> tuple[dict[str, Any], list[dict]]:
    """Make a COCO dataset of a kind, and detections near its objects."""
    random = np.random.default_rng(seed)
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 640, "height": 480} for n in range(1, num_images + 1)]
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in images:
        if kind == "empty images and classes" and random.random() < 0.4:
            continue
        for _ in range(random.integers(1, 9)):
            x, y, w, h = *random.uniform(0, 400, 2), *np.exp(random.uniform(1.5, 5.5, 2))
            category = int(random.integers(1, num_classes if kind == "empty images and classes" else num_classes + 1))
            is_crowd = int(kind == "crowds" and random.random() < 0.25)
            area = w * h * (random.uniform(0.3, 0.9) if kind == "areas of masks" else 1)
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image["id"], "category_id": category, "area": area}
                | {"bbox": [x, y, w, h], "iscrowd": is_crowd}
            )
            for _ in range(60 if kind == "more than 100 detections" else random.integers(0, 5)):
                box = (np.array([x, y, w, h]) + random.normal(0, 0.15, 4) * [w, h, w, h]).clip(1)
                score = random.integers(1, 20) / 20 if kind == "tied scores" else random.random()
                called = category if random.random() < 0.8 else int(random.integers(1, num_classes + 1))
                results.append({"image_id": image["id"], "category_id": called, "bbox": box.tolist(), "score": score})
    categories = [{"id": n, "name": f"class {n}"} for n in range(1, num_classes + 1)]
    return {"images": images, "annotations": annotations, "categories": categories, "info": {}}, results


def evaluate_with(make_coco: Callable[[dict[str, Any]], Any], evaluation_class: Any) -> Evaluate:
    """Wrap an evaluator with the interface of pycocotools: returns its 12 metrics and its precision arrays."""

    def evaluate(dataset: dict[str, Any], results: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        with contextlib.redirect_stdout(io.StringIO()):
            truth = make_coco(dataset)
            evaluation = evaluation_class(truth, truth.loadRes([dict(entry) for entry in results]), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return np.asarray(evaluation.stats)[:12], np.asarray(evaluation.eval["precision"])

    return evaluate


def indexed(coco_class: Any) -> Callable[[dict[str, Any]], Any]:
    """Return a function that makes a COCO object with the interface of pycocotools from a dataset."""

    def make(dataset: dict[str, Any]) -> Any:
        coco = coco_class()
        coco.dataset = dataset
        coco.createIndex()
        return coco

    return make


def evaluators() -> dict[str, Evaluate]:
    """Return pycocotools and the other evaluators that are installed."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    found = {"pycocotools": evaluate_with(indexed(COCO), COCOeval)}
    with contextlib.suppress(ImportError):
        import faster_coco_eval

        found["faster-coco-eval"] = evaluate_with(indexed(faster_coco_eval.COCO), faster_coco_eval.COCOeval_faster)
    with contextlib.suppress(ImportError):
        import hotcoco

        found["hotcoco"] = evaluate_with(hotcoco.COCO, hotcoco.COCOeval)
    return found


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest difference, infinite if the shapes differ."""
    return float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else float("inf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/evaluators_amd-epyc.json"))
    args = parser.parse_args()
    found = evaluators()
    records = []
    for kind in KINDS:
        for seed in range(args.seeds):
            case, numbers = make_case(kind, seed, args.images), {}
            for name, evaluate in found.items():
                started = time.perf_counter()
                try:
                    numbers[name] = evaluate(*case)
                except Exception as error:
                    records.append({"evaluator": name, "kind": kind, "seed": seed, "failure": str(error)[:200]})
                    continue
                seconds = time.perf_counter() - started
                (stats, precision), (own_stats, own_precision) = numbers[name], numbers["pycocotools"]
                records.append(
                    {"evaluator": name, "kind": kind, "seed": seed, "seconds": seconds}
                    | {"stats_differ_by": difference(own_stats, stats)}
                    | {"precision_differs_by": difference(own_precision, precision)}
                )
    for name in found:
        rows = [record for record in records if record["evaluator"] == name]
        measured = [row for row in rows if "failure" not in row]
        worst = max(
            (max(row["stats_differ_by"], row["precision_differs_by"]) for row in measured), default=float("nan")
        )
        total = sum(row["seconds"] for row in measured)
        print(f"{name:<18} {len(measured)} of {len(rows)} cases, differs by at most {worst:.3g}, {total:.1f} s")
    result = {
        "environment": describe_environment(torch.device("cpu")),
        "versions": {name: version(name) for name in found},
        "records": records,
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
