"""What a detector does right and wrong: pure functions from a COCO data set and detections to numbers."""
