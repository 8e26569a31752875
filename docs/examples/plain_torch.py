"""Train a scorer with a ranking loss; needs only PyTorch.

Candidate squares lie around the object that they should cover, and the scorer has to rank them. One in a hundred
overlaps its object enough to be a positive; no sampling, class weight or focal term compensates for that.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from brs_detr.losses import ap_loss, bucketed_rank_sort_loss


def make_candidates(num_candidates: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return features [N, 8], a displacement and six distractors, and targets [N], the IoU of a positive or 0."""
    features = torch.randn(num_candidates, 8, generator=generator)
    displacement = 2 * features[:, :2]  # [N, 2], in sides of a square
    intersection = (1 - displacement.abs()).clamp(min=0).prod(1)
    iou = intersection / (2 - intersection)
    return features, torch.where(iou >= 0.5, iou, 0)


@torch.no_grad()
def average_precision(scorer: nn.Module, features: Tensor, targets: Tensor) -> float:
    """Return the AP: without a ramp (delta = 0), AP Loss is one minus AP."""
    return 1 - ap_loss(scorer(features).squeeze(1), targets, delta=0).item()


def main(steps: int = 200, ranking_loss=bucketed_rank_sort_loss) -> tuple[list[float], list[float]]:
    """Train on 4,000 new candidates per step; return the loss of each, and held-out AP before and after."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    held_out = make_candidates(10_000, generator)
    scorer = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(scorer.parameters(), lr=3e-3)

    losses, precision = [], [average_precision(scorer, *held_out)]
    for step in range(1, steps + 1):
        features, targets = make_candidates(4000, generator)
        loss = ranking_loss(scorer(features).squeeze(1), targets)
        optimizer.zero_grad()
        (loss.rank + loss.sort).backward()
        optimizer.step()
        losses.append((loss.rank + loss.sort).item())
        if step in (1, steps):
            print(f"step {step:3}: rank {loss.rank:.3f}, sort {loss.sort:.3f}")
    precision.append(average_precision(scorer, *held_out))
    print(f"held-out AP: {precision[0]:.3f} before, {precision[1]:.3f} after")
    return losses, precision


if __name__ == "__main__":
    main()
