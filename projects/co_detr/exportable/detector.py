"""One head of Co-DETR as a module for export: from normalised images to detections."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from brs_detr.mm.ops.nms_keep import NmsKeep
from brs_detr.mm.ops.nms_keep import nms_keep as plain_nms_keep
from co_detr.exportable.candidates import (
    Candidates,
    Stages,
    anchor_candidates,
    join,
    mapped,
    propose_regions,
    query_candidates,
    region_candidates,
)
from co_detr.exportable.layers import ExportablePositions, ExportableWindowAttention, replace_layers


class ExportableCoDETR(nn.Module):
    """Detections of one head of a trained model.

    Args:
        model: a `CoDETR`, which is copied.
        head: ``query``, ``roi`` or ``atss``.
        postprocess: return detections; otherwise, all candidates before NMS and selection.
        nms_keep: NMS as an operator that the exporter translates as a whole; by default, PyTorch operations.
    """

    def __init__(self, model: Any, head: str, *, postprocess: bool = True, nms_keep: NmsKeep | None = None) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        self.model.eval_head = head
        replace_layers(self.model)
        encoder = self.model.encoder
        encoder.positional_encoding = ExportablePositions(encoder.positional_encoding).to(encoder.level_embeds.device)
        self.head, self.postprocess, self.nms_keep = head, postprocess, nms_keep or plain_nms_keep

    @property
    def settings(self) -> Any:
        """Test settings of the head: ``max_per_img`` and, with NMS, ``score_thr`` and ``nms``."""
        return getattr(self.model, f"{self.head}_head").test_cfg

    @property
    def smallest_side(self) -> int:
        """Smallest dynamic side in pixels. Below it, a map is one cell or window, which export makes a constant."""
        has_windows = any(isinstance(module, ExportableWindowAttention) for module in self.modules())
        return 257 if has_windows else 129

    def forward(self, images: Tensor, image_sizes: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Detect.

        Args:
            images: float ``[B, 3, H, W]``, normalised, padded at the right and bottom.
            image_sizes: int64 ``[B, 2]`` (h, w) of each image without padding.

        Returns:
            Boxes ``[B, K, 4]`` (x1, y1, x2, y2) in pixels of ``images``, scores ``[B, K]`` (below 0 for unused entries)
            and labels ``[B, K]``. Detections are sorted by score; candidates are not sorted. The last item contains
            intermediate results by name (see `co_detr.expected_stages`).
        """
        stages = Stages()
        groups = self.candidates(images, image_sizes, stages)
        if not self.postprocess:
            boxes, scores, labels = join(groups)
            return boxes, scores, labels, stages.joined()
        if self.head != "query":
            num_labels = self.model.query_head.num_classes if len(groups) == 1 else 1
            threshold = self.settings["nms"]["iou_threshold"]
            groups = [group.suppressed(self.nms_keep, num_labels, threshold) for group in groups]
        found, places = join(groups).best(self.settings["max_per_img"])
        if hasattr(self.model, "score_map"):
            found, places = mapped(found, places, self.model.score_map)
        stages.add(detections=places)
        return *found, stages.joined()

    def candidates(self, images: Tensor, image_sizes: Tensor, stages: Stages) -> list[Candidates]:
        """Compute the candidates, in groups that do not suppress each other."""
        model = self.model
        encoded = model.encode(images, image_sizes)
        if self.head == "query":
            return [query_candidates(model.query_head, encoded, image_sizes, stages)]
        maps = model.encoder.auxiliary_maps(encoded)
        if self.head == "roi":
            proposals = propose_regions(model.rpn_head, maps, image_sizes, self.nms_keep, stages)
            return region_candidates(model.roi_head, maps, proposals, image_sizes, stages)
        outputs = list(zip(*model.atss_head(maps), strict=True))
        return [join(anchor_candidates(model.atss_head, outputs, image_sizes, self.settings, stages))]
