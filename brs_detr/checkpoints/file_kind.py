"""Recognise the kind of a file by its bytes, and list the code that its pickles would run, without running it."""

from __future__ import annotations

import io
import itertools
import pickletools
import re
import zipfile
import zlib
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterator
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

_HEAD = 8192  # number of bytes to read
_LEGACY_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")  # of torch.save before PyTorch 1.6
_ONNX_FIELDS = {0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72}  # tags that may follow the version of an ONNX model

_COPY = "Copy the file again."
_SOURCE = "Give the checkpoint that it was exported from."
_WITHOUT_WEIGHTS: dict[Kind, tuple[str, str]] = {
    "empty": ("it is empty.", _COPY),
    "lfs-pointer": ("it is a git-lfs pointer, not the file itself.", "Fetch the file with `git lfs pull`."),
    "html": ("it is a web page.", "The address belongs to a page: download the file itself."),
    "json": ("it is a JSON file.", "`brs-detr info` describes it."),
    "text": ("it is a text file.", _COPY),
    "damaged-zip": ("it ends early or is damaged inside.", _COPY),
    "zip": ("it is a zip without weights.", "Unpack it, and give the checkpoint inside."),
    "npz": ("it contains arrays of NumPy.", "Give a PyTorch checkpoint, or a .safetensors file."),
    "onnx": ("it is an exported ONNX model.", _SOURCE),
    "torchscript": ("it is an exported TorchScript program.", _SOURCE),
    "torch-export": ("it is an exported program.", _SOURCE),
    "aoti": ("it is a compiled program.", _SOURCE),
    "torch-tar": ("it has PyTorch's format of 2016.", "Load it with PyTorch and save it again with torch.save."),
}

_MAX_PICKLES = 20  # per file
_MAX_BYTES = 2**27  # per pickle, whatever length it claims
_MAX_INSTRUCTIONS = 2_000_000
_PLAIN = re.compile(
    r"""collections\.(OrderedDict|Counter)
    | torch\.(\w*Storage|Size|Tensor|device|bool|per_\w+|(bfloat|c?float|complex|q?u?int|bits)\d\w*)
    | torch\.storage\.\w*Storage
    | torch\.(cuda|sparse)\.\w+(Storage|Tensor)
    | torch\._utils\._rebuild_\w+ | torch\._tensor\._rebuild_from_type_v2
    | torch\.nn\.parameter\.Parameter | torch\.serialization\._get_layout
    | _codecs\.encode | builtins\.(bytearray|set|complex)
    | numpy\.(ndarray|dtype|dtypes\.\w+) | numpy\.(core|_core)\.multiarray\.(scalar|_reconstruct)
    | mmengine\.logging\.history_buffer\.HistoryBuffer""",
    re.VERBOSE,
)


def file_kind(path: Path) -> Kind:
    """Recognise the kind of a file by its first 8 KiB and, for a zip, its list of entries.

    Raises:
        UserError: the file cannot be opened.
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
    if path.suffix == ".safetensors" or (head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= size - 8):
        return "safetensors"
    if head[0] == 0x80 and len(head) > 1 and head[1] <= 5:
        return "torch-legacy" if _LEGACY_MAGIC in head[:32] else "pickle"
    if head[0] == 0x08 and len(head) > 2 and 0 < head[1] < 32 and head[2] in _ONNX_FIELDS:
        return "onnx"
    return "pickle" if _is_text_pickle(head) else _text_kind(head)


def require_weights(path: Path) -> Kind:
    """Return the kind of a file that may contain weights.

    Raises:
        UserError: files of its kind contain no weights, or it cannot be opened.
    """
    kind = file_kind(path)
    if kind in _WITHOUT_WEIGHTS:
        reason, hint = _WITHOUT_WEIGHTS[kind]
        raise UserError(f"{path} is damaged or not a checkpoint: {reason}", hint)
    return kind


def _zip_kind(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "damaged-zip"
    inner = [name.partition("/")[2] for name in names]  # PyTorch puts everything into a folder
    if any(name.startswith("data/aotinductor/") for name in inner):
        return "aoti"
    if "archive_format" in inner or "serialized_exported_program.json" in names:
        return "torch-export"
    if "data.pkl" in inner:
        return "torchscript" if "constants.pkl" in inner or any(n.startswith("code/") for n in inner) else "torch"
    return "npz" if any(name.endswith(".npy") for name in names) else "zip"


def _is_text_pickle(head: bytes) -> bool:
    """Whether bytes are instructions of pickle's first protocol, which is text."""
    if head[:1] not in b"(c]}lId":
        return False
    try:
        instructions = list(itertools.islice(pickletools.genops(head), 20_000))
    except ValueError as error:
        return len(head) == _HEAD and "not enough" in str(error)
    except Exception:
        return False
    return bool(instructions) and instructions[-1][0].name == "STOP"


