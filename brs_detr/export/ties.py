"""Pictures on which rounding decides what a model looks at."""

from __future__ import annotations

from typing import Any

import torch

from brs_detr.export.sessions import ModelSession
from brs_detr.runtime.preprocess import Prepared


def has_tied_queries(model: ModelSession, exact: ModelSession, prepared: Prepared) -> bool:
    """Whether the last token that becomes a query and the first that does not are equal, but for rounding errors.

    Which of the two is chosen, two programs may decide differently, and through self-attention all boxes feel it.

    Args:
        model: in float32.
        exact: the same in float64.
        prepared: one picture.
    """
    chooser: Any = exact.model
    if chooser.eval_head != "query":
        return False
    num_queries = chooser.query_head.query_embedding.num_embeddings
    rounded, true = (_objectness(session, prepared) for session in (model, exact))
    if true.shape[1] <= num_queries:
        return False
    best = true.topk(num_queries + 1, dim=1).values
    gap = best[:, -2] - best[:, -1]
    return bool((gap <= 2 * (rounded - true).abs().amax(1)).any())


def _objectness(session: ModelSession, prepared: Prepared) -> torch.Tensor:
    model: Any = session.model
    with torch.inference_mode():
        images = torch.from_numpy(prepared.images).to(session.dtype)
        return model.objectness(images, torch.from_numpy(prepared.image_sizes)).double()
