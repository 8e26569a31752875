"""What an exported program of PyTorch, which is a zip, says of itself; nothing else in it is read."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from brs_detr.errors import UserError
from brs_detr.runtime.artefact_info import METADATA_KEY, ArtefactInfo

MOST_BYTES = 2**24
"""Of a description; a zip of a few kilobytes can claim to hold any number."""


def read_archived_info(path: Path) -> ArtefactInfo | None:
    """The description that `brs-detr export` put into an archive; None where there is none.

    Raises:
        UserError: the file is missing or damaged, or the description says something that cannot be.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            places = [entry for entry in archive.infolist() if entry.filename.endswith(f"/extra/{METADATA_KEY}")]
            if len(places) != 1 or places[0].file_size > MOST_BYTES:
                return None
            text = archive.read(places[0]).decode("utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"Cannot open {path}: {error.strerror}.", "Check the path.") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:  # some: encrypted
        raise UserError(f"{path} is damaged inside: {error}", "Copy the file again, or export it again.") from None
    return ArtefactInfo.from_json(text, path)
