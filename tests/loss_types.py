"""Which classification losses a config names."""

from __future__ import annotations


def classification_losses(node) -> set[str]:
    """Types of every `loss_cls` of a config."""
    if isinstance(node, (list, tuple)):
        return set().union(*map(classification_losses, node))
    if not isinstance(node, dict):
        return set()
    own = {node["loss_cls"]["type"]} if "loss_cls" in node else set()
    found = own.union(*map(classification_losses, node.values()))
    return {"score-based" if name in ("CrossEntropyLoss", "FocalLoss") else name for name in found}
