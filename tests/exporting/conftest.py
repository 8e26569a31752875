import pytest
from rich.console import Console
from tiny_runs import one_thread, shapes, tiny_config, tiny_plain_config, trained  # noqa: F401


@pytest.fixture
def console() -> Console:
    return Console(quiet=True)
