"""mmdet's Swin with converted weights equals the one of the official code (needs `--golden DIR`)."""

from __future__ import annotations

import numpy as np
import torch
from mmdet.models.backbones.swin import SwinTransformer, swin_converter
from safetensors.torch import load_file


def test_swin_equals_the_official_backbone(golden_dir):
    folder = golden_dir / "extras"
    expected = np.load(folder / "swin_f64.npz")
    weights = load_file(folder / "swin_weights.safetensors")
    weights = {key: value.double() if value.is_floating_point() else value for key, value in weights.items()}
    model = SwinTransformer(
        embed_dims=16, depths=[2] * 4, num_heads=[1, 2, 4, 8], window_size=7, out_indices=(1, 2, 3), drop_path_rate=0.0
    ).double()
    model.load_state_dict({key.removeprefix("backbone."): value for key, value in swin_converter(weights).items()})
    outputs = model(torch.from_numpy(expected["input"]).double())
    for index, output in enumerate(outputs):
        assert np.abs(output.detach().numpy() - expected[f"out.{index}"]).max() < 1e-10
    sum((o * torch.from_numpy(expected[f"cotangent.{i}"])).sum() for i, o in enumerate(outputs)).backward()
    parameters = dict(model.named_parameters())
    gradients = {key.removeprefix("grad/"): expected[key] for key in expected.files if key.startswith("grad/")}
    assert gradients
    converted = swin_converter({key: torch.from_numpy(value).double() for key, value in gradients.items()})
    for key, gradient in converted.items():
        found = parameters[key.removeprefix("backbone.")].grad
        assert (found - gradient).abs().max() <= 1e-6 * gradient.abs().max(), key
