"""Whatever is in a checkpoint, it is read or refused in words, and no code in it runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from mutations import Edit, answer_of, edited, edits

from brs_detr.checkpoints.checkpoint import read_checkpoint
from brs_detr.checkpoints.file_info import describe_file
from brs_detr.checkpoints.plain_file import load_plain
from brs_detr.errors import UserError
from brs_detr.training.checkpoints import is_whole


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small files of each kind, and a place for a damaged copy."""
    folder = tmp_path_factory.mktemp("checkpoints")
    meta = {"cfg": "model = dict(type='CoDETR', backbone=dict(depth=18))\n", "dataset_meta": {"classes": ("a", "b")}}
    content = {"state_dict": {"a.weight": torch.ones(2, 3), "b": torch.arange(3)}, "meta": meta}
    torch.save(content, folder / "zip.pth")
    torch.save(content, folder / "pickle.pth", _use_new_zipfile_serialization=False)
    from safetensors.torch import save_file

    save_file(content["state_dict"], folder / "plain.safetensors", {"cfg": meta["cfg"]})
    return {path.stem: path for path in folder.iterdir()}


@pytest.mark.parametrize("kind", ["zip", "pickle", "plain"])
@settings(max_examples=120)
@example(changes=[(1000000, 8, b"\0\0\0\0\0\0\0\1")])
@given(changes=edits)
@pytest.mark.fault(
    "Files from elsewhere", "checkpoints with bytes changed at random", "loaded, or refused with a message"
)
def test_edited_checkpoints(kind: str, files: dict[str, Path], changes: list[Edit]) -> None:
    damaged = files[kind].with_name("damaged" + files[kind].suffix)
    damaged.write_bytes(edited(files[kind].read_bytes(), changes))
    for read in (load_plain, read_checkpoint, describe_file, is_whole):
        if read is not load_plain or kind != "plain":
            answer_of(lambda read=read: read(damaged), UserError)
