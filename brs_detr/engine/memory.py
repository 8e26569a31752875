"""How much memory a run has needed."""

from __future__ import annotations

import sys


def peak_memory_mb() -> float:
    """Most MiB held so far: by PyTorch on the GPU where there is one, else by this process. Waits for no GPU."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
