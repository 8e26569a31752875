from __future__ import annotations

from brs_detr.mm.ops import implementations
from brs_detr.mm.ops.deformops import find_operator


def test_every_op_names_its_provider_and_reason():
    listed = implementations()
    assert len({implementation.op for implementation in listed}) == len(listed) == 10
    assert all(implementation.provider and implementation.reason for implementation in listed)


def test_attention_follows_deformops(monkeypatch):
    def attention() -> str:
        return {implementation.op: implementation.provider for implementation in implementations()}[
            "multi_scale_deformable_attention"
        ]

    expected = "PyTorch grid_sample" if find_operator()[0] is None else "deformops (Triton)"
    assert attention() == expected
    monkeypatch.setattr("brs_detr.mm.ops.deformops.find_operator", lambda: (print, "forced"))
    assert attention() == "deformops (Triton)"
