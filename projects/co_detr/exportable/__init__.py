"""Co-DETR as a graph of tensors: no data samples, no image size that is fixed, no step that depends on the data."""
