"""Export detectors to ONNX and PyTorch's program formats, and verify every stage of the exported file."""
