"""What others write to the terminal of `brs-detr`: Python, and the packages that it uses."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from types import TracebackType

from brs_detr.printable import printable


class _PlainRecord(logging.LogRecord):
    """An entry of a log that steers no terminal."""

    def getMessage(self) -> str:  # noqa: N802
        return printable(super().getMessage())


def show_plainly() -> None:
    """Let warnings, logs and tracebacks quote whatever there is without steering the terminal."""
    format_warning = warnings.formatwarning
    warnings.formatwarning = lambda *args, **options: printable(format_warning(*args, **options))
    logging.setLogRecordFactory(_PlainRecord)
    sys.excepthook = _show_traceback


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(printable("".join(traceback.format_exception(kind, error, trace))))
