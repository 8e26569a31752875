"""Measurements: what the ranking losses cost beside their earlier forms and beside a focal loss.

>>> from brs_detr.bench.grid import select_cells
>>> from brs_detr.bench.losses import Settings, bench_losses
>>> records = list(bench_losses(select_cells("paper"), Settings()))
"""
