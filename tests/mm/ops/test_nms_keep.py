from __future__ import annotations

import pytest
import torch
import torchvision

from brs_detr.mm.ops.nms_keep import nms_keep, nms_keep_op


def problem(seed: int, num_images: int = 3, number: int = 50) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(num_images, number, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + 5 + torch.rand(num_images, number, 2, generator=generator) * 40], -1)
    scores = torch.rand(num_images, number, generator=generator)
    scores[torch.rand(num_images, number, generator=generator) < 0.2] = -1
    return boxes, scores, torch.randint(0, 4, (num_images, number), generator=generator)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("run", [nms_keep, nms_keep_op])
def test_each_image_and_label_by_itself(seed: int, run) -> None:
    boxes, scores, labels = problem(seed)
    kept = run(boxes, scores, labels, 4, 0.4)
    for image in range(3):
        there = scores[image] >= 0
        expected = torch.zeros(50, dtype=torch.bool)
        places = there.nonzero()[:, 0]
        chosen = torchvision.ops.batched_nms(boxes[image, there], scores[image, there], labels[image, there], 0.4)
        expected[places[chosen]] = True
        assert torch.equal(kept[image], expected)


def test_what_is_not_there_drops_nothing() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 10]]])
    kept = nms_keep(boxes, torch.tensor([[-1.0, 0.0]]), torch.zeros(1, 2, dtype=torch.long), 1, 0.5)
    assert kept.tolist() == [[False, True]]


def test_it_is_an_operator() -> None:
    torch.library.opcheck(nms_keep_op, (*problem(0), 4, 0.4))
