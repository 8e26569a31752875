from __future__ import annotations

from pathlib import Path

import pytest

from brs_detr.errors import UserError
from brs_detr.predict.sources import find_sources, left_out


def names(tmp_path: Path, *texts: object, recursive: bool = False) -> list[str]:
    return [source.name for source in find_sources([str(text) for text in texts], recursive, tmp_path)]


def test_folders(photos: Path, tmp_path: Path) -> None:
    assert names(tmp_path, photos) == ["a.jpg", "b.png"]
    assert names(tmp_path, photos, recursive=True) == ["a.jpg", "b.png", "more/a.jpg"]
    (tmp_path / "outer").mkdir()
    photos.rename(tmp_path / "outer" / "photos")
    with pytest.raises(UserError, match="Add --recursive"):
        names(tmp_path, tmp_path / "outer")


def test_patterns(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(tmp_path, photos / "*.jpg") == ["a.jpg"]
    assert names(tmp_path, photos / "**" / "*.jpg") == ["a.jpg", "more/a.jpg"]
    monkeypatch.chdir(photos)
    assert names(tmp_path, "*.png") == ["b.png"]
    for pattern in ("*.gif", "*.txt"):
        with pytest.raises(UserError, match="No image or video matches"):
            names(tmp_path, photos / pattern)


def test_every_kind_of_image_is_found_whatever_its_case(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    kinds = ["a.jfif", "b.GIF", "c.ppm", "d.JP2", "e.Webp", "f.TIF", "g.avif", "h.heic", "i.pgm", "j.JPG"]
    for name in kinds:
        (photos / name).touch()
    assert names(tmp_path, photos) == kinds and left_out([str(photos)], False) == []


def test_what_a_folder_holds_besides_is_named(photos: Path, tmp_path: Path) -> None:
    for name in ("clip.mp4", "more/scan.pdf", ".DS_Store"):
        (photos / name).touch()
    assert left_out([str(photos)], False) == [str(photos / "clip.mp4"), str(photos / "notes.txt")]
    assert str(photos / "more" / "scan.pdf") in left_out([str(photos)], True)
    assert left_out([str(photos / "*"), str(photos / "a.jpg")], False) == [str(photos / "notes.txt")]
    assert left_out(["http://host/a.jpg?b=1", "webcam"], False) == []


def test_a_folder_with_signs_of_a_pattern_in_its_name_means_itself(photos: Path, tmp_path: Path) -> None:
    folder = photos.rename(tmp_path / "set [v1] (2)")
    assert names(tmp_path, folder) == ["a.jpg", "b.png"]
    assert names(tmp_path, folder / "*.jpg") == ["a.jpg"]
    assert names(tmp_path, tmp_path / "s*" / "m*" / "*") == ["a.jpg"]
    assert names(tmp_path, tmp_path / "*" / "[ab].*") == ["a.jpg", "b.png"]
    with pytest.raises(UserError, match=r"nope.jpg: there is no such file.\s+Check the path"):
        names(tmp_path, folder / "nope.jpg")
    with pytest.raises(UserError, match=r"matches .*none \[v1\]/a.jpg, and there is no file of this name"):
        names(tmp_path, tmp_path / "none [v1]" / "a.jpg")
    assert names(tmp_path, folder / "a**") == ["a.jpg"]


def test_files_of_one_name_are_told_apart(photos: Path, tmp_path: Path) -> None:
    assert names(tmp_path, photos / "a.jpg", photos / "more" / "a.jpg") == ["a.jpg", "more/a.jpg"]
    assert names(tmp_path, photos, photos / "more") == ["a.jpg", "b.png", "more/a.jpg"]


def test_files_of_one_name_are_told_apart_beside_a_camera_or_one_given_twice(photos: Path, tmp_path: Path) -> None:
    both = (photos / "a.jpg", photos / "more" / "a.jpg")
    assert names(tmp_path, *both, photos / "more" / ".." / "a.jpg") == ["a.jpg", "more/a.jpg"]
    assert names(tmp_path, "webcam", *both) == ["webcam0", "a.jpg", "more/a.jpg"]
    both[1].rename(photos / "more" / "A.JPG")
    assert names(tmp_path, both[0], photos / "more") == ["a.jpg", "more/A.JPG"]


def test_the_same_twice_is_once(photos: Path, tmp_path: Path) -> None:
    assert names(tmp_path, photos / "a.jpg", photos / "a.jpg") == ["a.jpg"]


def test_videos_and_cameras(photos: Path, video: Path, tmp_path: Path) -> None:
    found = find_sources([str(video), "webcam", "webcam:1", "2"], False, tmp_path)
    assert [(source.name, source.is_video, source.camera) for source in found] == [
        ("clip.mp4", True, None),
        ("webcam0", True, 0),
        ("webcam1", True, 1),
        ("webcam2", True, 2),
    ]


def test_a_file_called_like_a_camera(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    (photos / "b.png").rename(photos / "2")
    assert find_sources(["2"], False, tmp_path)[0].camera is None


@pytest.mark.parametrize("address", ["ftp://host/a.jpg", "file:///etc/passwd"])
def test_other_schemes(address: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not an http"):
        find_sources([address], False, tmp_path)
