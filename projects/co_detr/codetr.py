"""The detector: image -> features -> queries -> heads -> losses."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, get_args

from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor, nn

from brs_detr.errors import UserError
from brs_detr.mm.ops.nms_keep import NmsKeep
from co_detr.official_checkpoint import rename_state_dict
from co_detr.query_head import class_agnostic

if TYPE_CHECKING:
    from co_detr.expected_stages import ExpectedStages

EvalHead = Literal["query", "roi", "atss"]


class CoDETR(BaseDetector):
    """Co-DETR: a query detector trained together with one-to-many heads on its encoder's features.

    The positives of the one-to-many heads also enter the decoder, as extra queries in training. Any head can be
    evaluated: by default the query head.

    Args:
        backbone, neck: configs; the neck gives as many maps as the transformer has levels.
        query_head: config of `CoDeformDETRHead`.
        rpn_head, roi_head: configs of Faster R-CNN's stages; both or neither.
        atss_head: config of `CoATSSHead`, or none.
        eval_head: head that `predict` uses: ``query``, ``roi`` or ``atss``.
        train_cfg: parts ``query``, ``rpn``, ``rpn_proposal``, ``rcnn``, ``atss``.
        test_cfg: parts ``query``, ``rpn``, ``rcnn``, ``atss``.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        query_head: dict,
        rpn_head: dict | None = None,
        roi_head: dict | None = None,
        atss_head: dict | None = None,
        eval_head: EvalHead = "query",
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.train_cfg, self.test_cfg = train_cfg or {}, test_cfg or {}
        self.backbone = MODELS.build(backbone)
        channels = getattr(self.backbone, "out_channels", None)
        if channels is not None and list(channels) != list(neck["in_channels"]):
            raise UserError(
                f"The backbone gives maps of {list(channels)} channels, the neck takes {list(neck['in_channels'])}.",
                f"Set model.neck.in_channels={list(channels)}.",
            )
        self.neck = MODELS.build(neck)
        self.query_head = self._build_head(query_head, "query")
        if (rpn_head is None) != (roi_head is None):
            raise ValueError("rpn_head and roi_head belong together: give both or neither")
        self.rpn_head = self._build_head(rpn_head, "rpn")
        self.roi_head = self._build_head(roi_head, "rcnn")
        self.atss_head = self._build_head(atss_head, "atss")
        self.eval_head = eval_head

    def _build_head(self, config: dict | None, part: str):
        if config is None:
            return None
        return MODELS.build({"train_cfg": self.train_cfg.get(part), "test_cfg": self.test_cfg.get(part), **config})

    @property
    def eval_head(self) -> EvalHead:
        """The head that `predict` uses."""
        return self._eval_head

    @eval_head.setter
    def eval_head(self, name: EvalHead) -> None:
        if name not in get_args(EvalHead):
            raise ValueError(f"eval_head is one of {', '.join(get_args(EvalHead))}, not {name!r}")
        if getattr(self, f"{name}_head") is None:
            raise ValueError(f"this model was built without a {name} head")
        self._eval_head = name

    @property
    def class_agnostic_layers(self) -> tuple[str, ...]:
        """Layers with a row a class in which row 0 stands for any object: the branch that scores proposals."""
        return (f"query_head.cls_branches.{len(self.query_head.cls_branches) - 1}.",)

    @staticmethod
    def own_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of the official code (mmdet 2.25) under the names of this package."""
        return rename_state_dict(state_dict)

    def exportable(self, head: EvalHead, *, postprocess: bool = True, nms_keep: NmsKeep | None = None) -> nn.Module:
        """One head as a model of tensors for any image size, see `co_detr.exportable.detector.ExportableCoDETR`."""
        from co_detr.exportable.detector import ExportableCoDETR

        return ExportableCoDETR(self, head, postprocess=postprocess, nms_keep=nms_keep)

    def expected_stages(self, images: Tensor, image_size: Tensor) -> ExpectedStages:
        """What the stages of ``exportable(eval_head)`` must be on copies of an image, see `co_detr.expected_stages`."""
        from co_detr.expected_stages import ExpectedStages

        return ExpectedStages(self, images, image_size)

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Maps ``[B, C, h, w]`` of the images ``[B, 3, H, W]``, finest first."""
        return self.neck(self.backbone(batch_inputs))

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor | list[Tensor]]:
        """Losses of all heads; those of the RoI and ATSS heads begin with ``roi.`` and ``atss.``."""
        encoded = self.query_head.encode(self.extract_feat(batch_inputs), batch_data_samples)
        maps = self.query_head.feature_maps(encoded)
        losses: dict[str, Tensor | list[Tensor]] = {}
        head_samples = []
        if self.roi_head is not None:
            rpn_losses, proposals = self.rpn_head.loss_and_predict(
                maps, class_agnostic_samples(batch_data_samples), proposal_cfg=self.train_cfg["rpn_proposal"]
            )
            roi_losses, roi_samples = self.roi_head.loss(maps, proposals, batch_data_samples)
            losses |= rpn_losses | {f"roi.{name}": loss for name, loss in roi_losses.items()}
            head_samples.append(roi_samples)
        if self.atss_head is not None:
            atss_losses, atss_samples = self.atss_head.loss(maps, batch_data_samples)
            losses |= {f"atss.{name}": loss for name, loss in atss_losses.items()}
            head_samples.append(atss_samples)
        return self.query_head.loss(encoded, head_samples, batch_data_samples) | losses

    def predict(self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True) -> SampleList:
        """Add ``pred_instances`` (boxes x1, y1, x2, y2 in pixels, scores, labels) to every sample.

        Args:
            batch_inputs: ``[B, 3, H, W]`` normalised images.
            batch_data_samples: of the batch.
            rescale: give boxes in pixels of the original image.
        """
        encoded = self.query_head.encode(self.extract_feat(batch_inputs), batch_data_samples)
        if self.eval_head == "query":
            results = self.query_head.predict(encoded, batch_data_samples, rescale=rescale)
        elif self.eval_head == "atss":
            maps = self.query_head.feature_maps(encoded)
            results = self.atss_head.predict(maps, batch_data_samples, rescale=rescale)
        else:
            maps = self.query_head.feature_maps(encoded)
            proposals = self.rpn_head.predict(maps, batch_data_samples, rescale=False)
            results = self.roi_head.predict(maps, proposals, batch_data_samples, rescale=rescale)
        return self.add_pred_to_datasample(batch_data_samples, results)

    def _forward(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> tuple[Tensor, Tensor]:
        """Logits ``[L, B, Q, num_classes]`` and boxes ``[L, B, Q, 4]`` of the query head."""
        encoded = self.query_head.encode(self.extract_feat(batch_inputs), batch_data_samples)
        head = self.query_head
        queries = head.transformer.select_queries(head.propose(encoded), head.query_embedding.weight)
        return head.decode(queries, encoded)


def class_agnostic_samples(samples: SampleList) -> SampleList:
    """The samples with every object of class 0, for the RPN."""
    copies = [copy.copy(sample) for sample in samples]
    for sample in copies:
        sample.gt_instances = class_agnostic(sample.gt_instances)
    return copies
