"""`train` refuses broken data in the words of the check, and takes what the check calls no error."""

from __future__ import annotations

from pathlib import Path

import pytest
from broken_data import ERRORS, REST, make_broken

from brs_detr.data.checks.check_source import check_source
from brs_detr.data.formats.source import open_source
from brs_detr.errors import UserError
from brs_detr.training.train import train


def complaint(config: Path, folder: Path, tmp_path: Path) -> str:
    """What `train` says. Data that it takes are followed by the complaint about a model that does not exist."""
    with pytest.raises(UserError) as caught:
        train(config, folder, tmp_path / "run", overrides=["model.type=NoSuchModel"])
    return str(caught.value)


@pytest.mark.parametrize("name", ERRORS)
def test_train_refuses_an_error_in_the_words_of_the_check(tmp_path: Path, tiny_config: Path, name: str) -> None:
    make_broken(tmp_path / "set", name)
    errors = check_source(open_source(tmp_path / "set")).of_severity("error")
    message = complaint(tiny_config, tmp_path / "set", tmp_path)
    for placed in errors:
        if placed.split not in (errors[0].split, ""):
            continue  # the first split that cannot be used ends it
        assert placed.finding.examples[0] in message and placed.finding.kind.cure in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", REST)
def test_train_takes_what_is_no_error(tmp_path: Path, tiny_config: Path, name: str) -> None:
    make_broken(tmp_path / "set", name)
    assert "NoSuchModel" in complaint(tiny_config, tmp_path / "set", tmp_path)


@pytest.mark.parametrize("name", ["zero-area box", "YOLO: label without image"])
def test_data_with_warnings_are_trained_on(tmp_path: Path, tiny_config: Path, name: str) -> None:
    make_broken(tmp_path / "set", name)
    run = train(tiny_config, tmp_path / "set", tmp_path / "run", epochs=1, seed=0)
    assert run.best_checkpoint.exists() and run.best_ap >= 0
