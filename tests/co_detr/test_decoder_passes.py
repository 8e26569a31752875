"""One pass of the decoder for all queries equals one for each group."""

from __future__ import annotations

import official_models
import pytest
import torch
from made_up_images import SIZE, make_samples
from mmdet.registry import MODELS

from co_detr.decoder import DecoderQueries, join_groups

BOTH = pytest.mark.parametrize("name", ["codetr", "brs"])


def build(name: str, monkeypatch: pytest.MonkeyPatch, **head: object):
    official_models.promote_to_float64(monkeypatch)
    config = official_models.model_config(name)
    config.query_head.update(head)
    torch.manual_seed(0)
    model = MODELS.build(config).double().train()
    for part in (model.encoder, model.query_head.decoder):
        for parameter in part.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.2)  # sampling offsets that begin at zero would hide much
    return model


def losses_and_gradients(model, *counts: int):
    torch.manual_seed(1)
    images, samples = torch.randn(len(counts), 3, *SIZE, dtype=torch.float64), make_samples(*counts)
    for sample in samples:
        sample.gt_instances.bboxes = sample.gt_instances.bboxes.double()
    model.zero_grad()
    losses = model.loss(images, samples)
    model.parse_losses(losses)[0].backward()
    return losses, {name: parameter.grad for name, parameter in model.named_parameters()}


def flat(losses) -> dict[str, torch.Tensor]:
    return {name: torch.stack(list(loss)) if isinstance(loss, list) else loss for name, loss in losses.items()}


@BOTH
@pytest.mark.parametrize("counts", [(3, 5), (4, 0), (0, 0)])
def test_losses_and_gradients_are_the_same(name: str, counts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for merged in (True, False):
        model = build(name, monkeypatch, merge_decoder_passes=merged)
        results.append(losses_and_gradients(model, *counts))
    (first, first_gradients), (second, second_gradients) = results
    assert list(first) == list(second)
    for key, loss in flat(first).items():
        torch.testing.assert_close(loss, flat(second)[key], rtol=1e-10, atol=1e-12, msg=key)
    for key, gradient in first_gradients.items():
        other = second_gradients[key]
        assert (gradient is None) == (other is None), key
        if gradient is not None:
            assert (gradient - other).abs().max() <= 1e-9 * other.abs().max().clamp(min=1e-6), key


@BOTH
def test_an_encoder_that_is_computed_anew_gives_the_same_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(name, monkeypatch)
    _, expected = losses_and_gradients(model, 3, 5)
    model.encoder.checkpoint_encoder = True
    _, found = losses_and_gradients(model, 3, 5)
    for key, gradient in expected.items():
        if gradient is not None:
            torch.testing.assert_close(found[key], gradient, rtol=1e-12, atol=1e-14, msg=key)


def test_groups_do_not_see_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("brs", monkeypatch)
    head = model.query_head
    feats = tuple(torch.randn(1, 64, 16 // 2**level, 24 // 2**level, dtype=torch.float64) for level in range(4))
    encoded = model.encoder(feats, torch.tensor([SIZE]), SIZE)

    def group(number: int) -> DecoderQueries:
        content, position = torch.randn(2, 1, number, 64, dtype=torch.float64)
        return DecoderQueries(content, position, torch.rand(1, number, 4, dtype=torch.float64) * 0.5 + 0.2)

    own, other, third = group(5), group(3), group(4)
    (before, _), *_ = head.decode_groups([own, other], encoded)
    (after, _), *_ = head.decode_groups([own, third], encoded)
    torch.testing.assert_close(before, after, rtol=1e-12, atol=1e-13)
    joined, attn_mask = join_groups([own, other])
    assert joined.content.shape == (1, 8, 64)
    assert attn_mask.sum() == 2 * 5 * 3 and not attn_mask[:5, :5].any() and not attn_mask[5:, 5:].any()
    mixed, _ = head.decode(joined, encoded)
    assert not torch.allclose(mixed[:, :, :5], before)


def test_one_pass_is_one_call_of_each_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    for merged, expected in ((True, 1), (False, 3)):
        model, calls = build("brs", monkeypatch, merge_decoder_passes=merged), []
        model.query_head.decoder.layers[0].register_forward_hook(lambda *_, seen=calls: seen.append(1))
        losses_and_gradients(model, 3, 5)
        assert len(calls) == expected
