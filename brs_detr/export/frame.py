"""In an ONNX graph with preprocessing: the size that images are resized to."""

from __future__ import annotations

import onnx
from onnx import parser

from brs_detr.runtime.artefact_info import Preprocessing

_BY_SIDES = """
    longest = ReduceMax <keepdims = 1> (old)
    shortest = ReduceMin <keepdims = 1> (old)
    longest_and_shortest = Concat <axis = 0> (longest, shortest)
    bounds = Constant <value = double[2] {{{0}.0, {1}.0}}> ()
    ratios = Div (bounds, longest_and_shortest)
    ratio = ReduceMin <keepdims = 1> (ratios)
"""

_BY_FRAME = """
    bounds = Constant <value = double[2] {{{0}.0, {1}.0}}> ()
    ratios = Div (bounds, old)
    ratio = ReduceMin <keepdims = 1> (ratios)
"""

_AS_IT_IS = """
    ratio = Constant <value = double[1] {{1.0}}> ()
"""

_FRAME = """
<ir_version: {ir_version}, opset_import: ["" : {opset}]>
measure (uint8[batch, height, width, 3] images) => (float[rows, columns] frame)
{{
    size = Shape <start = 1, end = 3> (images)
    old = Cast <to = 11> (size)
    {ratio}
    enlarged = Mul (old, ratio)
    half = Constant <value = double[1] {{0.5}}> ()
    raised = Add (enlarged, half)
    whole = Floor (raised)
    one = Constant <value = double[1] {{1.0}}> ()
    new = Max (whole, one)
    new_size = Cast <to = 7> (new)
    frame = ConstantOfShape (new_size)
}}
"""


def measure_frame(model: onnx.ModelProto, settings: Preprocessing) -> None:
    """Compute the input ``frame`` of a graph from its input ``images``, as `brs_detr.runtime.preprocess` does.

    Args:
        model: of ``images`` and ``frame``; changed in place.
        settings: how large images become.
    """
    graph = model.graph
    (place,) = [place for place, value in enumerate(graph.input) if value.name == "frame"]
    del graph.input[place]
    if settings.fixed_size is not None:
        ratio = _BY_FRAME.format(*settings.fixed_size)
    elif settings.long_side is not None:
        ratio = _BY_SIDES.format(settings.long_side, settings.short_side)
    else:
        ratio = _AS_IT_IS.format()
    text = _FRAME.format(ir_version=model.ir_version, opset=model.opset_import[0].version, ratio=ratio)
    nodes = list(parser.parse_model(text).graph.node)
    for node in nodes:  # names of the two graphs must not meet
        node.input[:] = [name if name == "images" else f"frame/{name}" for name in node.input]
        node.output[:] = [name if name == "frame" else f"frame/{name}" for name in node.output]
    later = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *later])