def _text_kind(head: bytes) -> Kind:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4 or len(head) < _HEAD:  # otherwise a character is cut at the end
            return "unknown"
        text = head[: error.start].decode("utf-8")
    if not all(character.isprintable() or character in "\t\r\n\f\ufeff" for character in text):
        return "unknown"
    return "json" if text.lstrip("\ufeff \t\r\n").startswith(("{", "[")) else "text"


def code_in_pickles(path: Path) -> list[str]:
    """List what a file's pickles import, such as `posix.system`, besides tensors and plain values.

    A file may hide names from this list. An empty list does not mean that it is safe to unpickle.

    Args:
        path: file that `torch.save` wrote, or a bare pickle.

    Returns:
        The distinct names in the order of the file; of a damaged file, those before the damage.
    """
    names: dict[str, None] = {}
    try:
        for pickle in itertools.islice(_pickles(path), _MAX_PICKLES):
            names.update(dict.fromkeys(_globals(pickle)))
    except (OSError, zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError):
        pass
    return [name for name in names if not _PLAIN.fullmatch(name)]


def _pickles(path: Path) -> Iterator[io.BytesIO]:
    kind = file_kind(path)
    if kind in ("torch", "torchscript", "zip"):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".pkl"):
                    with archive.open(entry) as file:
                        yield io.BytesIO(file.read(_MAX_BYTES))
    elif kind in ("torch-legacy", "pickle"):
        with path.open("rb") as file:
            yield from itertools.repeat(io.BytesIO(file.read(_MAX_BYTES)), 5)  # as torch.save used to write


def _globals(pickle: io.BytesIO) -> Iterator[str]:
    """Yield the names that a pickle imports, up to the first invalid instruction."""
    strings: list[str | None] = []  # the top of the stack, as far as it is known
    memo: dict[int, str | None] = {}
    try:
        for opcode, argument, _ in itertools.islice(pickletools.genops(pickle), _MAX_INSTRUCTIONS):
            if opcode.name in ("GLOBAL", "INST"):
                yield _shown(*str(argument).split(" ", 1))
                strings.clear()
            elif opcode.name == "STACK_GLOBAL":
                module, name = [None, None, *strings][-2:]
                yield _shown(module, name) if module and name else "a name that is computed at run time"
                strings.clear()
            elif opcode.name.startswith("EXT"):
                yield f"copyreg extension {argument}"
            elif opcode.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
                memo[len(memo) if argument is None else int(str(argument))] = strings[-1] if strings else None
            elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
                strings.append(memo.get(int(str(argument))))
            elif isinstance(argument, str):
                strings.append(argument)
            elif opcode.name != "FRAME":
                strings.clear()
    except (ValueError, UnicodeError, IndexError, OverflowError, MemoryError):
        return


def _shown(module: str, name: str = "") -> str:
    """Return a name as in Python 3, without control characters and short enough for a terminal."""
    name = ".".join(NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name)))
    return (name if name.isprintable() else ascii(name)[1:-1])[:200]
