from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from brs_detr.run import locks
from brs_detr.run.locks import Held, hold, is_locked_for_all


def test_one_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / "new" / "lock"
    with hold(lock, wait=False):
        lock.write_text("mine")
        with pytest.raises(Held), hold(lock, wait=False):
            pass
        assert lock.read_text() == "mine"
    with hold(lock, wait=False):
        pass


def test_who_waited_holds_the_file_that_is_there(tmp_path: Path) -> None:
    """Not the file that the previous holder has removed, which a later process would not see."""
    lock, is_refused = tmp_path / "lock", []

    def wait() -> None:
        with hold(lock, wait=True):
            try:
                with hold(lock, wait=False):
                    pass
            except Held:
                is_refused.append(True)

    with hold(lock, wait=False):
        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(0.2)
        lock.unlink()
    waiting.join(20)
    assert is_refused == [True]


def test_a_fork_does_not_hold_the_lock_beyond_the_end_of_its_parent(tmp_path: Path) -> None:
    """Such as a data loader worker of a training that is killed."""
    script = f"""
import os, time
from pathlib import Path
from brs_detr.run.locks import hold
with hold(Path({str(tmp_path / "lock")!r}), wait=False):
    if os.fork() == 0:
        print(os.getpid(), flush=True)
    time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    try:
        with hold(tmp_path / "lock", wait=False):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        parent.stdout.close()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", fail)
    with hold(tmp_path / "lock", wait=False) as descriptor:
        assert descriptor is None


@pytest.mark.parametrize(
    ("kind", "options", "is_shared"),
    [
        ("nfs4", "rw,vers=4.2,local_lock=none", True),
        ("nfs", "rw,vers=3,nolock,local_lock=all", False),
        ("nfs", "rw,vers=3,local_lock=flock", False),
        ("lustre", "rw,flock", True),
        ("lustre", "rw,localflock", False),
        ("ext4", "rw", True),  # which no other machine sees
        ("fuse.sshfs", "rw", False),
        ("beegfs", "rw", False),
    ],
)
def test_whether_other_machines_see_a_lock(
    kind: str, options: str, is_shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "my runs"
    place.mkdir()
    lines = [
        "27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw",
        rf"90 27 0:49 / {tmp_path}/my\040runs rw - cifs //server/runs rw",
        rf"99 90 0:50 / {tmp_path}/my\040runs rw,relatime shared:7 - {kind} server:/runs {options}",
    ]
    (tmp_path / "mountinfo").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(locks, "_MOUNTS", tmp_path / "mountinfo")
    assert is_locked_for_all(place / "run") == is_shared
    assert is_locked_for_all(tmp_path)


def test_a_system_that_does_not_tell_what_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_MOUNTS", tmp_path / "nothing")
    assert not is_locked_for_all(tmp_path)
