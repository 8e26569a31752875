"""Small images with random objects."""

from __future__ import annotations

import official_models
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

SIZE = (64, 96)
META = dict(img_shape=SIZE, pad_shape=SIZE, batch_input_shape=SIZE, ori_shape=SIZE, scale_factor=(1.0, 1.0))


def make_samples(*counts: int) -> list[DetDataSample]:
    """One image for each count of objects."""
    samples = []
    for count in counts:
        corner = torch.rand(count, 2) * 30
        boxes = torch.cat([corner, corner + 8 + torch.rand(count, 2) * 30], 1)
        gt = InstanceData(bboxes=boxes, labels=torch.randint(0, official_models.NUM_CLASSES, (count,)))
        samples.append(DetDataSample(metainfo=dict(META), gt_instances=gt))
    return samples
