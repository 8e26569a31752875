"""Write a traced model as ONNX, with standard operators only."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir
import onnxscript.optimizer
import torch
from onnx import parser
from onnxscript import opset18

from brs_detr.runtime.artefact_info import METADATA_KEY, ArtefactInfo, Preprocessing
from brs_detr.runtime.session import Outputs

if TYPE_CHECKING:
    from torch.export import ExportedProgram

MAX_BOXES = 2**31 - 1  # that suppression may keep: no limit


def write_onnx(program: ExportedProgram, info: ArtefactInfo, path: Path, opset: int) -> None:
    """Translate a program to ONNX and write it.

    Args:
        program: from `brs_detr.exporting.program.export_program`; it suppresses by the operator `brs_detr::nms_keep`.
        info: description to store in the file. If preprocessing is inside, the frame size is computed in the graph.
        path: file to write.
        opset: one of `brs_detr.exporting.formats.OPSETS`.
    """
    with _silence():
        translated = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=opset,
            optimize=False,  # PyTorch's optimiser gives two fused clamps of a value the same name
            verbose=False,
            input_names=("images", "frame" if info.preprocessing.inside else "image_sizes"),
            output_names=_output_names(program),
            custom_translation_table={torch.ops.brs_detr.nms_keep.default: _suppress},
        )
        assert translated is not None
        graph = translated.model
        onnxscript.optimizer.inline(graph)
        onnxscript.optimizer.fold_constants(graph)
        onnxscript.optimizer.remove_unused_nodes(graph)
    model = onnx_ir.to_proto(graph)
    _name_sizes(model)
    if info.preprocessing.inside:
        measure_frame(model, info.preprocessing)
    model.producer_name, model.doc_string = "brs-detr", f"{info.head} head of {info.source}"
    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA_KEY, value=info.to_json())
    onnx.checker.check_model(model)
    onnx.save(model, path)


def finish_onnx(path: Path, info: ArtefactInfo) -> None:
    """Store the final description, and remove the stages from the outputs."""
    model = onnx.load(path)
    (stored,) = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
    stored.value = info.to_json()
    del model.graph.output[len(Outputs._fields) :]
    onnxscript.optimizer.remove_unused_nodes(model)
    onnx.save(model, path)


def _output_names(program: ExportedProgram) -> list[str]:
    """Return the names of boxes, scores, labels, and the stages after them."""
    spec = program.call_spec.out_spec
    *_, stages = torch.utils._pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    return [*Outputs._fields, *sorted(stages, key=stages.get)]


op: Any = opset18  # its operators also take numbers, although their annotations say otherwise


def _suppress(boxes: Any, scores: Any, labels: Any, num_labels: int, iou_threshold: float) -> Any:
    """Translate `brs_detr.mm.ops.nms_keep.nms_keep` to ONNX's suppression, which works per image and class."""
    by_label = op.Unsqueeze(scores, [1])  # [B, 1, N]
    if num_labels > 1:
        every_label = op.Constant(value_ints=list(range(num_labels)))
        is_label = op.Equal(op.Unsqueeze(labels, [1]), op.Unsqueeze(every_label, [1]))
        by_label = op.Where(is_label, by_label, op.Constant(value_float=-1.0))  # [B, num_labels, N]
    kept = op.NonMaxSuppression(boxes, by_label, MAX_BOXES, iou_threshold, -0.5)  # [K, 3] image, label, index
    nothing = op.Less(scores, op.Constant(value_float=-2.0))
    num_kept = op.Slice(op.Shape(kept), [0], [1])
    everything = op.Cast(op.Expand(op.Constant(value_ints=[1]), num_kept), to=onnx.TensorProto.BOOL)
    return op.ScatterND(nothing, op.Gather(kept, [0, 2], axis=1), everything)


def _name_sizes(model: onnx.ModelProto) -> None:
    """Give dynamic dimensions readable names."""
    batch, *sides = model.graph.input[0].type.tensor_type.shape.dim
    free = [dim.dim_param for dim in (batch, *(side for side in sides if side.dim_value != 3))]
    names = dict(zip(free, ("batch", "height", "width"), strict=True))
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = names.get(dim.dim_param, "detections")
    del model.graph.value_info[:]


@contextlib.contextmanager
def _silence() -> Any:
    """Suppress the output of PyTorch and onnxscript."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


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
    """Compute the input ``frame`` of a graph from ``images``, with the formula of `brs_detr.runtime.processing`.

    Args:
        model: model with inputs ``images`` and ``frame``; changed in place.
        settings: size that images are resized to.
    """
    graph = model.graph
    (index,) = [index for index, value in enumerate(graph.input) if value.name == "frame"]
    del graph.input[index]
    if settings.fixed_size is not None:
        ratio = _BY_FRAME.format(*settings.fixed_size)
    elif settings.long_side is not None:
        ratio = _BY_SIDES.format(settings.long_side, settings.short_side)
    else:
        ratio = _AS_IT_IS.format()
    text = _FRAME.format(ir_version=model.ir_version, opset=model.opset_import[0].version, ratio=ratio)
    nodes = list(parser.parse_model(text).graph.node)
    for node in nodes:  # keeps the names of the two graphs apart
        node.input[:] = [name if name == "images" else f"frame/{name}" for name in node.input]
        node.output[:] = [name if name == "frame" else f"frame/{name}" for name in node.output]
    later = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *later])
