"""The detector as a user builds it."""

from __future__ import annotations

import logging

import official_models
import pytest
import torch
from made_up_images import SIZE, make_samples
from mmdet.registry import MODELS

from brs_detr.errors import UserError


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.INFO)  # mmengine tells of every parameter that it initialises
    yield
    logging.disable(logging.NOTSET)


def build(name: str = "brs", **changes):
    config = official_models.model_config(name)
    config.update(changes)
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.init_weights()
    return model


@pytest.mark.parametrize("name", ["codetr", "brs"])
@pytest.mark.parametrize("counts", [(3, 0), (0, 0), (1, 40)])
def test_a_training_step_reaches_every_parameter(name, counts):
    model = build(name).train()
    losses = model.loss(torch.randn(2, 3, *SIZE), make_samples(*counts))
    total, _ = model.parse_losses(losses)
    assert total.isfinite()
    total.backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("missing", [("atss_head",), ("rpn_head", "roi_head"), ("rpn_head", "roi_head", "atss_head")])
def test_trains_without_some_auxiliary_heads(missing):
    model = build("codetr", **dict.fromkeys(missing)).train()
    losses = model.loss(torch.randn(1, 3, *SIZE), make_samples(3))
    assert model.parse_losses(losses)[0].isfinite()
    with pytest.raises(ValueError, match="without a"):
        model.eval_head = missing[-1].removesuffix("_head")


def test_rpn_and_roi_belong_together():
    with pytest.raises(ValueError, match="both or neither"):
        build("codetr", rpn_head=None)


def test_unknown_head():
    with pytest.raises(ValueError, match="query, roi, atss"):
        build().eval_head = "rpn"


def test_neck_must_take_what_the_backbone_gives():
    config = official_models.model_config("brs")
    config.backbone = dict(type="TimmBackbone", model_name="resnet10t")
    with pytest.raises(UserError, match=r"model\.neck\.in_channels=\[128, 256, 512\]"):
        MODELS.build(config)


@torch.no_grad()
@pytest.mark.parametrize("name", ["codetr", "brs"])
@pytest.mark.parametrize("head", ["query", "roi", "atss"])
def test_predicts_boxes_in_the_original_image(name, head):
    model = build(name).eval()
    model.eval_head = head
    samples = make_samples(0, 0)
    samples[0].set_metainfo(dict(scale_factor=(0.5, 0.5)))
    found = model.predict(torch.randn(2, 3, *SIZE), samples)[0].pred_instances
    assert len(found) <= 100
    assert (found.bboxes >= 0).all()
    assert (found.bboxes[:, 2::2] <= 2 * SIZE[1] + 1e-3).all()
    assert ((found.scores > 0) & (found.scores < 1)).all()
    assert (found.labels < official_models.NUM_CLASSES).all()


@torch.no_grad()
def test_padding_is_invisible():
    """Padding a batch changes neither the encoder's tokens of an image nor what the decoder makes of given queries."""
    model = build().eval()
    head, sizes = model.query_head, torch.tensor([SIZE])
    features = model.extract_feat(torch.randn(1, 3, *SIZE))
    alone = model.encoder(features, sizes, SIZE)
    padding = ((0, 64 // stride, 0, 64 // stride) for stride in (8, 16, 32, 64))
    padded_features = tuple(map(torch.nn.functional.pad, features, padding))
    padded = model.encoder(padded_features, sizes, (SIZE[0] + 64, SIZE[1] + 64))
    for small, large in zip(alone.feature_maps(), padded.feature_maps(), strict=True):
        assert torch.allclose(small, large[..., : small.shape[2], : small.shape[3]], atol=1e-4)
    proposals = head.propose(alone)
    queries = head.queries_at(head.best_proposals(proposals), proposals)
    for small, large in zip(head.decode(queries, alone), head.decode(queries, padded), strict=True):
        assert torch.allclose(small, large, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(("num_queries", "expected"), [(300, 100), (10, 10 * official_models.NUM_CLASSES)])
def test_more_queries_than_tokens_and_more_detections_than_scores(num_queries, expected):
    config = official_models.model_config("brs")
    config.query_head.num_queries = num_queries
    model = MODELS.build(config).eval()
    model.init_weights()
    found = model.predict(torch.randn(1, 3, *SIZE), make_samples(0))[0].pred_instances  # 128 tokens
    assert len(found) == expected


@torch.no_grad()
def test_boxes_keep_their_precision_in_bfloat16():
    model, samples = build().eval(), make_samples(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded = model.encode(torch.randn(1, 3, *SIZE), torch.tensor([SIZE]))
        found = model.predict(torch.randn(1, 3, *SIZE), samples)[0].pred_instances
    assert encoded.valid_ratios.dtype == found.bboxes.dtype == torch.float32


def test_bfloat16_ends_before_matching_and_losses(monkeypatch):
    """What is matched or scored is float32, and has more digits than bfloat16 could give it."""
    model, samples = build().train(), make_samples(3, 2)
    seen = []

    def watch(owner, method, arguments):
        original = getattr(owner, method)

        def watched(*args, **kwargs):
            seen.append((method, arguments(*args, **kwargs)))
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, method, watched)

    heads = model.query_head, model.rpn_head, model.roi_head.bbox_head, model.atss_head
    for head in heads:
        watch(head.loss_cls, "forward", lambda logits, *_, **__: logits)
        watch(head.loss_bbox, "forward", lambda boxes, *_, **__: boxes)
    watch(model.query_head, "get_targets", lambda logits, *_: torch.cat(logits))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.extract_feat(torch.randn(1, 3, *SIZE))[0].dtype == torch.bfloat16
        model.loss(torch.randn(2, 3, *SIZE), samples)
    assert [name for name, _ in seen].count("get_targets") == 2
    assert {tensor.dtype for _, tensor in seen} == {torch.float32}
    for logits in (tensor for name, tensor in seen if name == "get_targets"):
        assert (logits != logits.bfloat16()).float().mean() > 0.9


def test_bfloat16_gradients_are_right_when_a_map_is_one_cell():
    model, samples = build().train(), make_samples(3)
    samples[0].set_metainfo(dict.fromkeys(("img_shape", "pad_shape", "batch_input_shape"), (64, 64)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model.loss(torch.randn(1, 3, 64, 64), samples)
        total, _ = model.parse_losses(losses)
    total.backward()
    gradient = model.encoder.downsample[0].weight.grad
    is_centre = torch.zeros(3, 3, dtype=torch.bool)
    is_centre[1, 1] = True  # the only tap that sees the cell: all others see padding
    assert gradient[..., is_centre].isfinite().all()
    assert (gradient[..., ~is_centre] == 0).all()
