"""Options and fixtures shared by all tests.

``--slow`` runs what takes minutes. ``--golden DIR`` also compares with the full reference numbers of the official code
in that folder; compact extracts of them are in ``tests/golden`` and are always compared with.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

import hypothesis
import pytest
import torch
from browser import browser_page, chromium, find_chromium  # noqa: F401

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton is imported: its kernels then run on a CPU

NUM_THREADS = os.environ.get("BRS_DETR_TEST_THREADS", "1")  # `make test-isa` asks for more

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several that share the cores
    os.environ["OMP_NUM_THREADS"] = NUM_THREADS
    torch.set_num_threads(int(NUM_THREADS))

hypothesis.settings.register_profile("often", derandomize=True, deadline=None, database=None, max_examples=40)
hypothesis.settings.register_profile("slow", hypothesis.settings.get_profile("often"), max_examples=200)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests that take minutes")
    parser.addoption("--golden", type=Path, metavar="DIR", help="folder with the full reference numbers")


def pytest_configure(config: pytest.Config) -> None:
    folder = config.getoption("--golden")
    if folder is not None and not folder.is_dir():
        raise pytest.UsageError(f"--golden: no such folder: {folder}")
    hypothesis.settings.load_profile("slow" if config.getoption("--slow") else "often")


def pytest_collection_finish() -> None:
    """Exclude all existing objects from garbage collection, which mmengine starts with every dataset."""
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what was not asked for, rather than report it as skipped."""
    slow, golden, cuda = config.getoption("--slow"), config.getoption("--golden"), torch.cuda.is_available()
    has_browser = find_chromium() is not None

    def is_wanted(item: pytest.Item) -> bool:
        needs_golden = "golden_dir" in getattr(item, "fixturenames", ())
        return (
            (slow or item.get_closest_marker("slow") is None)
            and item.get_closest_marker("interpreted" if cuda else "cuda") is None
            and (has_browser or item.get_closest_marker("browser") is None)
            and (golden is not None or not needs_golden)
        )

    unwanted = [item for item in items if not is_wanted(item)]
    if unwanted:
        config.hook.pytest_deselected(items=unwanted)
        items[:] = [item for item in items if is_wanted(item)]


@pytest.fixture(scope="session")
def golden_dir(pytestconfig: pytest.Config) -> Path:
    """The folder given by ``--golden``; tests that use it are collected only with that option."""
    return pytestconfig.getoption("--golden").resolve()


@pytest.fixture(params=["cpu"] + ["cuda"] * torch.cuda.is_available())
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device of this machine in turn."""
    return torch.device(request.param)
