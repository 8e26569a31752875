"""The detector: backbone -> neck -> encoder -> (auxiliary heads | query head with its decoder) -> criteria."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor, nn

from brs_detr.errors import UserError
from brs_detr.mm.ops.nms_keep import NmsKeep
from co_detr.encoder import EncodedFeatures, Encoder
from co_detr.expected_stages import ExpectedStages
from co_detr.exportable.detector import ExportableCoDETR
from co_detr.official_checkpoint import rename_older, rename_state_dict
from co_detr.query_head import class_agnostic, image_sizes

EvalHead = Literal["query", "roi", "atss"]


class CoDETR(BaseDetector):
    """Co-DETR: a query detector trained jointly with one-to-many heads on the features of its encoder.

    During training, the positives of the one-to-many heads become additional decoder queries. Any head can predict; the
    query head does by default.

    Args:
        backbone, neck: configs. The neck must return one map per encoder level.
        query_head: config of `CoDeformDETRHead`. Its ``transformer`` contains the arguments of `Encoder` and decoder.
        rpn_head, roi_head: configs of the two stages of Faster R-CNN; give both or neither.
        atss_head: config of `CoATSSHead`, optional.
        eval_head: head used by `predict`: ``query``, ``roi`` or ``atss``.
        train_cfg: training settings by part: ``query``, ``rpn``, ``rpn_proposal``, ``rcnn``, ``atss``.
        test_cfg: test settings by head: ``query``, ``rpn``, ``rcnn``, ``atss``.
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
                f"The backbone returns maps with {list(channels)} channels; the neck expects "
                f"{list(neck['in_channels'])}.",
                f"Set model.neck.in_channels={list(channels)}.",
            )
        self.neck = MODELS.build(neck)
        encoder, query_head = split_transformer(query_head)
        self.encoder = Encoder(**encoder)
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
        """Head used by `predict`."""
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
        """Classification layers in which row 0 stands for any object: the branch that scores proposals."""
        return (f"query_head.cls_branches.{len(self.query_head.cls_branches) - 1}.",)

    @staticmethod
    def own_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename weights of the official code (mmdet 2.25), or of older checkpoints, to the names of this package."""
        return rename_state_dict(state_dict)

    def exportable(self, head: EvalHead, *, postprocess: bool = True, nms_keep: NmsKeep | None = None) -> nn.Module:
        """Return one head as a module of tensors for any image size; see `ExportableCoDETR`."""
        return ExportableCoDETR(self, head, postprocess=postprocess, nms_keep=nms_keep)

    def expected_stages(self, images: Tensor, image_size: Tensor) -> ExpectedStages:
        """Compute the expected stages of ``exportable(eval_head)`` on copies of an image; see `ExpectedStages`."""
        return ExpectedStages(self, images, image_size)

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute feature maps ``[B, C, h, w]`` of images ``[B, 3, H, W]``, finest first."""
        return self.neck(self.backbone(batch_inputs))

    def encode(self, batch_inputs: Tensor, image_sizes: Tensor) -> EncodedFeatures:
        """Encode images ``[B, 3, H, W]``; ``image_sizes [B, 2]`` are (h, w) in pixels without padding."""
        return self.encoder(self.extract_feat(batch_inputs), image_sizes, batch_inputs.shape[2:])

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor | list[Tensor]]:
        """Compute the losses of all heads. Those of the RoI and ATSS heads are prefixed with ``roi.`` and ``atss.``."""
        encoded = self._encode(batch_inputs, batch_data_samples)
        maps = self.encoder.auxiliary_maps(encoded)
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
        """Add ``pred_instances`` (boxes x1, y1, x2, y2 in pixels, scores, labels) to each sample.

        Args:
            batch_inputs: ``[B, 3, H, W]`` normalised images.
            batch_data_samples: metadata of the images.
            rescale: return boxes in pixels of the original images.
        """
        encoded = self._encode(batch_inputs, batch_data_samples)
        if self.eval_head == "query":
            results = self.query_head.predict(encoded, batch_data_samples, rescale=rescale)
        else:
            maps = self.encoder.auxiliary_maps(encoded)
            if self.eval_head == "atss":
                results = self.atss_head.predict(maps, batch_data_samples, rescale=rescale)
            else:
                proposals = self.rpn_head.predict(maps, batch_data_samples, rescale=False)
                results = self.roi_head.predict(maps, proposals, batch_data_samples, rescale=rescale)
        return self.add_pred_to_datasample(batch_data_samples, results)

    def _encode(self, batch_inputs: Tensor, samples: SampleList) -> EncodedFeatures:
        return self.encode(batch_inputs, torch.tensor(image_sizes(samples), device=batch_inputs.device))

    def _forward(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> tuple[Tensor, Tensor]:
        """Return logits ``[L, B, Q, num_classes]`` and boxes ``[L, B, Q, 4]`` of the query head."""
        encoded = self._encode(batch_inputs, batch_data_samples)
        proposals = self.query_head.propose(encoded)
        inds = self.query_head.best_proposals(proposals)
        return self.query_head.decode(self.query_head.queries_at(inds, proposals), encoded)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        rename_older(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *others)


def split_transformer(query_head: dict) -> tuple[dict, dict]:
    """Split the config of the query head, whose ``transformer`` also contains the arguments of `Encoder`.

    Returns:
        The arguments of `Encoder`, and the config of the query head without them.
    """
    encoder = dict(query_head["transformer"])
    own = {name: encoder.pop(name) for name in ("decoder", "num_auxiliary_heads") if name in encoder}
    return {**encoder.pop("encoder"), **encoder}, {**query_head, "transformer": own}


def class_agnostic_samples(samples: SampleList) -> SampleList:
    """Copy the samples with all objects in class 0, as targets of the RPN."""
    copies = [copy.copy(sample) for sample in samples]
    for sample in copies:
        sample.gt_instances = class_agnostic(sample.gt_instances)
    return copies
