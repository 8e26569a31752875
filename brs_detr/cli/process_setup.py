"""Settings of the process of `brs-detr`: how threads wait, and what other packages write to the terminal."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from types import TracebackType

from brs_detr.printable import printable

SPIN_COUNT = 2000
"""Iterations of the loop in which a libgomp thread waits, about 0.1 ms. The default of libgomp is 300,000."""

_WAIT_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME", "KMP_LIBRARY")


def shorten_spin() -> None:
    """Make waiting OpenMP threads sleep soon, unless the user has set how they wait.

    By default they keep their cores busy. On a shared machine this delays the thread that they wait for. libgomp, part
    of PyTorch's wheels for Linux, reads the variable when PyTorch is imported. Child processes inherit it.
    """
    if not any(name in os.environ for name in _WAIT_VARIABLES):
        os.environ["GOMP_SPINCOUNT"] = str(SPIN_COUNT)


class _PlainRecord(logging.LogRecord):
    """A log record without control characters."""

    def getMessage(self) -> str:  # noqa: N802
        return printable(super().getMessage())


def show_plainly() -> None:
    """Escape control characters in warnings, logs and tracebacks, which may quote untrusted text."""
    format_warning = warnings.formatwarning
    warnings.formatwarning = lambda *args, **options: printable(format_warning(*args, **options))
    logging.setLogRecordFactory(_PlainRecord)
    sys.excepthook = _show_traceback


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(printable("".join(traceback.format_exception(kind, error, trace))))
