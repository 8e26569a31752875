"""Run an exported detector: needs numpy, Pillow and onnxruntime, and no PyTorch."""
