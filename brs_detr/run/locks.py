"""Locks on files, and the lock that keeps a second training out of a run's folder."""

from __future__ import annotations

import errno
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
from brs_detr.run.run_folder import RunFolder

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_MOUNTS = Path("/proc/self/mountinfo")
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
_LOCAL_FILE_SYSTEMS = {"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"}
_SHARED_FILE_SYSTEMS = {"ceph", "gpfs", "lustre", "nfs", "nfs4"}
_LOCKS_OF_ONE_MACHINE = {"localflock", "local_lock=all", "local_lock=flock", "nolock"}

_held: set[int] = set()


class Held(Exception):
    """Another process holds the lock."""


@contextmanager
def hold(lock: Path, *, wait: bool) -> Iterator[int | None]:
    """Hold a lock file until the block or the process ends. It is created if needed, and the holder may remove it.

    Args:
        lock: the file. Its content stays as it is.
        wait: wait for another process that holds it.

    Yields:
        The descriptor. A program that inherits it holds the lock too; a fork does not. None where the system or the
        file system has no locks.

    Raises:
        Held: another process holds it, and `wait` is false.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _lock(lock, wait)
    if descriptor is None:
        yield None
        return
    _held.add(descriptor)
    try:
        yield descriptor
    finally:
        if descriptor in _held:
            _held.remove(descriptor)
            os.close(descriptor)


def _lock(lock: Path, wait: bool) -> int | None:
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if lock.exists() and os.path.samestat(os.fstat(descriptor), lock.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise Held(lock) from None
        except OSError as error:
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                return None
            raise
        os.close(descriptor)  # the previous holder has removed the file


def _close_in_fork() -> None:
    """A forked process, such as a data loader's worker, would keep the lock after its parent ends."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_close_in_fork)


def is_locked_for_all(path: Path) -> bool:
    """Whether a lock on this file or folder is seen by every machine that sees the path. False if unknown."""
    path = path.resolve()
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    mounts = {line.split()[4].replace(r"\040", " "): line for line in lines}  # of two at one point the later is seen
    seen, _, file_system = mounts[max(filter(path.is_relative_to, mounts), key=len)].partition(" - ")
    kind, *_, options = file_system.split()
    is_for_one = _LOCKS_OF_ONE_MACHINE & {*options.split(","), *seen.split()[5].split(",")}
    return kind in _LOCAL_FILE_SYSTEMS or (kind in _SHARED_FILE_SYSTEMS and not is_for_one)


@dataclass(frozen=True)
class Holder:
    """The training that holds a run's folder, as its lock file says.

    Args:
        host: name of the machine.
        process: process id, which in a container is the container's.
        started: ISO 8601 time.
        boot: id of the machine's boot, the same in all of its containers.
        job: id of the Slurm job, empty outside Slurm.
        restarts: how often Slurm has requeued the job.
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
    """Read who wrote a lock file. None if it is unreadable, as in the moment before it is written."""
    try:
        return Holder(**json.loads(lock.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def hold_run(run: RunFolder, console: Console) -> Iterator[None]:
    """Keep every other training out of a run's folder. The first of several processes holds the lock for all.

    Args:
        run: the folder is created if needed, and removed again if it stays empty.
        console: where to report that an earlier training was killed.

    Raises:
        UserError: another training is, or may be, in the folder. Every process raises it, and nothing is written.
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
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    job, restarts = os.environ.get("SLURM_JOB_ID", ""), int(os.environ.get("SLURM_RESTART_COUNT") or 0)
    return Holder(platform.node(), os.getpid(), started, boot, job, restarts)


def _require_gone(before: Holder, here: Holder, run: RunFolder, has_lock: bool) -> None:
    """Refuse to replace a training that may still run although its lock is not seen here."""
    is_requeued = before.job != "" and before.job == here.job and before.restarts < here.restarts
    is_told_by_lock = has_lock and (before.boot == here.boot or is_locked_for_all(run.path))
    if not (is_requeued or is_told_by_lock):
        raise UserError(
            f"A training may still run in {run.path}: {before}. Locks of that machine cannot be seen from here.",
            f"If it is gone, remove {run.lock} and run the command again.",
        )


def _refusal(holder: Holder | None, here: Holder, run: RunFolder) -> UserError:
    hint = "Wait for it or end it, or write elsewhere with --work-dir DIR."
    if holder is not None and holder.boot != here.boot:
        hint += f" If that machine is gone for good, remove {run.lock}."
    return UserError(f"Another training runs in {run.path}: {holder or 'a process that has just begun'}.", hint)
