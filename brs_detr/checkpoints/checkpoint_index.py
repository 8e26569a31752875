"""The released weights in `checkpoints/index.toml`: find, download and check them."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

import brs_detr
from brs_detr.checkpoints.download import MOST_BYTES, download, sha256_of
from brs_detr.errors import UserError, did_you_mean
from brs_detr.files import write_whole

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_GOOGLE_DRIVE = "https://drive.usercontent.google.com/download?id={}&export=download&confirm=t"
_RECORD = "sha256.json"  # checksums of downloaded files
MIRROR_VARIABLE = "BRS_DETR_MIRROR"


@dataclass(frozen=True)
class IndexEntry:
    """Released weights.

    Args:
        name: name in the index.
        what: description in one line.
        google_drive_id: id of the file on Google Drive.
        file_name: name of the file here and on a mirror.
        sha256: published checksum; empty without one.
        config: name of the config that the weights belong to.
        paper_ap: published box AP on COCO val2017, in percent.
        source: publication of the AP and the file.
        licence: licence of the weights.
        num_bytes: size of the file; 0 if unknown.
    """

    name: str
    what: str
    google_drive_id: str
    file_name: str
    sha256: str
    config: str
    paper_ap: float
    source: str
    licence: str
    num_bytes: int = 0

    @property
    def url(self) -> str:
        """Address of the file."""
        return _GOOGLE_DRIVE.format(self.google_drive_id)


@dataclass(frozen=True)
class Fetched:
    """A downloaded file of the index.

    Args:
        path: path of the file.
        sha256: checksum of the file.
        is_known: whether the checksum was compared with a published one, or with that of an earlier download.
    """

    path: Path
    sha256: str
    is_known: bool


def index_file() -> Path:
    """Return the path of `index.toml`: in the package if it is installed, beside it in a clone."""
    package = Path(brs_detr.__file__).parent
    shipped = package / "checkpoints" / "index.toml"
    return shipped if shipped.is_file() else package.parent / "checkpoints" / "index.toml"


def read_index() -> dict[str, IndexEntry]:
    """Read all entries by name."""
    content = tomllib.loads(index_file().read_text(encoding="utf-8"))
    return {name: IndexEntry(name=name, **entry) for name, entry in content.items()}


def find_entry(name: str) -> IndexEntry:
    """Return the entry with a name.

    Raises:
        UserError: there is none. The hint suggests the closest name.
    """
    index = read_index()
    if name not in index:
        raise UserError(f"There are no released weights {name!r}.", did_you_mean(name, index))
    return index[name]


def cache_folder() -> Path:
    """Return the default folder for downloads."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "brs-detr" / "checkpoints"


def fetch(
    name: str,
    *,
    folder: Path | None = None,
    mirror: str | None = None,
    force: bool = False,
    most_bytes: int = MOST_BYTES,
    insecure: bool = False,
    console: Console,
) -> Fetched:
    """Download released weights if needed, and compare their checksum.

    Args:
        name: name in the index.
        folder: folder for the file; default: `cache_folder()`.
        mirror: address of a folder that has the file; default: the environment variable `BRS_DETR_MIRROR`, or the
            published address.
        force: download the file again.
        most_bytes: limit for a file of unknown size.
        insecure: allow http without a known checksum.
        console: shows progress.

    Raises:
        UserError: there is no such entry, the file cannot be downloaded, or its checksum differs.
    """
    entry, folder = find_entry(name), folder or cache_folder()
    path, mirror = folder / entry.file_name, mirror or os.environ.get(MIRROR_VARIABLE)
    expected = entry.sha256 or _recorded(folder).get(name, "")
    if force or not path.is_file():
        url = f"{mirror.rstrip('/')}/{entry.file_name}" if mirror else entry.url
        limit = entry.num_bytes or most_bytes
        download(url, path, sha256=expected, most_bytes=limit, insecure=insecure, console=console)
    found = sha256_of(path)
    if expected and found != expected:
        raise UserError(
            f"{path} is not the expected file: its SHA-256 is {found}, not {expected}.",
            f"Download it again: brs-detr download {name} --force. If its authors replaced it and you trust them, "
            f"delete its line in {folder / _RECORD} first.",
        )
    recorded = _recorded(folder)
    if recorded.get(name) != found:
        write_whole(folder / _RECORD, json.dumps({**recorded, name: found}, indent=1) + "\n")
    return Fetched(path, found, bool(expected))


def _recorded(folder: Path) -> dict[str, str]:
    path = folder / _RECORD
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): str(value) for name, value in content.items()}
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path} is damaged: {error}", "Delete it; checksums are then recorded again.") from None
