"""The one place where mmengine learns the names of our data classes."""

from __future__ import annotations


def register() -> None:
    """Repair mmdet, then make its models and our data classes available to configs. Calling it again is fine."""
    from brs_detr.mm.platform import prepare

    prepare()
    import mmdet.models  # noqa: F401  a checkpoint may name any of its detectors
    from mmengine.registry import DATASETS, TRANSFORMS

    from brs_detr.data.loading.dataset import CocoFolderDataset
    from brs_detr.data.loading.load_image import LoadImage, LoadMasks

    DATASETS.register_module(module=CocoFolderDataset, force=True)
    TRANSFORMS.register_module(name=["LoadImage", "LoadImageFromFile"], module=LoadImage, force=True)
    TRANSFORMS.register_module(module=LoadMasks, force=True)
