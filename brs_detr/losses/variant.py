"""Which ranking loss."""

from __future__ import annotations

from typing import NamedTuple


class Variant(NamedTuple):
    """What tells the ranking losses apart.

    Args:
        delta: half the length of the step's ramp, in logits, >= 0.
        bucketed: take the negatives between two positives as one.
        interpolated: take the running maximum of precision, see `brs_detr.losses.ranking.rank_positives`.
        sorting: sort the positives by their quality, too.
        max_positives: most positives in a row.
    """

    delta: float
    bucketed: bool
    interpolated: bool
    sorting: bool
    max_positives: int

    @property
    def num_terms(self) -> int:
        """The ranking term and, if wanted, the sorting term."""
        return 1 + self.sorting
