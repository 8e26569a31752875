"""Readers of COCO, Pascal VOC and YOLO data sets, and the choice between them."""
