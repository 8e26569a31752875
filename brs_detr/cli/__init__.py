"""The command `brs-detr`: one file a command, imported when it is called for."""

from __future__ import annotations

import importlib
import io
import multiprocessing
import os
import sys
from typing import Any

import click

import brs_detr
from brs_detr.cli.openmp import shorten_spin
from brs_detr.data.text import printable
from brs_detr.errors import UserError, did_you_mean
from brs_detr.extras import add_extra, extra_of

COMMANDS = (
    "demo",
    "check",
    "finetune",
    "train",
    "report",
    "replay",
    "eval",
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
    "bench",
)
INTERRUPTED = 130
_MAX_MESSAGE = 100_000  # characters


class _Refusal(click.ClickException):
    """A UserError on its way to the console."""

    exit_code = 2


class CommandGroup(click.Group):
    """Finds its commands in the files of this folder, and turns a UserError into one message and exit code 2."""

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
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise _Refusal(printable(str(error), _MAX_MESSAGE)) from error
        except ModuleNotFoundError as error:
            extra = extra_of(error.name or "")
            if extra is None:
                raise
            raise _Refusal(str(UserError(f"This needs the package {error.name}.", add_extra(extra)))) from None
        except ImportError as error:
            if "cv2" not in (error.name or str(error)):
                raise
            from brs_detr.ops.installation import cure_opencv

            raise _Refusal(str(UserError(f"OpenCV cannot be loaded: {error}.", cure_opencv()))) from None
        except OSError as error:  # a folder that is a file, a full disk, no permission
            if error.filename is None:
                raise
            raise _Refusal(f"{error.filename}: {error.strerror}.") from error
        except KeyboardInterrupt as error:
            ctx.exit(getattr(error, "exit_code", INTERRUPTED))


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
    try:
        main(prog_name="brs-detr")
    except SystemExit as end:
        if end.code == INTERRUPTED:
            for child in multiprocessing.active_children():
                child.terminate()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise
