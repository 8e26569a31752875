"""What kind of file a file is, by its first bytes and the names in it; its suffix may say anything."""

from __future__ import annotations

import itertools
import pickletools
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from brs_detr.errors import UserError

Kind = Literal[
    "torch",
    "torch-legacy",
    "torch-tar",
    "pickle",
    "torchscript",
    "torch-export",
    "aoti",
    "npz",
    "zip",
    "damaged-zip",
    "safetensors",
    "onnx",
    "json",
    "lfs-pointer",
    "html",
    "text",
    "empty",
    "unknown",
]

_HEAD = 8192  # bytes that are enough to tell
_LEGACY_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")  # of torch.save before 1.6
_ONNX_FIELDS = {0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72}  # that may follow the version of an ONNX model


def file_kind(path: Path) -> Kind:
    """Tell the kind of a file from at most its first 8 KiB and, of a zip, the list of its entries.

    Raises:
        UserError: there is no such file, or it cannot be opened.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"Cannot open {path}: {error.strerror}.", "Check the path.") from None
    if not head:
        return "empty"
    if head.startswith(b"version https://git-lfs"):
        return "lfs-pointer"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "html"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_kind(path)
    if head[257:262] == b"ustar":
        return "torch-tar"
    if path.suffix == ".safetensors" or _is_safetensors(head, size):
        return "safetensors"
    if head[0] == 0x80 and len(head) > 1 and head[1] <= 5:
        return "torch-legacy" if _LEGACY_MAGIC in head[:32] else "pickle"
    if head[0] == 0x08 and len(head) > 2 and 0 < head[1] < 32 and head[2] in _ONNX_FIELDS:
        return "onnx"
    return _text_kind(head)


def _zip_kind(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "damaged-zip"
    return _archive_kind(names)


def _archive_kind(names: Iterable[str]) -> Kind:
    inner = [name.partition("/")[2] for name in names]  # PyTorch puts everything into one folder
    if any(name.startswith("data/aotinductor/") for name in inner):
        return "aoti"
    if "archive_format" in inner or "serialized_exported_program.json" in names:
        return "torch-export"
    if "data.pkl" in inner:
        return "torchscript" if "constants.pkl" in inner or any(n.startswith("code/") for n in inner) else "torch"
    return "npz" if any(name.endswith(".npy") for name in names) else "zip"


def _is_safetensors(head: bytes, size: int) -> bool:
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= size - 8


def _text_kind(head: bytes) -> Kind:
    if _is_text_pickle(head):
        return "pickle"
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4 or len(head) < _HEAD:  # else a character that the end of the head cuts
            return "unknown"
        text = head[: error.start].decode("utf-8")
    if not all(character.isprintable() or character in "\t\r\n\f\ufeff" for character in text):
        return "unknown"
    return "json" if text.lstrip("\ufeff \t\r\n").startswith(("{", "[")) else "text"


def _is_text_pickle(head: bytes) -> bool:
    """Whether these are instructions of pickle's first protocol, which consists of letters."""
    if head[:1] not in b"(c]}lId":
        return False
    try:
        instructions = list(itertools.islice(pickletools.genops(head), 20_000))
    except ValueError as error:
        return len(head) == _HEAD and "not enough" in str(error)
    except Exception:
        return False
    return bool(instructions) and instructions[-1][0].name == "STOP"
