"""Readers of COCO, Pascal VOC and YOLO datasets, and the choice between them."""
