"""Effect of the number of images that a ranking loss ranks together, as changed by gradient accumulation.

`python benchmarks/ranking_scope.py` trains the demo's model from the same seeds three times:

- `batch`: all images of a batch are ranked together.
- `image`: each image is ranked on its own, and the losses are averaged, as when gradients of single images accumulate.
- `memory`: as `image`, but together with the last images in memory (`ranking_memory`).

Everything else, including normalisation layers, sees the same batch. The result is written to `benchmarks/results`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brs_detr.training.registry import register

register()  # before anything of mmdet is imported

from brs_detr.data.synthetic.shapes import make_shapes  # noqa: E402
from brs_detr.evaluation.evaluate import evaluate  # noqa: E402
from brs_detr.heads.criterion import Targets  # noqa: E402
from brs_detr.heads.ranking import RankingCriterion  # noqa: E402
from brs_detr.heads.ranking_batch import RankingMemory  # noqa: E402
from brs_detr.heads.roi_heads import RankingShared2FCBBoxHead  # noqa: E402
from brs_detr.training.train import train  # noqa: E402
from measuring.results import describe_environment  # noqa: E402

CONFIG = "brs-co-deformable-detr_r18_1xb4-4e_shapes"
SCOPES = ("batch", "image", "memory")


@contextmanager
def ranking_image_by_image(batch_size: int, num_remembered: int) -> Iterator[None]:
    """Rank each image on its own, or with the remembered ones, in every head; average the losses."""
    whole, box_head_loss = RankingCriterion.classify, RankingShared2FCBBoxHead.loss
    proposals: list[int] = []  # numbers per image in the RoI head, the only head where they differ

    def by_image(
        self: RankingCriterion,
        logits: Tensor,
        targets: Targets,
        num_positives: Tensor,
        boxes: Any,
        each: Any,
        name: str,
    ) -> dict[str, Tensor]:
        if self.memory.num_batches != num_remembered:
            self.memory = RankingMemory(num_remembered)
        sizes = proposals or [logits.shape[-2] // batch_size] * batch_size
        labels = targets.labels.split(sizes, -1)
        if boxes[0].shape[:-1] != targets.labels.shape:  # of positives alone
            num_boxes = [int((part < logits.shape[-1]).sum()) for part in labels]
        else:
            num_boxes = sizes
        pairs = zip(*(side.split(num_boxes, -2) for side in boxes), strict=True)
        parts = zip(logits.split(sizes, -2), labels, targets.weights.split(sizes, -1), pairs, strict=True)
        losses = [
            whole(self, part, Targets(*fields, num_positives), num_positives, pair, each, name)
            for part, *fields, pair in parts
        ]
        return {key: torch.stack([loss[key] for loss in losses]).mean(0) for key in losses[0]}

    def with_sizes(self: Any, cls_score: Tensor, bbox_pred: Tensor, rois: Tensor, *args: Any, **kwargs: Any) -> Any:
        proposals[:] = torch.bincount(rois[:, 0].long(), minlength=batch_size).tolist()
        try:
            return box_head_loss(self, cls_score, bbox_pred, rois, *args, **kwargs)
        finally:
            proposals.clear()

    RankingCriterion.classify, RankingShared2FCBBoxHead.loss = by_image, with_sizes  # type: ignore
    try:
        yield
    finally:
        RankingCriterion.classify, RankingShared2FCBBoxHead.loss = whole, box_head_loss  # type: ignore


def measure(scope: str, seed: int, args: argparse.Namespace, data: Path, folder: Path) -> dict[str, Any]:
    """Train with one scope and evaluate the last checkpoint."""
    overrides = [f"train_dataloader.batch_size={args.batch_size}", f"train_cfg.val_interval={args.epochs}"]

    def run() -> Path:
        work_dir = folder / f"{scope}{seed}"
        return train(CONFIG, data, work_dir, seed=seed, epochs=args.epochs, overrides=overrides).last_checkpoint

    if scope == "batch":
        checkpoint = run()
    else:
        with ranking_image_by_image(args.batch_size, args.batch_size - 1 if scope == "memory" else 0):
            checkpoint = run()
    metrics = evaluate(checkpoint, data, "val").metrics
    return {"scope": scope, "seed": seed, "AP": metrics["AP"], "AP50": metrics["AP50"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scopes", nargs="+", choices=SCOPES, default=SCOPES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--train-images", type=int, default=600)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/ranking_scope.json"))
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    setting = {key: getattr(args, key) for key in ("batch_size", "epochs", "train_images")}
    result: dict[str, Any] = {"environment": describe_environment(device), "config": CONFIG, **setting, "records": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_shapes(folder / "data", args.train_images, 200, (160, 160), seed=0)
        for seed in args.seeds:
            for scope in args.scopes:
                result["records"].append(measure(scope, seed, args, folder / "data", folder))
                args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for scope in args.scopes:
        aps = [record["AP"] for record in result["records"] if record["scope"] == scope]
        print(f"{scope:<8} AP {statistics.mean(aps):.3f}  from {min(aps):.3f} to {max(aps):.3f}")


if __name__ == "__main__":
    main()
