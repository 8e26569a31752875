"""File locks, and the lock that keeps a second training run out of a run folder."""

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
_LOCAL_LOCK_OPTIONS = {"localflock", "local_lock=all", "local_lock=flock", "nolock"}

_held: set[int] = set()


class Held(Exception):
    """Raised when another process holds a lock."""


@contextmanager
def hold(lock: Path, *, wait: bool) -> Iterator[int | None]:
    """Hold a lock file, created if needed, until the block or the process ends. The holder may remove the file.

    Args:
        lock: path of the lock file, whose content is not changed.
        wait: wait if another process holds the lock.

    Yields:
        The file descriptor. A program that inherits it holds the lock too, but a forked process does not. None if the
        operating system or the file system does not support locks.

    Raises:
        Held: another process holds the lock, and `wait` is false.
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
    """Release the locks in a forked process, such as a data loader worker, which may outlive its parent."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_close_in_fork)


def is_locked_for_all(path: Path) -> bool:
    """Return whether every machine that can access a path also sees locks on it. False if unknown."""
    path = path.resolve()
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    mounts = {line.split()[4].replace(r"\040", " "): line for line in lines}  # a later mount hides an earlier one
    mount, _, file_system = mounts[max(filter(path.is_relative_to, mounts), key=len)].partition(" - ")
    kind, *_, options = file_system.split()
    has_local_locks = _LOCAL_LOCK_OPTIONS & {*options.split(","), *mount.split()[5].split(",")}
    return kind in _LOCAL_FILE_SYSTEMS or (kind in _SHARED_FILE_SYSTEMS and not has_local_locks)


@dataclass(frozen=True)
class Holder:
    """The process that holds a run folder, according to its lock file.

    Args:
        host: name of the machine.
        process: process id, as seen inside its container if there is one.
        started: start time in ISO 8601.
        boot: boot id of the machine, the same in all of its containers.
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
    """Read which process wrote a lock file. None if it is unreadable, for instance not written yet."""
    try:
        return Holder(**json.loads(lock.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def hold_run(run: RunFolder, console: Console) -> Iterator[None]:
    """Lock a run folder against other training runs. The first of several processes holds the lock for all.

    Args:
        run: the folder, which is created if needed and removed again if it stays empty.
        console: where to report that an earlier run was killed.

    Raises:
        UserError: another run uses, or may use, the folder. Every process raises it, and nothing is written.
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
                console.print(f"The previous training was killed: {before}.", markup=False)
            run.lock.write_text(json.dumps(asdict(here)) + "\n", encoding="utf-8")
            try:
                yield
            finally:
                run.lock.unlink(missing_ok=True)
                for path in made:
                    with suppress(OSError):  # usually it is not empty
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
    """Refuse to replace a run that may still be active although its lock cannot be seen from this machine."""
    is_requeued = before.job != "" and before.job == here.job and before.restarts < here.restarts
    is_unlocked = has_lock and (before.boot == here.boot or is_locked_for_all(run.path))
    if not (is_requeued or is_unlocked):
        raise UserError(
            f"A training may still run in {run.path}: {before}. Locks of that machine cannot be seen from here.",
            f"If it has ended, remove {run.lock} and run the command again.",
        )


def _refusal(holder: Holder | None, here: Holder, run: RunFolder) -> UserError:
    hint = "Wait for it, stop it, or choose another folder with --work-dir DIR."
    if holder is not None and holder.boot != here.boot:
        hint += f" If that machine is gone for good, remove {run.lock}."
    return UserError(f"Another training runs in {run.path}: {holder or 'a process that has just started'}.", hint)
