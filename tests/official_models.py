"""The official code's two reduced models: our configs of them, their weights, and their inputs."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import co_detr  # noqa: F401  # isort: skip  registers the models, and prepares mmdet to be imported
import numpy as np
import torch
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from safetensors.torch import load, load_file

from co_detr.official_checkpoint import rename_state_dict

WIDTH = 64
NUM_CLASSES = 5
STRIDES = [8, 16, 32, 64, 128]

BACKBONE = dict(
    type="ResNet",
    depth=50,
    num_stages=4,
    base_channels=8,
    out_indices=(1, 2, 3),
    frozen_stages=1,
    norm_cfg=dict(type="BN", requires_grad=False),
    norm_eval=True,
    style="pytorch",
)
NECK = dict(
    type="ChannelMapper",
    in_channels=[64, 128, 256],
    kernel_size=1,
    out_channels=WIDTH,
    act_cfg=None,
    norm_cfg=dict(type="GN", num_groups=32),
    num_outs=4,
)
ATTENTION = dict(embed_dims=WIDTH, num_levels=4, dropout=0.0)
FFN = dict(embed_dims=WIDTH, feedforward_channels=64, ffn_drop=0.0)
TRANSFORMER = dict(
    positional_encoding=dict(num_feats=WIDTH // 2, normalize=True, offset=-0.5),
    encoder=dict(num_layers=2, layer_cfg=dict(self_attn_cfg=ATTENTION, ffn_cfg=FFN)),
    decoder=dict(
        num_layers=2,
        post_norm_cfg=None,
        layer_cfg=dict(self_attn_cfg=dict(embed_dims=WIDTH, num_heads=8), cross_attn_cfg=ATTENTION, ffn_cfg=FFN),
    ),
)
FOCAL = dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25)
IOU_ASSIGNER = dict(type="MaxIoUAssigner", ignore_iof_thr=-1)


def bucketed(weight: float) -> dict:
    return dict(type="BucketedRankSortLoss", delta=0.5, loss_weight=weight)


def model_config(name: str) -> ConfigDict:
    """The config of ``codetr`` (plain) or ``brs``, which repeats every official behaviour."""
    brs = name == "brs"
    zero_iou = dict(zero_iou_is_negative=True) if brs else {}
    constant = dict(constant_without_positives=True) if brs else {}
    coder = dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2])
    config = dict(
        type="CoDETR",
        backbone=BACKBONE,
        neck=NECK,
        query_head=dict(
            type="RankingCoDeformDETRHead" if brs else "CoDeformDETRHead",
            num_classes=NUM_CLASSES,
            embed_dims=WIDTH,
            num_queries=50,
            sync_cls_avg_factor=True,
            transformer=TRANSFORMER,
            loss_cls=bucketed(2.0) if brs else dict(FOCAL, loss_weight=2.0),
            loss_bbox=dict(type="L1Loss", loss_weight=5.0),
            loss_iou=dict(type="GIoULoss", loss_weight=2.0),
            **zero_iou,
        ),
        rpn_head=dict(
            type="RankingRPNHead" if brs else "RPNHead",
            in_channels=WIDTH,
            feat_channels=WIDTH,
            anchor_generator=dict(
                type="AnchorGenerator",
                octave_base_scale=4,
                scales_per_octave=3,
                ratios=[0.5, 1.0, 2.0],
                strides=STRIDES,
            ),
            bbox_coder=dict(coder, target_stds=[1.0] * 4),
            loss_cls=bucketed(1.0) if brs else dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=12.0),
            loss_bbox=dict(type="GIoULoss" if brs else "L1Loss", loss_weight=12.0),
            **(dict(shrink_box_frame=True) if brs else {}),
            **zero_iou,
            **constant,
        ),
        roi_head=dict(
            type="CoRoIHead",
            bbox_roi_extractor=dict(
                type="SingleRoIExtractor",
                roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=0),
                out_channels=WIDTH,
                featmap_strides=STRIDES[:4],
                finest_scale=112,
            ),
            bbox_head=dict(
                type="RankingShared2FCBBoxHead" if brs else "Shared2FCBBoxHead",
                in_channels=WIDTH,
                fc_out_channels=32,
                roi_feat_size=7,
                num_classes=NUM_CLASSES,
                bbox_coder=coder,
                reg_class_agnostic=False,
                reg_decoded_bbox=True,
                loss_cls=bucketed(5.0) if brs else dict(type="CrossEntropyLoss", loss_weight=12.0),
                loss_bbox=dict(type="GIoULoss", loss_weight=120.0),
                **zero_iou,
                **constant,
            ),
        ),
        atss_head=dict(
            type="RankingCoATSSHead" if brs else "CoATSSHead",
            num_classes=NUM_CLASSES,
            in_channels=WIDTH,
            feat_channels=WIDTH,
            stacked_convs=1,
            anchor_generator=dict(
                type="AnchorGenerator", ratios=[1.0], octave_base_scale=8, scales_per_octave=1, strides=STRIDES
            ),
            bbox_coder=coder,
            loss_cls=bucketed(5.0) if brs else dict(FOCAL, loss_weight=12.0),
            loss_bbox=dict(type="GIoULoss", loss_weight=24.0),
            **({} if brs else dict(loss_centerness=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=12.0))),
            **zero_iou,
        ),
        train_cfg=train_config(brs),
        test_cfg=dict(
            query=dict(max_per_img=100),
            rpn=dict(nms_pre=1000, max_per_img=1000, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0),
            rcnn=dict(score_thr=0.0, nms=dict(type="nms", iou_threshold=0.5), max_per_img=100),
            atss=dict(nms_pre=1000, score_thr=0.0, nms=dict(type="nms", iou_threshold=0.6), max_per_img=100),
        ),
    )
    return ConfigDict(config)


def train_config(brs: bool) -> dict:
    def sampler(**random_sampler):
        return dict(type="PseudoSampler") if brs else dict(type="RandomSampler", neg_pos_ub=-1, **random_sampler)

    return dict(
        query=dict(
            assigner=dict(
                type="HungarianAssigner",
                match_costs=[
                    dict(type="FocalLossCost", weight=4.0 if brs else 2.0),
                    dict(type="BBoxL1Cost", weight=5.0, box_format="xywh"),
                    dict(type="IoUCost", iou_mode="giou", weight=2.0),
                ],
            )
        ),
        rpn=dict(
            assigner=dict(IOU_ASSIGNER, pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3, match_low_quality=True),
            sampler=sampler(num=256, pos_fraction=0.5, add_gt_as_proposals=False),
            allowed_border=-1,
            pos_weight=-1,
        ),
        rpn_proposal=dict(
            nms_pre=4000,
            max_per_img=4000 if brs else 1000,
            nms=dict(type="nms", iou_threshold=0.7),
            min_bbox_size=-1 if brs else 0,  # the official ranking RPN keeps boxes clipped to nothing
        ),
        rcnn=dict(
            assigner=dict(IOU_ASSIGNER, pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=False),
            sampler=sampler(num=512, pos_fraction=0.25, add_gt_as_proposals=True),
            pos_weight=-1,
        ),
        atss=dict(assigner=dict(type="ATSSAssigner", topk=9), allowed_border=-1, pos_weight=-1),
    )


def promote_to_float64(monkeypatch) -> None:
    """Make code that asks for float32 by name compute in float64, as the reference run did, and sampling regular."""
    monkeypatch.setattr(torch, "float32", torch.float64)
    monkeypatch.setattr(torch, "float", torch.float64)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    monkeypatch.setattr(AnchorGenerator.grid_priors, "__defaults__", (torch.float64, "cpu"))
    monkeypatch.setattr(torch, "randperm", lambda n, **kwargs: torch.arange(n, device=kwargs.get("device")))


def build_model(name: str, folder: Path) -> torch.nn.Module:
    """Our model with the official weights, in float64."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        model = MODELS.build(model_config(name)).double()
    finally:
        torch.set_default_dtype(default)
    model.load_state_dict(rename_state_dict(read_weights(folder / name)), strict=True)
    return model


