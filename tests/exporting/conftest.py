from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console
from tiny_runs import one_thread, shapes, tiny_config, tiny_plain_config, trained  # noqa: F401

from brs_detr.checkpoints.checkpoint import Checkpoint
from brs_detr.exporting.export import Subject, write
from brs_detr.exporting.formats import ExportOptions, artefact_name


@pytest.fixture
def console() -> Console:
    return Console(quiet=True)


class Written(NamedTuple):
    """A file before the gate, and the models that it is compared with."""

    subject: Subject
    path: Path


@pytest.fixture(scope="module")
def write_once(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Callable[[ExportOptions], Written]:
    """Write each file of the module's checkpoint once, with its stages, which takes half a minute."""

    @cache
    def written(options: ExportOptions) -> Written:
        subject = Subject.of(checkpoint, options)
        path = tmp_path_factory.mktemp("written") / artefact_name(options)
        write(subject, path)
        return Written(subject, path)

    return written
