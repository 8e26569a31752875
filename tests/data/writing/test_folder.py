from __future__ import annotations

from pathlib import Path

import pytest

from brs_detr.data.writing.folder import fresh_folder
from brs_detr.errors import UserError


def fill(folder: Path, overwrite: bool = False) -> None:
    with fresh_folder(folder, overwrite) as partial:
        (partial / "annotations").mkdir()
        (partial / "new").touch()


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "set"
    with fresh_folder(folder) as partial:
        (partial / "new").touch()
        assert not folder.exists()
    assert (tmp_path / "deep" / "set" / "new").exists()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["set"]


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    fill(tmp_path / "set")
    assert (tmp_path / "set" / "new").exists()


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_of_a_failure(tmp_path: Path, exception: type[BaseException]) -> None:
    with pytest.raises(exception), fresh_folder(tmp_path / "set") as partial:
        (partial / "half").touch()
        raise exception
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_replaced_only_when_asked(tmp_path: Path) -> None:
    fill(tmp_path / "set")
    (tmp_path / "set" / "old").touch()
    with pytest.raises(UserError, match="not empty"):
        fill(tmp_path / "set")
    assert (tmp_path / "set" / "old").exists()
    fill(tmp_path / "set", overwrite=True)
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["annotations", "new"]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_failed_replacement_keeps_the_old_folder(tmp_path: Path) -> None:
    fill(tmp_path / "set")
    with pytest.raises(ValueError), fresh_folder(tmp_path / "set", overwrite=True):
        raise ValueError
    assert (tmp_path / "set" / "new").exists()


def test_what_is_no_data_set_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="does not look like a dataset"):
        fill(tmp_path, overwrite=True)
    with pytest.raises(UserError, match="is a file"):
        fill(tmp_path / "thesis.tex", overwrite=True)
    assert (tmp_path / "thesis.tex").exists()
