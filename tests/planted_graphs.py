"""ONNX files that find the same whatever they see, described as `brs-detr export` describes its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from brs_detr.runtime.artefact_info import METADATA_KEY, ArtefactInfo, Postprocessing, Preprocessing

INFO = ArtefactInfo(
    head="query",
    class_names=("cat", "dog"),
    score_threshold=0.25,
    preprocessing=Preprocessing(True, None, None, None, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    postprocessing=Postprocessing(True, 3),
    source="planted.pth",
)

BOXES = np.array([[1, 2, 11, 12], [3, 4, 23, 24], [0, 0, 5, 5]], np.float32)
SCORES = np.array([0.9, 0.3, 0.1], np.float32)
LABELS = np.array([1, 0, 1], np.int64)


def info(*, preprocess: bool = True, postprocess: bool = True, **changes: Any) -> ArtefactInfo:
    return dataclasses.replace(
        INFO,
        preprocessing=dataclasses.replace(INFO.preprocessing, inside=preprocess),
        postprocessing=dataclasses.replace(INFO.postprocessing, inside=postprocess),
        **changes,
    )


def write_planted(path: Path, described: ArtefactInfo | None = INFO, scores: np.ndarray = SCORES) -> Path:
    """A graph that finds `BOXES` on every image of a batch, the first moved right by the image's mean of red."""
    inside = described is None or described.preprocessing.inside
    size = described.batch_size if described and described.batch_size else "batch"
    shape = [size, "h", "w", 3] if inside else [size, 3, "h", "w"]
    kind = TensorProto.UINT8 if inside else TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("images", kind, shape)]
    if not inside:
        inputs.append(helper.make_tensor_value_info("image_sizes", TensorProto.INT64, [size, 2]))
    constants = {
        "planted_boxes": BOXES[None],
        "planted_scores": scores[None],
        "planted_labels": LABELS[None],
        "one": np.array([1], np.int64),
        "moves": np.array([[[1, 0, 1, 0], [0] * 4, [0] * 4]], np.float32),
        "channel": np.array(0, np.int64),
    }
    axes = [1, 2] if inside else [2, 3]
    constants["axes"], constants["unsqueezed"] = np.array(axes, np.int64), np.array([1, 2], np.int64)
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values", "axes"], ["means"], keepdims=0),
        helper.make_node("Gather", ["means", "channel"], ["red"], axis=1),
        helper.make_node("Unsqueeze", ["red", "unsqueezed"], ["shift"]),
        helper.make_node("Mul", ["shift", "moves"], ["moved"]),
        helper.make_node("Add", ["planted_boxes", "moved"], ["boxes"]),
        helper.make_node("Shape", ["images"], ["number"], start=0, end=1),
        helper.make_node("Concat", ["number", "one"], ["each"], axis=0),
        helper.make_node("Expand", ["planted_scores", "each"], ["scores"]),
        helper.make_node("Expand", ["planted_labels", "each"], ["labels"]),
    ]
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [size, 3, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, [size, 3]),
        helper.make_tensor_value_info("labels", TensorProto.INT64, [size, 3]),
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "planted", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if described is not None:
        helper.set_model_props(model, {METADATA_KEY: described.to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
