"""16 images a step, on however many GPUs there are."""

from __future__ import annotations

from dataclasses import dataclass

from brs_detr.errors import UserError

EFFECTIVE_BATCH = 16


@dataclass(frozen=True)
class Batch:
    """How the images of a step are shared out."""

    num_processes: int
    images_per_process: int
    accumulation: int

    @property
    def effective(self) -> int:
        """Images a step."""
        return self.num_processes * self.images_per_process * self.accumulation

    def __str__(self) -> str:
        times = f" x {self.accumulation} accumulated" if self.accumulation > 1 else ""
        processes = "process" if self.num_processes == 1 else "processes"
        return f"{self.effective} = {self.num_processes} {processes} x {self.images_per_process} images{times}"


def share_out(num_processes: int, images_per_gpu: int = 2) -> Batch:
    """The paper's batch on a number of processes, one a GPU.

    Args:
        num_processes: a divisor of 16.
        images_per_gpu: at most. The paper has 2 on 8 GPUs for DETRs (S.3.3), 4 on 4 for the other detectors (S.3.1).
            Ranking losses compare within these.

    Raises:
        UserError: 16 images cannot be shared out evenly.
    """
    if num_processes < 1 or EFFECTIVE_BATCH % num_processes:
        nearest = max(count for count in (1, 2, 4, 8, 16) if count <= max(num_processes, 1))
        raise UserError(
            f"{EFFECTIVE_BATCH} images a step, as in the paper, cannot be shared evenly by {num_processes} GPUs.",
            f"Use {nearest} of them: --gpus {nearest}",
        )
    images = min(images_per_gpu, EFFECTIVE_BATCH // num_processes)
    return Batch(num_processes, images, EFFECTIVE_BATCH // (num_processes * images))
