"""The command `brs-detr`: one file a command, imported when it is called for."""

from __future__ import annotations

import importlib
import io
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

import brs_detr
from brs_detr.cli.process_setup import shorten_spin, show_plainly
from brs_detr.errors import UserError, did_you_mean
from brs_detr.extras import add_extra, extra_of
from brs_detr.files import remove_temporary_folders
from brs_detr.printable import LONGEST_MESSAGE, cut, for_terminal

COMMANDS = (
    "demo",
    "check",
    "finetune",
    "train",
    "report",
    "replay",
    "eval",
    "calibrate",
    "predict",
    "export",
    "serve",
    "info",
    "configs",
    "doctor",
    "convert",
    "convert-checkpoint",
    "download",
    "reproduce",
)
INTERRUPTED = 130


class _Refusal(click.ClickException):
    """A UserError on its way to the console."""

    exit_code = 2


class CommandGroup(click.Group):
    """Finds its commands in the files of this folder, and turns a UserError into one message and exit code 2."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse."""
        with _fit_for_a_terminal():
            return super().make_context(*args, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which a new user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import the file of a command."""
        if name not in COMMANDS:
            return None
        return importlib.import_module(f"brs_detr.cli.{name.replace('-', '_')}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command when there is none of the name given."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise _Refusal(f"There is no command {args[0]!r}. {did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. What the console cannot show, as bytes in names of files, is written as `\\xe9`."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        with _fit_for_a_terminal():
            return self._invoke(ctx)

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise _Refusal(str(error)) from error
        except ModuleNotFoundError as error:
            extra = extra_of(error.name or "")
            if extra is None:
                raise
            raise _Refusal(str(UserError(f"This needs the package {error.name}.", add_extra(extra)))) from None
        except ImportError as error:
            if "cv2" not in (error.name or str(error)):
                raise
            from brs_detr.mm.installation import opencv_hint

            raise _Refusal(str(UserError(f"OpenCV cannot be loaded: {error}.", opencv_hint()))) from None
        except OSError as error:  # a folder that is a file, a full disk, no permission
            if error.filename is None:
                raise
            raise _Refusal(f"{error.filename}: {error.strerror}.") from error
        except KeyboardInterrupt as error:
            ctx.exit(getattr(error, "exit_code", INTERRUPTED))


@contextmanager
def _fit_for_a_terminal() -> Iterator[None]:
    """Whatever an error quotes, from a file or the command line, neither steers the terminal nor fills it."""
    try:
        yield
    except click.ClickException as error:
        error.message = cut(for_terminal(error.message), LONGEST_MESSAGE)  # type: ignore[misc]
        raise


@click.group(
    "brs-detr",
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="`brs-detr COMMAND --help` shows examples.",
)
@click.version_option(brs_detr.__version__, prog_name="brs-detr")
def main() -> None:
    """Train, evaluate and use object detectors with ranking losses.

    \b
    Start here:
      brs-detr demo                        train a small model on the CPU and look at the result
      brs-detr check DATA                  see what is wrong with your data (COCO, Pascal VOC or YOLO)
      brs-detr finetune DATA               train on it, by a recipe that fits it, and get a report
      brs-detr predict RUN street.jpg      draw what the trained detector finds
      brs-detr export RUN                  make a file of it that runs without PyTorch
    """


def run() -> None:
    """What the command `brs-detr` starts.

    An interrupt that meets Python inside `exec`, as in the making of a dataclass, is remembered there, and Python ends
    itself by SIGINT however well the interrupt was handled. Leaving at once keeps the exit code.
    """
    shorten_spin()
    show_plainly()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        main(prog_name="brs-detr")
    except _Terminated:
        _leave()
        signal.raise_signal(signal.SIGTERM)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _leave()
            os._exit(INTERRUPTED)
        raise


class _Terminated(SystemExit):
    """SIGTERM has come: what is half done is taken back on the way out."""


def _terminate(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_DFL)
    if multiprocessing.parent_process() is not None:  # a process that loads data has inherited this
        signal.raise_signal(number)
    raise _Terminated(128 + number)


def _leave() -> None:
    for child in multiprocessing.active_children():
        child.terminate()
    remove_temporary_folders()
    sys.stdout.flush()
    sys.stderr.flush()
