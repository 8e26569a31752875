"""What a pickle would run: found by reading its instructions, none of which is carried out."""

from __future__ import annotations

import itertools
import pickletools
import re
import tarfile
import zipfile
import zlib
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from brs_detr.checkpoints.file_kind import file_kind

MOST_PICKLES = 20  # that are read of a file
MOST_BYTES = 2**27  # that are read of each
MOST_CHARACTERS = 200  # of a name
MOST_INSTRUCTIONS = 2_000_000
COMPUTED = "a name that is put together while it runs"

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


def code_in_pickles(path: Path) -> list[str]:
    """Names of everything in a file's pickles that is more than tensors and plain values, such as `posix.system`.

    A file may hide names from this list; that one is empty does not make it safe to unpickle.

    Args:
        path: what `torch.save` wrote in any of its formats, or a bare pickle.

    Returns:
        Each name once, in the order in which they appear; none where the file has no readable pickle.
    """
    names: dict[str, None] = {}
    try:
        for pickle in itertools.islice(_pickles(path), MOST_PICKLES):
            names.update(dict.fromkeys(_globals(pickle)))
    except (OSError, zipfile.BadZipFile, zlib.error, tarfile.TarError, ValueError, EOFError, RuntimeError):
        pass  # what was found up to the fault
    return [name for name in names if not _PLAIN.fullmatch(name)]


def _pickles(path: Path) -> Iterator[_Bounded]:
    kind = file_kind(path)
    if kind in ("torch", "torchscript", "zip"):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".pkl"):
                    with archive.open(entry) as file:
                        yield _Bounded(file)
    elif kind == "torch-tar":
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:
                    yield _Bounded(content)
    elif kind in ("torch-legacy", "pickle"):
        with path.open("rb") as file:
            for _ in range(5):  # torch.save used to write five, one after the other
                yield _Bounded(file)


class _Bounded:
    """A file that ends after `MOST_BYTES`, so that no length that it claims is believed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = MOST_BYTES

    def read(self, size: int) -> bytes:
        return self._count(self._file.read(max(0, min(size, self._left))))

    def readline(self) -> bytes:
        return self._count(self._file.readline(self._left))

    def _count(self, content: bytes) -> bytes:
        self._left -= len(content)
        return content


def _globals(file: _Bounded) -> Iterator[str]:
    """Names that one pickle looks up, up to where its instructions make no sense."""
    stack = _Stack()
    try:
        for opcode, argument, _ in itertools.islice(pickletools.genops(file), MOST_INSTRUCTIONS):  # type: ignore[arg-type]
            if opcode.name in ("GLOBAL", "INST"):
                yield _today(*str(argument).split(" ", 1))
            elif opcode.name == "STACK_GLOBAL":
                module, name = stack.top(2)
                yield _today(module, name) if isinstance(module, str) and isinstance(name, str) else COMPUTED
            elif opcode.name.startswith("EXT"):
                yield f"copyreg extension {argument}"
            stack.follow(opcode, argument)
    except (ValueError, UnicodeError, IndexError, OverflowError, MemoryError):
        return


def _today(module: str, name: str = "") -> str:
    """The name in Python 3 of what Python 2 may have called otherwise."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return _shown(f"{module}.{name}")


def _shown(name: str) -> str:
    """A name as it may go to a terminal: neither long nor with control characters."""
    return (name if name.isprintable() else ascii(name)[1:-1])[:MOST_CHARACTERS]


class _Stack:
    """Where the strings are that a pickle takes names from; everything else is None."""

    _MARK = object()

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._memo: dict[int, Any] = {}

    def top(self, number: int) -> list[Any]:
        """The last values, None where there are none."""
        values = self._values[-number:]
        return [None] * (number - len(values)) + values

    def follow(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        """Do to the stack what an instruction does to its size, and keep strings."""
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[int(argument)] = self.top(1)[0]
        elif opcode.name == "MEMOIZE":
            self._memo[len(self._memo)] = self.top(1)[0]
        elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
            self._values.append(self._memo.get(int(argument)))
        elif opcode.name == "DUP":
            self._values += self.top(1)
        elif opcode.name == "MARK":
            self._values.append(self._MARK)
        else:
            self._take(opcode)
            self._values += [argument if isinstance(argument, str) else None] * len(opcode.stack_after)

    def _take(self, opcode: pickletools.OpcodeInfo) -> None:
        if pickletools.markobject not in opcode.stack_before:
            number = len(opcode.stack_before)
        elif self._MARK in self._values:
            above = self._values[::-1].index(self._MARK) + 1
            number = above + opcode.stack_before.index(pickletools.markobject)
        else:
            number = len(self._values)
        del self._values[max(len(self._values) - number, 0) :]
