"""Co-Deformable-DETR on mmdet 3.3."""
