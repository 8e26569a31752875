"""Preprocessing as part of an ONNX graph: from decoded images to what the model takes, and boxes back again."""

from __future__ import annotations
