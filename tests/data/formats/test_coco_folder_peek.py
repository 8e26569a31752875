from __future__ import annotations

import json
from pathlib import Path

import pytest

from brs_detr.data.formats import coco_folder_peek
from brs_detr.data.formats.coco_folder_peek import first_image_names, looks_like_coco

DATASET = {
    "annotations": [{"id": number} for number in range(500)],
    "images": [{"id": 1, "file_name": 'a "b" \\ é.jpg'}, {"id": 2, "file_name": "c.jpg"}],
    "categories": [],
}


@pytest.mark.parametrize("chunk", [1 << 20, 64])
def test_a_large_file_is_looked_into_piece_by_piece(tmp_path: Path, monkeypatch, chunk: int) -> None:
    monkeypatch.setattr(coco_folder_peek, "_CHUNK", chunk)
    file = tmp_path / "a.json"
    file.write_text(json.dumps(DATASET))
    assert looks_like_coco(file)
    assert first_image_names(file)[0] == 'a "b" \\ é.jpg'


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_do_not_matter(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.json").write_bytes(json.dumps(DATASET, ensure_ascii=False).encode(encoding))
    assert looks_like_coco(tmp_path / "a.json") and first_image_names(tmp_path / "a.json")[0] == 'a "b" \\ é.jpg'


def test_the_number_of_names_is_limited(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"images": [{"file_name": str(number)} for number in range(9)]}))
    assert first_image_names(tmp_path / "a.json", limit=2) == ["0", "1"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"images": [], "annotations": []}', b'{"file_name": "\xff\\q"'])
def test_another_or_a_broken_file_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert not looks_like_coco(tmp_path / "a.json") and first_image_names(tmp_path / "a.json") == []
    assert not looks_like_coco(tmp_path / "absent.json")
