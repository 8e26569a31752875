"""The files of a multipart form, taken apart in memory: nothing is written to disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brs_detr.serve.refusal import Refusal

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_NAME_LENGTH = 255  # characters, as on most file systems

RAW_NAME = "image"
"""Of an image that is a body by itself, without a form that could name it."""

_EXAMPLE = "For example: curl -F file=@street.jpg URL."


@dataclass(frozen=True)
class Upload:
    """A file as a client sent it: its name, which is text to show and never a path to open, and its bytes."""

    name: str
    content: bytes

    @property
    def title(self) -> str:
        """The beginning of a sentence about it."""
        return "The image" if self.name == RAW_NAME else self.name


def split_form(body: bytes, content_type: str, max_images: int) -> list[Upload]:
    """Take a multipart form apart.

    Args:
        body: of the request, whole.
        content_type: of the request, with its boundary.
        max_images: that the form may hold.

    Returns:
        At least one file, in the order of the form.

    Raises:
        Refusal: 400 for a form that is malformed, cut off, empty, or has other fields than files, and for a file name
            that is none; 413 for too many files.
    """
    from python_multipart import MultipartParser
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import parse_options_header

    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise Refusal(400, "The Content-Type names no boundary between the parts of the form.", _EXAMPLE)
    form = _Form(max_images)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Refusal(400, f"The multipart form is malformed: {error}.", _EXAMPLE) from None
    if not form.is_complete:
        raise Refusal(400, "The multipart form is cut off: its last boundary is missing.", "Send it again, whole.")
    if not form.uploads:
        raise Refusal(400, "The form holds no file.", _EXAMPLE)
    return form.uploads


class _Form:
    """Collects what the parser finds."""

    def __init__(self, max_images: int) -> None:
        self.max_images = max_images
        self.uploads: list[Upload] = []
        self.is_complete = False
        self._header = self._value = b""
        self._disposition: bytes | None = None
        self._name = ""
        self._content = bytearray()

    def callbacks(self) -> MultipartCallbacks:
        """By the parser's names."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._complete,
        }

    def _begin(self) -> None:
        self._header = self._value = b""
        self._disposition = None
        self._content = bytearray()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        from python_multipart.multipart import parse_options_header

        options = parse_options_header(self._disposition)[1]
        if b"filename" not in options:
            raise Refusal(
                400,
                "The form has a field that is not a file.",
                "Send only files; a threshold goes into the address, as in /api/detect?threshold=0.5.",
            )
        if len(self.uploads) == self.max_images:
            raise Refusal(
                413,
                f"The form holds more than {self.max_images} files.",
                "Send fewer at a time, or start the server with a larger --max-images.",
            )
        self._name = file_name(options[b"filename"])

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _end(self) -> None:
        self.uploads.append(Upload(self._name, bytes(self._content)))

    def _complete(self) -> None:
        self.is_complete = True


def file_name(raw: bytes) -> str:
    """The name that a client gave a file.

    Raises:
        Refusal: 400 for what no file is called: empty, too long, with a path or control characters, or not UTF-8.
    """
    cure = f"Give it a name of 1 to {MAX_NAME_LENGTH} printable characters without / and \\."
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal(400, "A file name is not UTF-8.", cure) from None
    if not name:
        raise Refusal(400, "A file has no name.", cure)
    if len(name) > MAX_NAME_LENGTH:
        raise Refusal(400, f"A file name has {len(name)} characters.", cure)
    if not name.isprintable():
        raise Refusal(400, "A file name holds control characters.", cure)
    if name in (".", "..") or "/" in name or "\\" in name:
        raise Refusal(400, "A file name holds parts of a path.", cure)
    return name
