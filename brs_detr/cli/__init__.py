"""The command `brs-detr`: one file per subcommand, imported when it is called."""

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
from brs_detr.cli import own_code
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
    """A UserError as click prints it."""

    exit_code = 2


class CommandGroup(click.Group):
    """A group that finds its commands in the files of this folder, and turns a UserError into exit code 2."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the command line."""
        with _safe_messages():
            return super().make_context(*args, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order in which a new user needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command."""
        if name not in COMMANDS:
            return None
        command = importlib.import_module(f"brs_detr.cli.{name.replace('-', '_')}").command
        if name in own_code.COMMANDS:
            own_code.add_import_option(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the closest command if the name is unknown."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise _Refusal(f"There is no command {args[0]!r}. {did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Characters that the console cannot encode are written as `\\xe9`."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        with _safe_messages():
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
        except OSError as error:  # for instance a full disk, or no permission
            if error.filename is None:
                raise
            raise _Refusal(f"{error.filename}: {error.strerror}.") from error
        except KeyboardInterrupt as error:
            ctx.exit(getattr(error, "exit_code", INTERRUPTED))


@contextmanager
def _safe_messages() -> Iterator[None]:
    """Escape and shorten what error messages quote from files and the command line."""
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
      brs-detr demo                        train a small model on the CPU, and see its detections
      brs-detr check DATA                  find problems in your dataset (COCO, Pascal VOC or YOLO)
      brs-detr finetune DATA               train on it with a suitable recipe, and get a report
      brs-detr predict RUN street.jpg      draw the detections of the trained model
      brs-detr export RUN                  export it to a file that runs without PyTorch
    """


def run() -> None:
    """Run the command `brs-detr`.

    After an interrupt inside `exec`, for instance while a dataclass is created, Python ends itself by SIGINT even if
    the interrupt was handled. `os._exit` keeps the exit code.
    """
    shorten_spin()
    show_plainly()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        main(prog_name="brs-detr")
    except _Terminated:
        _clean_up()
        signal.raise_signal(signal.SIGTERM)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _clean_up()
            os._exit(INTERRUPTED)
        raise


class _Terminated(SystemExit):
    """Raised on SIGTERM, so that unfinished work is undone."""


def _terminate(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_DFL)
    if multiprocessing.parent_process() is not None:  # a data loader worker has inherited this handler
        signal.raise_signal(number)
    raise _Terminated(128 + number)


def _clean_up() -> None:
    for child in multiprocessing.active_children():
        child.terminate()
    remove_temporary_folders()
    sys.stdout.flush()
    sys.stderr.flush()
