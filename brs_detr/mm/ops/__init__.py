"""The operators of mmcv's compiled extension, on torchvision, PyTorch and (on CUDA) deformops.

mmcv-lite has no compiled code, and mmdet cannot be imported without it. `install` supplies the module ``mmcv._ext`` if
there is no compiled one; mmcv's Python layer above it is unchanged.

>>> from brs_detr.mm.ops import install
>>> install()
>>> from mmcv.ops import batched_nms, roi_align
"""

from __future__ import annotations

from brs_detr.mm.ops.extension import Implementation, implementations, install, is_compiled

__all__ = ["Implementation", "implementations", "install", "is_compiled"]
