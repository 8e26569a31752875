"""`brs-detr doctor`: check the installation, and say how to fix each fault."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from brs_detr.errors import UserError
from brs_detr.extras import EXTRAS, add_extra

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from brs_detr.mm.installation import Check

CONFIG = "brs-co-deformable-detr_r18_1xb4-4e_shapes"
_COLOURS = {"ok": "green", "note": "yellow", "fault": "bold red"}
_HINT = "Reinstall brs-detr and its dependencies in a new environment. If that does not help, report this line."


@click.command("doctor", short_help="Check the installation and say how to fix each fault.")
def command() -> None:
    """Check the installation, every operator and one training step, and say how to fix each fault.

    If only the runtime is installed, missing packages for training are listed, but are not faults. Exits with code 0 if
    everything that is installed works, and with code 1 otherwise.
    """
    from rich.text import Text

    from brs_detr.mm.installation import can_train, check_installation, installed_versions
    from brs_detr.run.console import make_console

    console = make_console()
    _print_table(console, "Versions", [("Python", sys.version.split()[0]), *installed_versions().items()])
    _print_extras(console)
    checks = check_installation()
    _print_checks(console, "Installation", checks)
    if can_train() and not _faults(checks):
        from brs_detr.mm.ops import implementations

        _print_table(console, "Operators", implementations())
        tests = [*(check for device in _devices() for check in check_operators(device)), check_training()]
        _print_checks(console, "Self-tests", tests)
        checks += tests
    faults = _faults(checks)
    broken = ", ".join(check.name for check in faults)
    works = "Everything works." if can_train() else "What is installed works."
    console.print(Text(f"Broken: {broken}.", "bold red") if faults else Text(works, "green"))
    sys.exit(1 if faults else 0)


def check_operators(device: str) -> list[Check]:
    """Run every operator on ``cpu`` or ``cuda``."""
    from brs_detr.mm.installation import Check
    from brs_detr.mm.ops.selftest import run_self_tests
    from brs_detr.mm.platform import prepare

    prepare()
    checks = []
    for test in run_self_tests(device):
        name, duration = f"{test.op} ({device})", f"{1000 * test.seconds:.0f} ms"
        checks.append(Check(name, "fault", test.error, _HINT) if test.error else Check(name, "ok", duration))
    return checks


def check_training() -> Check:
    """Check one training step."""
    from brs_detr.mm.installation import Check

    name, start = f"training step ({_devices()[-1]})", time.perf_counter()
    try:
        train_one_step(CONFIG)
    except UserError as error:
        return Check(name, "fault", error.message, error.hint or _HINT)
    except Exception as error:  # any fault of the installation is a result, not a crash
        return Check(name, "fault", f"{type(error).__name__}: {error}".splitlines()[0], _HINT)
    return Check(name, "ok", f"{1000 * (time.perf_counter() - start):.0f} ms")


def train_one_step(config: str | Path) -> None:
    """Train on one synthetic image and evaluate on another, as `brs-detr train` does and on the same device.

    Raises:
        ValueError: the loss or a gradient is not finite.
        UserError: see `brs_detr.training.train.train`.
    """
    from rich.console import Console

    from brs_detr.data.synthetic.shapes import make_shapes
    from brs_detr.run.run_folder import RunFolder
    from brs_detr.run.run_record import read_record
    from brs_detr.training.train import train

    with TemporaryDirectory(prefix="brs-detr-") as folder:
        data, run = Path(folder, "data"), Path(folder, "run")
        make_shapes(data, num_train=1, num_val=1, image_size=(64, 64))
        train(config, data, run, seed=0, epochs=1, console=Console(quiet=True))
        if read_record(RunFolder(run)).get("skipped_steps"):
            raise ValueError("the loss or a gradient is not finite")


def _devices() -> list[str]:
    """Return the available devices, of which training uses the last."""
    import torch

    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def _faults(checks: Iterable[Check]) -> list[Check]:
    return [check for check in checks if check.status == "fault"]


def _print_extras(console: Console) -> None:
    """Print which extras are installed, what the others are for, and how to install them."""
    rows = []
    for name, extra in EXTRAS.items():
        missing = extra.missing()
        note = f"lacks {', '.join(missing)}" if 0 < len(missing) < len(extra.modules) else ""
        rows.append(("-" if missing else "ok", f"[{name}]", extra.purpose, note))
    _print_table(console, "Extras", rows)
    if any(extra.missing() for extra in EXTRAS.values()):
        console.print(add_extra("NAME"))


def _print_checks(console: Console, title: str, checks: Sequence[Check]) -> None:
    """Print a row for each check, then a hint for each that is not ok."""
    from rich.text import Text

    rows = [(Text(check.status, _COLOURS[check.status]), check.name, check.detail) for check in checks]
    _print_table(console, title, rows)
    for check in checks:
        if check.status != "ok" and check.hint:
            console.print(Text(f"Hint for {check.name}: {check.hint}", "bold"))


def _print_table(console: Console, title: str, rows: Iterable[Sequence[str | Text]]) -> None:
    """Print rows under a title, with a frame on a terminal and as plain columns elsewhere."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", show_header=False, box=box.ROUNDED if console.is_terminal else None
    )
    for row in rows:
        table.add_row(*row)
    console.print(table)
