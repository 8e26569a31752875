"""Co-DETR as a graph of tensors gives the bits of the model."""

from __future__ import annotations

import logging

import official_models
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample

from brs_detr.exporting.program import export_program

SIZES = [(200, 230), (150, 260)]
SMALL_SIZES = [[(8, 8)] * 3, [(8, 64), (8, 60)], [(60, 8), (64, 8)], [(17, 33)]]  # tokens of the padding would tie


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


def build(name: str, **changes):
    config = official_models.model_config(name)
    for key, value in changes.items():
        config.pop(key)
        config[key] = value
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.init_weights()
    return model.eval().double()  # in which no two scores are near enough for rounding to choose between them


def swin_backbone() -> dict:
    return dict(
        type="SwinTransformer",
        embed_dims=8,
        depths=[1, 1, 2, 2],
        num_heads=[1, 2, 2, 4],
        window_size=7,
        out_indices=(1, 2, 3),
    )


def batch(sizes: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    height, width = (max(side) for side in zip(*sizes, strict=True))
    images = torch.randn(len(sizes), 3, height, width, generator=torch.Generator().manual_seed(1)).double()
    for image, (h, w) in zip(images, sizes, strict=True):
        image[:, h:] = 0
        image[:, :, w:] = 0
    return images, torch.tensor(sizes)


def predicted(model, head: str, images: torch.Tensor, sizes: torch.Tensor) -> list:
    model.eval_head = head
    shape = tuple(images.shape[2:])
    samples = [
        DetDataSample(metainfo=dict(img_shape=tuple(size), batch_input_shape=shape, scale_factor=(1.0, 1.0)))
        for size in sizes.tolist()
    ]
    with torch.inference_mode():
        return [sample.pred_instances for sample in model.predict(images, samples)]


def assert_same(outputs, expected: list) -> None:
    for boxes, scores, labels, instances in zip(*outputs[:3], expected, strict=True):
        kept = scores >= 0
        assert kept.sum() == len(instances)
        order = instances.scores.sort(descending=True, stable=True).indices
        torch.testing.assert_close(scores[kept], instances.scores[order], rtol=0, atol=1e-6)
        torch.testing.assert_close(boxes[kept], instances.bboxes[order], rtol=0, atol=1e-3)
        assert torch.equal(labels[kept], instances.labels[order])


@pytest.mark.parametrize("name", ["codetr", "brs"])
@pytest.mark.parametrize("head", ["query", "roi", "atss"])
@pytest.mark.parametrize("sizes", [SIZES, *SMALL_SIZES], ids=str)
def test_a_padded_batch(name: str, head: str, sizes: list[tuple[int, int]]) -> None:
    model = build(name)
    inputs = batch(sizes)
    with torch.inference_mode():
        outputs = model.exportable(head)(*inputs)
    assert_same(outputs, predicted(model, head, *inputs))


def test_the_model_is_left_as_it_was() -> None:
    model = build("brs")
    inputs = batch(SIZES)
    before = predicted(model, "query", *inputs)
    model.exportable("atss")
    assert model.eval_head == "query"
    for one, other in zip(predicted(model, "query", *inputs), before, strict=True):
        assert torch.equal(one.bboxes, other.bboxes)


@pytest.mark.parametrize("is_exported", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_swin_for_any_size(is_exported: bool) -> None:
    """Sizes that are whole windows, and sizes that are not, from one program."""
    neck = {**official_models.model_config("brs")["neck"], "in_channels": [16, 32, 64]}
    model = build("brs", backbone=swin_backbone(), neck=neck)
    if is_exported:
        model = model.float()  # as the program's example inputs are
    exportable = model.exportable("query")
    assert exportable.smallest_side == 257
    if is_exported:
        program = export_program(exportable, None, None, exportable.smallest_side).module()
    else:
        program = exportable
    for sizes in ([(257, 300)], [(448, 448)], [(320, 500), (300, 333)], [(270, 281)] * 3):
        images, image_sizes = batch(sizes)
        images = images.to(next(model.parameters()).dtype)
        with torch.inference_mode():
            assert_same(program(images, image_sizes), predicted(model, "query", images, image_sizes))


def test_candidates_hold_the_detections() -> None:
    model = build("brs")
    inputs = batch(SIZES)
    with torch.inference_mode():
        found = model.exportable("atss")(*inputs)
        everything = model.exportable("atss", postprocess=False)(*inputs)
    for scores, all_scores in zip(found[1], everything[1], strict=True):
        assert torch.isin(scores[scores >= 0], all_scores).all()
        assert (all_scores >= 0).sum() > (scores >= 0).sum()
