"""How long PyTorch's threads wait for each other before they sleep."""

from __future__ import annotations

import os

SPIN_COUNT = 2000
"""Turns of the loop in which a thread of libgomp waits, a tenth of a millisecond; by default 300,000."""

_SAYS_HOW_TO_WAIT = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME", "KMP_LIBRARY")


def shorten_spin() -> None:
    """Let OpenMP's threads sleep soon where they wait, unless the user has said how they wait.

    By default they keep their cores busy. Beside other processes that takes from the thread that all wait for the time
    that it needs. libgomp, which PyTorch's wheels for Linux hold, reads this when PyTorch is imported; processes that
    are started from here inherit it.
    """
    if not any(name in os.environ for name in _SAYS_HOW_TO_WAIT):
        os.environ["GOMP_SPINCOUNT"] = str(SPIN_COUNT)
