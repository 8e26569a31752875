"""How much memory a run has needed."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_memory_mb() -> float:
    """Most MiB held so far: by PyTorch on the GPU where there is one, else by this process. Waits for no GPU."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return peak_process_memory_mb()


def peak_process_memory_mb() -> float:
    """Most MiB of the main memory that this process has held; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():  # what `getrusage` tells a new process begins with what its parent held
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 2**10
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
