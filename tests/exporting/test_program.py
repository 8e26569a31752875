from __future__ import annotations

import io
import logging

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from brs_detr.exporting.program import resize
from brs_detr.runtime import processing as runtime_processing


class Resized(nn.Module):
    """A graph that only resizes."""

    def forward(self, images: Tensor) -> Tensor:
        return resize(images, 75, 208)


def test_a_graph_resizes_to_the_last_bit() -> None:
    """Products of pixels and weights have more digits than float32, in which quotients would be wrong now and then."""
    images = np.random.default_rng(0).integers(0, 256, (8, 47, 131, 3), np.uint8)
    images[:4] = np.random.default_rng(1).integers(225, 256, (4, 47, 131, 3), np.uint8)
    logging.disable(logging.WARNING)
    program = torch.onnx.export(
        Resized().eval(), (torch.from_numpy(images),), dynamo=True, opset_version=18, optimize=False, verbose=False
    )
    logging.disable(logging.NOTSET)
    file = io.BytesIO(program.model_proto.SerializeToString())
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: images})
    expected = np.stack([runtime_processing.resize(image, (75, 208)) for image in images])
    assert np.count_nonzero(found != expected) == 0
