"""One head of Co-DETR: from normalised images to detections."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from brs_detr.mm.ops.nms_keep import NmsKeep
from brs_detr.mm.ops.nms_keep import nms_keep as plain_nms_keep
from co_detr.codetr import CoDETR, EvalHead
from co_detr.exportable.anchors import anchor_candidates, propose_regions
from co_detr.exportable.attention import replace_attention
from co_detr.exportable.candidates import Candidates, join, mapped
from co_detr.exportable.positions import ExportablePositions
from co_detr.exportable.queries import query_candidates
from co_detr.exportable.regions import region_candidates
from co_detr.exportable.shifted_windows import ExportableWindowAttention, replace_window_attention
from co_detr.exportable.stages import Stages


class ExportableCoDETR(nn.Module):
    """What one head of a trained model finds.

    Args:
        model: its weights are copied.
        head: ``query``, ``roi`` or ``atss``.
        postprocess: return the detections; otherwise all candidates for them.
        nms_keep: the same as one operator, to be translated as a whole; by default in PyTorch's operations.
    """

    def __init__(
        self, model: CoDETR, head: EvalHead, *, postprocess: bool = True, nms_keep: NmsKeep | None = None
    ) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        self.model.eval_head = head
        replace_attention(self.model)
        replace_window_attention(self.model)
        transformer = self.model.query_head.transformer
        positions = ExportablePositions(transformer.positional_encoding)
        transformer.positional_encoding = positions.to(transformer.level_embeds.device)
        self.head, self.postprocess, self.nms_keep = head, postprocess, nms_keep or plain_nms_keep

    @property
    def settings(self) -> Any:
        """Of the head: ``max_per_img`` and, where it suppresses, ``score_thr`` and ``nms``."""
        return getattr(self.model, f"{self.head}_head").test_cfg

    @property
    def smallest_side(self) -> int:
        """In pixels, of images of any size: below it a map is a single cell or window, a constant to PyTorch."""
        has_windows = any(isinstance(module, ExportableWindowAttention) for module in self.modules())
        return 257 if has_windows else 129

    def forward(self, images: Tensor, image_sizes: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Detect.

        Args:
            images: float ``[B, 3, H, W]``, normalised, padded at the right and below.
            image_sizes: int64 ``[B, 2]`` (h, w) of each image without its padding.

        Returns:
            Boxes ``[B, K, 4]`` (x1, y1, x2, y2) in pixels of ``images``, scores ``[B, K]``, below 0 where there is
            nothing, and labels ``[B, K]``; detections are in the order of their scores, candidates in any. At last what
            was computed on the way, by name (see `co_detr.expected_stages`).
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
        """Pairs of a box and a class, in groups that do not suppress each other."""
        model, query_head = self.model, self.model.query_head
        encoded = query_head.transformer.encode(model.extract_feat(images), image_sizes, images.shape[2:])
        if self.head == "query":
            return [query_candidates(query_head, encoded, image_sizes, stages)]
        maps = query_head.feature_maps(encoded)
        if self.head == "roi":
            proposals = propose_regions(model.rpn_head, maps, image_sizes, self.nms_keep, stages)
            return region_candidates(model.roi_head, maps, proposals, image_sizes, stages)
        outputs = list(zip(*model.atss_head(maps), strict=True))
        return [join(anchor_candidates(model.atss_head, outputs, image_sizes, self.settings, stages))]
