"""From proposals to those that a second stage trains on."""

from __future__ import annotations

from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures import SampleList
from mmdet.utils import InstanceList


def sample_proposals(head: StandardRoIHead, proposals: InstanceList, samples: SampleList) -> list[SamplingResult]:
    """Assign the proposals of each image to its objects and take those to train on.

    Args:
        head: whose assigner and sampler do it.
        proposals: of each image; their ``bboxes`` (x1, y1, x2, y2), in pixels, become ``priors``.
        samples: of the batch.
    """
    objects, ignored, _ = unpack_gt_instances(samples)
    results = []
    for proposal, gt, left_out in zip(proposals, objects, ignored, strict=True):
        proposal.priors = proposal.pop("bboxes")
        assigned = head.bbox_assigner.assign(proposal, gt, left_out)
        results.append(head.bbox_sampler.sample(assigned, proposal, gt))
    return results
