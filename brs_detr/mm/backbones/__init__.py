"""Backbones beyond mmdet's own: everything that timm has."""

from __future__ import annotations


def register() -> None:
    """Make `TimmBackbone` known to mmdet's configs; calling it again changes nothing."""
    from brs_detr.mm.platform import prepare

    prepare()
    from mmdet.registry import MODELS

    from brs_detr.mm.backbones.timm_backbone import TimmBackbone

    MODELS.register_module(module=TimmBackbone, force=True)
