"""The reduced models equal the official code in float64: outputs, every loss, every gradient.

The committed fixtures hold what fits in a repository; `pytest --golden DIR` compares with everything there is.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import official_models
import pytest
import torch

from co_detr.official_checkpoint import rename_key

TOLERANCE = 1e-6
MODELS = ("codetr", "brs")
FEATURES = ("backbone.", "neck.", "encoder_feats.", "enc_outputs", "topk_")
BATCHES = ("b0", "b1", "b2", "b3")
LOSS_NAMES = {"roi.loss_rank": "loss_roi_rank0", "roi.loss_sort": "loss_roi_sort0", "roi.acc": "acc0"}


@pytest.fixture(scope="module", params=MODELS)
def official(request, golden_folder):
    """A model with official weights under float64 promotion, its name, and the folder of reference numbers."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        official_models.promote_to_float64(monkeypatch)
        folder = golden_folder / "models"
        yield official_models.build_model(request.param, folder), request.param, folder


@pytest.fixture(scope="module")
def golden_folder(request) -> Path:
    return Path(request.config.getoption("--golden") or Path(__file__).parents[1] / "golden")


def assert_close(actual: torch.Tensor | np.ndarray, expected: np.ndarray, name: str, tolerance: float = TOLERANCE):
    actual = actual.detach().numpy() if isinstance(actual, torch.Tensor) else actual
    assert actual.shape == expected.shape, name
    assert np.isfinite(expected).all(), name
    if expected.dtype == np.float32:
        tolerance = max(tolerance, 2 * np.finfo(np.float32).eps)
    scale = max(float(np.abs(expected).max(initial=0)), 1e-3)
    assert float(np.abs(actual - expected).max(initial=0)) <= tolerance * scale, name


def official_loss_name(ours: str, model: str) -> str:
    if ours in LOSS_NAMES:
        return LOSS_NAMES[ours]
    if ours.startswith("roi."):
        return ("loss_roi_bbox0" if model == "brs" else f"{ours[4:]}0") if "bbox" in ours else f"{ours[4:]}0"
    return f"{ours[5:]}1" if ours.startswith("atss.") else ours


def summed(loss) -> float:
    if isinstance(loss, torch.Tensor):
        return float(loss.detach().sum())
    return sum(summed(part) for part in loss) if isinstance(loss, list | tuple) else float(loss)


@torch.no_grad()
def test_features_and_proposals(official):
    model, name, folder = official
    expected = np.load(folder / name / "eval_f64.npz")
    model.eval()
    images, samples = official_models.read_images(folder), official_models.read_samples(folder)
    features = model.backbone(images)
    maps = model.neck(features)
    encoded = model.encode(images, torch.tensor([sample.img_shape for sample in samples]))
    proposals = model.query_head.propose(encoded)
    found = {f"backbone.{i}": f[:, ::4] for i, f in enumerate(features)}
    found |= {f"neck.{i}": f[:, ::2] for i, f in enumerate(maps)}
    found |= {f"encoder_feats.{i}": f for i, f in enumerate(model.encoder.auxiliary_maps(encoded))}
    found |= {"enc_outputs_class": proposals.logits, "enc_outputs_coord": proposals.box_logits.sigmoid()}
    scores, inds = proposals.logits[..., 0].topk(50, dim=1)
    found |= {"topk_scores": scores, "topk_indices": inds}
    compared = {key for key in expected.files if key.startswith(FEATURES)}
    assert compared >= {"topk_scores", "topk_indices"}
    for key in compared:
        assert_close(found[key], expected[key], key)


@torch.no_grad()
def test_decoder_outputs(official):
    model, name, folder = official
    expected = np.load(folder / name / "eval_f64.npz")
    model.eval()
    images, samples = official_models.read_images(folder), official_models.read_samples(folder)
    logits, boxes = model(images, samples, mode="tensor")
    assert_close(logits, expected["all_cls_scores"], "all_cls_scores")
    assert_close(boxes, expected["all_bbox_preds"], "all_bbox_preds")
    h, w = samples[0].img_shape
    samples[0].set_metainfo({"batch_input_shape": (h, w)})
    logits, boxes = model(images[:1, :, :h, :w], samples[:1], mode="tensor")
    assert_close(logits, expected["single.all_cls_scores"], "single.all_cls_scores")
    assert_close(boxes, expected["single.all_bbox_preds"], "single.all_bbox_preds")


