"""One training at a time in the folder of a run."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console

from brs_detr.errors import UserError
from brs_detr.run.distributed import from_first, is_first
from brs_detr.run.file_lock import Held, hold, is_locked_for_all
from brs_detr.run.run_folder import RunFolder

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Holder:
    """Who trains in a folder, as its lock file tells.

    Args:
        host: name of the machine.
        process: its number, which in a container is that of the container.
        started: time, ISO 8601.
        boot: one for each start of a machine; all of its containers share it.
        job: number of a Slurm job; empty outside of one.
        restarts: how often Slurm has queued that job again.
    """

    host: str
    process: int
    started: str
    boot: str
    job: str = ""
    restarts: int = 0

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.started}"


def read_holder(lock: Path) -> Holder | None:
    """Who wrote a lock file; None where that is not readable, as in the moment before it is written."""
    try:
        return Holder(**json.loads(lock.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def hold_run(run: RunFolder, console: Console) -> Iterator[None]:
    """Keep every other training out of the folder of a run.

    The first of several processes holds the lock for all, and all are refused together.

    Args:
        run: its folder is made if need be; one that was made and stays empty is removed.
        console: where to tell that a training before was lost.

    Raises:
        UserError: another training is in the folder, or may be; nothing has been written.
    """
    with ExitStack() as stack:
        refusal = None
        if is_first():
            try:
                stack.enter_context(_hold(run, console))
            except UserError as error:
                refusal = error
        refusal = from_first(refusal)
        if refusal is not None:
            raise refusal
        yield


@contextmanager
def _hold(run: RunFolder, console: Console) -> Iterator[None]:
    made = [path for path in (run.path, *run.path.parents) if not path.exists()]
    here = _this_process()
    try:
        with hold(run.lock, wait=False) as descriptor:
            before = read_holder(run.lock)
            if before is not None:
                _require_gone(before, here, run, has_lock=descriptor is not None)
                console.print(f"The training before was ended from outside: {before}.", markup=False)
            run.lock.write_text(json.dumps(asdict(here)) + "\n", encoding="utf-8")
            try:
                yield
            finally:
                run.lock.unlink(missing_ok=True)
                for path in made:
                    with suppress(OSError):  # it is not empty, which is usual
                        path.rmdir()
    except Held:
        raise _refusal(read_holder(run.lock), here, run) from None


def _this_process() -> Holder:
    try:
        boot = _BOOT.read_text().strip()
    except OSError:
        boot = platform.node()
    return Holder(
        host=platform.node(),
        process=os.getpid(),
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        boot=boot,
        job=os.environ.get("SLURM_JOB_ID", ""),
        restarts=int(os.environ.get("SLURM_RESTART_COUNT") or 0),
    )


def _require_gone(before: Holder, here: Holder, run: RunFolder, has_lock: bool) -> None:
    """Refuse to take the place of a training that may still run, though its lock is not seen here."""
    is_queued_again = before.job != "" and before.job == here.job and before.restarts < here.restarts
    is_told_by_lock = has_lock and (before.boot == here.boot or is_locked_for_all(run.path))
    if not (is_queued_again or is_told_by_lock):
        raise UserError(
            f"A training may still run in {run.path}: {before}. Locks of that machine cannot be seen from here.",
            f"If it is gone, remove {run.lock} and give the command again.",
        )


def _refusal(holder: Holder | None, here: Holder, run: RunFolder) -> UserError:
    cure = "Wait for it or end it, or write elsewhere with --work-dir DIR."
    if holder is not None and holder.boot != here.boot:
        cure += f" If that machine is gone for good, remove {run.lock}."
    return UserError(f"Another training runs in {run.path}: {holder or 'a process that has just begun'}.", cure)
