from __future__ import annotations

import pytest

from brs_detr.errors import UserError
from brs_detr.reproduce.plan import Batch, share_out


@pytest.mark.parametrize(
    ("num_processes", "batch"),
    [(8, Batch(8, 2, 1)), (1, Batch(1, 2, 8)), (2, Batch(2, 2, 4)), (4, Batch(4, 2, 2)), (16, Batch(16, 1, 1))],
)
def test_sixteen_images_a_step(num_processes: int, batch: Batch) -> None:
    assert share_out(num_processes) == batch
    assert batch.effective == 16


@pytest.mark.parametrize(("num_processes", "nearest"), [(3, 2), (5, 4), (7, 4), (12, 8), (32, 16), (0, 1)])
def test_what_cannot_be_shared_evenly(num_processes: int, nearest: int) -> None:
    with pytest.raises(UserError, match=f"cannot be shared evenly by {num_processes} GPUs.*\\s+.*--gpus {nearest}"):
        share_out(num_processes)


def test_in_words() -> None:
    assert str(share_out(8)) == "16 = 8 processes x 2 images"
    assert str(share_out(1)) == "16 = 1 process x 2 images x 8 accumulated"
