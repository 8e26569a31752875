from __future__ import annotations

import torch

from brs_detr.training.autocast import AutocastOptimWrapper


def test_forward_runs_in_bfloat16_and_weights_stay_float32(device: torch.device) -> None:
    model = torch.nn.Linear(4, 4).to(device)
    wrapper = AutocastOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        output = model(torch.ones(2, 4, device=device))
    assert output.dtype == torch.bfloat16
    wrapper.update_params(output.float().square().sum())
    assert model.weight.dtype == torch.float32
    assert not torch.equal(model.weight, before)
    assert not hasattr(wrapper, "loss_scaler")