DATALOADER = """dict(dataset=dict(type='CocoFolderDataset', ann_file='', data_prefix=dict(img=''), pipeline=[
    dict(type='LoadImage'),
    dict(type='Resize', scale_factor=1.0, keep_ratio=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]))
"""


def save_official(golden: Path, name: str, folder: Path) -> tuple[Path, Path]:
    """An official reduced model as mmdet 2 would save it, in float64, and a config for it that keeps image sizes."""
    path, config = folder / f"{name}.pth", folder / f"{name}.py"
    meta = {"CLASSES": tuple("abcde"), "mmdet_version": "2.25.3"}
    torch.save({"meta": meta, "state_dict": read_weights(golden / name)}, path)
    preprocessor = dict(type="DetDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
    model = model_config(name).to_dict() | {"data_preprocessor": preprocessor}
    config.write_text(
        f"_base_ = 'mmdet::_base_/default_runtime.py'\nmodel = {model!r}\n"
        f"train_dataloader = val_dataloader = test_dataloader = {DATALOADER}"
        "optim_wrapper = dict()\ntrain_cfg = dict()\n"
    )
    return path, config


def read_tensors(folder: Path, stem: str) -> dict[str, torch.Tensor]:
    """A safetensors file, compressed in the repository and plain in the full reference folder."""
    compressed = folder / f"{stem}.safetensors.xz"
    if compressed.exists():
        return load(lzma.decompress(compressed.read_bytes()))
    return load_file(folder / f"{stem}.safetensors")


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Official names and values; stored as float16, which holds them exactly."""
    weights = read_tensors(folder, "weights")
    return {key: value.double() if value.is_floating_point() else value for key, value in weights.items()}


def read_images(folder: Path) -> torch.Tensor:
    """The two normalised images ``[2, 3, 260, 330]``; the repository holds 32 times their values, integers."""
    if (folder / "images.npz").exists():
        return torch.from_numpy(np.load(folder / "images.npz")["images"]).double()
    return read_tensors(folder, "images")["images"].double() / 32


def read_samples(folder: Path, batch: str | None = None) -> list[DetDataSample]:
    """Data samples of the two images, with the objects of a batch."""
    data = json.loads((folder / "batches.json").read_text())
    samples = []
    for index, meta in enumerate(data["img_metas"]):
        sample = DetDataSample(
            metainfo=dict(
                img_shape=tuple(meta["img_shape"][:2]),
                pad_shape=tuple(meta["pad_shape"][:2]),
                ori_shape=tuple(meta["ori_shape"][:2]),
                scale_factor=tuple(meta["scale_factor"][:2]),
                batch_input_shape=tuple(meta["batch_input_shape"]),
            )
        )
        if batch is not None:
            objects = data["batches"][batch][index]
            sample.gt_instances = InstanceData(
                bboxes=torch.tensor(objects["gt_bboxes"], dtype=torch.float64).reshape(-1, 4),
                labels=torch.tensor(objects["gt_labels"], dtype=torch.long),
            )
        samples.append(sample)
    return samples