@torch.no_grad()
@pytest.mark.parametrize("rescale", [False, True])
def test_query_detections(official, rescale):
    model, name, folder = official
    expected = np.load(folder / name / "eval_f64.npz")
    model.eval()
    model.eval_head = "query"
    predicted = model.predict(
        official_models.read_images(folder), official_models.read_samples(folder), rescale=rescale
    )
    for index, sample in enumerate(predicted):
        key = f"det.rescale{int(rescale)}.img{index}"
        found = torch.cat([sample.pred_instances.bboxes, sample.pred_instances.scores[:, None]], 1)
        assert_close(found, expected[f"{key}.bboxes"], key)
        assert (sample.pred_instances.labels.numpy() == expected[f"{key}.labels"]).all()


@torch.no_grad()
@pytest.mark.parametrize(("head", "key"), [("query", "simple_test"), ("atss", "one-stage"), ("roi", "two-stage")])
def test_detections_of_every_head(official, head, key):
    model, name, folder = official
    expected = np.load(folder / name / "eval_f64.npz")
    model.eval()
    model.eval_head = head
    predicted = model.predict(official_models.read_images(folder), official_models.read_samples(folder))
    for index, sample in enumerate(predicted):
        found = sample.pred_instances
        if f"{key}.img{index}.dets" not in expected.files:  # the official code stops there with an AttributeError
            assert (name, head) == ("brs", "roi")
            assert len(found) == 100
            assert found.bboxes.isfinite().all()
            continue
        rows = torch.cat([found.bboxes, found.scores[:, None], found.labels[:, None]], 1)
        rows = rows[found.labels.argsort(stable=True)]
        counts = found.labels.bincount(minlength=official_models.NUM_CLASSES).numpy()
        assert (counts == expected[f"{key}.img{index}.count_per_class"]).all()
        assert_close(rows, expected[f"{key}.img{index}.dets"], f"{key}.img{index}")


@pytest.mark.parametrize("batch", BATCHES)
def test_losses_and_gradients(official, batch):
    model, name, folder = official
    reference = json.loads((folder / name / "summary_f64.json").read_text())["batches"][batch]
    model.train()
    model.zero_grad()
    losses = model.loss(official_models.read_images(folder), official_models.read_samples(folder, batch))
    found = {official_loss_name(key, name): summed(value) for key, value in losses.items()}
    assert set(found) == set(reference["losses"])
    for key, value in reference["losses"].items():
        assert found[key] == pytest.approx(summed(value), rel=TOLERANCE, abs=1e-9), key
    total, _ = model.parse_losses(losses)
    assert float(total.detach()) == pytest.approx(reference["total_loss"], rel=TOLERANCE)
    total.backward()
    parameters = dict(model.named_parameters())
    for key, norm in reference["grad_norms"].items():
        gradient = parameters[rename_key(key)].grad
        assert (gradient is None) == (norm is None), key
        if norm is not None:
            assert float(gradient.norm()) == pytest.approx(norm, rel=TOLERANCE, abs=1e-9), key


@pytest.mark.parametrize("batch", BATCHES)
def test_every_stored_gradient(official, batch, golden_dir):
    model, name, folder = official
    model.train()
    model.zero_grad()
    losses = model.loss(official_models.read_images(folder), official_models.read_samples(folder, batch))
    model.parse_losses(losses)[0].backward()
    parameters = dict(model.named_parameters())
    expected = np.load(golden_dir / "models" / name / f"train_{batch}_f64.npz")
    keys = [key for key in expected.files if key.startswith("grad/")]
    assert keys or batch == "b2"  # without objects nothing has a gradient worth storing
    for key in keys:
        assert_close(parameters[rename_key(key.removeprefix("grad/"))].grad, expected[key], key)


def test_every_trainable_parameter_has_a_gradient_without_objects(official):
    model, _, folder = official
    model.train()
    model.zero_grad()
    losses = model.loss(official_models.read_images(folder), official_models.read_samples(folder, "b2"))
    model.parse_losses(losses)[0].backward()
    missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []
