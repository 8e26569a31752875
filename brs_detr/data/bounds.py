"""How much a data set may hold, whatever numbers stand in its files."""

from __future__ import annotations

MAX_CLASSES = 1 << 15
"""Classes of a data set: LVIS has 1,203, V3Det 13,204, and ImageNet-21K 21,841."""

MAX_BOXES = 1 << 15
"""Boxes on one image: the fullest pictures of crowds have 20,000 heads."""
