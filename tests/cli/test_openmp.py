from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from brs_detr.cli.process_setup import SPIN_COUNT, shorten_spin

NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME", "KMP_LIBRARY")


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that control how threads wait, restored after a test."""
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def output_of(code: str, **variables: str) -> str:
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, check=True)
    return result.stdout + result.stderr


def test_threads_wait_shortly_whatever_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    shorten_spin()
    assert {name: os.environ.get(name) for name in NAMES} == {**dict.fromkeys(NAMES), "GOMP_SPINCOUNT": str(SPIN_COUNT)}


@pytest.mark.parametrize("name", NAMES)
def test_who_says_how_threads_wait_is_obeyed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "7")
    shorten_spin()
    assert {other: os.environ[other] for other in NAMES if other in os.environ} == {name: "7"}


def test_the_command_says_so_before_pytorch_is_there() -> None:
    code = """
import os, sys, brs_detr.cli
def main(**_):
    print(os.environ["GOMP_SPINCOUNT"], "torch" in sys.modules)
assert "GOMP_SPINCOUNT" not in os.environ  # importing changes nothing
brs_detr.cli.main = main
brs_detr.cli.run()
"""
    assert output_of(code).split() == [str(SPIN_COUNT), "False"]


def test_the_threads_of_pytorch_obey() -> None:
    folder = Path(importlib.util.find_spec("torch").origin).parent
    found = [*folder.glob("lib/libgomp*.so*"), *folder.parent.glob("torch.libs/libgomp*.so*")]
    if not found:
        pytest.skip("this PyTorch has another OpenMP than GCC's")
    start = "from brs_detr.cli.process_setup import shorten_spin; shorten_spin(); import ctypes; "
    code = start + f"ctypes.CDLL({str(found[0])!r})"
    assert f"GOMP_SPINCOUNT = '{SPIN_COUNT}'" in output_of(code, OMP_DISPLAY_ENV="verbose")
