"""Analysis of a detector: pure functions from a COCO dataset and detections to numbers."""
