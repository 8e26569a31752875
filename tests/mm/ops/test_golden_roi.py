"""RoI features over four levels against those of the official code (``tests/golden/extras/roi_f64.npz``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

ARCHIVE = np.load(Path(__file__).parents[2] / "golden" / "extras" / "roi_f64.npz")


@pytest.fixture
def extractor() -> SingleRoIExtractor:
    layer = {"type": "RoIAlign", "output_size": 7, "sampling_ratio": 0}
    return SingleRoIExtractor(layer, out_channels=2, featmap_strides=[8, 16, 32, 64], finest_scale=112)


def stored(name: str) -> torch.Tensor:
    return torch.from_numpy(ARCHIVE[name]).double()


def test_levels(extractor):
    levels = extractor.map_roi_levels(stored("rois"), 4)
    assert levels.tolist() == ARCHIVE["level"].tolist()


def test_features_and_gradients(extractor):
    levels = [stored(f"feat.{level}").requires_grad_() for level in range(4)]
    pooled = extractor(tuple(levels), stored("rois"))
    torch.testing.assert_close(pooled, stored("out"), rtol=1e-12, atol=1e-12)
    pooled.backward(stored("cotangent"))
    for level, feature in enumerate(levels):  # these are stored in float32
        torch.testing.assert_close(feature.grad, stored(f"grad_feat.{level}"), rtol=1e-6, atol=1e-6)
