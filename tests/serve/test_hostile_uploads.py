from __future__ import annotations

import io
import json
import socket
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator

import pytest
from PIL import Image
from served import BOUNDARY, FORM_TYPE, SMALL_LIMITS, PlantedDetector, Served, form, image_bytes, serving

pytestmark = pytest.mark.filterwarnings("ignore::Warning:PIL")


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with serving(PlantedDetector()) as served:
        yield served


@pytest.fixture(autouse=True)
def still_answers(server: Served) -> Iterator[None]:
    yield
    assert server.ask("GET", "/healthz")[0] == 200
    assert server.post(image_bytes())[0] == 200


def png_of_size(width: int, height: int) -> bytes:
    """Make a PNG of few bytes with many pixels, all of which are there."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))]
    rows = zlib.compress(bytes(height * (1 + (width + 7) // 8)), 9) if width * height < 1e9 else b""
    chunks += [(b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(png_chunk, chunks))


def png_chunk(chunk: tuple[bytes, bytes]) -> bytes:
    kind, content = chunk
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with_a_text_bomb() -> bytes:
    whole = image_bytes(20, 20)
    bomb = png_chunk((b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50_000_000), 9)))
    return whole[:33] + bomb + whole[33:]


def zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(10_000_000))
    return buffer.getvalue()


def gif_bomb() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("P", (90, 90), n) for n in range(50)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    content = buffer.getvalue()
    return content[:6] + struct.pack("<HH", 20_000, 20_000) + content[10:]


WHOLE, JPEG = image_bytes(60, 60), image_bytes(60, 60, "JPEG")
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
MAX = SMALL_LIMITS.max_bytes

IMAGES = {
    "text": (b"hello", 415),
    "zip bomb": (zip_bomb(), 415),
    "svg with a script": (SVG, 415),
    "html": (b"<!doctype html><script>alert(1)</script>", 415),
    "pdf": (b"%PDF-1.7\n1 0 obj", 415),
    "gif bomb": (gif_bomb(), 422),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file", 415),
    "nulls": (bytes(5000), 415),
    "json": (b'{"image": "https://example.org/a.png"}', 415),
    "a path": (b"/etc/passwd", 415),
    "png truncated": (WHOLE[: len(WHOLE) // 2], 422),
    "png signature alone": (WHOLE[:8], 422),
    "png header alone": (WHOLE[:33], 422),
    "jpeg truncated": (JPEG[: len(JPEG) // 2], 422),
    "jpeg marker alone": (b"\xff\xd8\xff", 422),
    "bmp that is none": (b"BM" + bytes(50), 422),
    "tiff that is none": (b"II*\0" + b"\xff" * 50, 422),
    "webp that is wav": (b"RIFF\x24\0\0\0WAVEfmt " + bytes(30), 422),
    "bomb of pixels": (png_of_size(20_000, 20_000), 422),
    "bomb beyond pillow's own limit": (png_of_size(60_000, 60_000), 422),
    "bomb of the largest size": (png_of_size(2**31 - 1, 2**31 - 1), 422),
    "bomb in a line": (png_of_size(10_001, 1), 422),
    "a line": (png_of_size(505, 5), 422),
    "a line upright": (png_of_size(5, 505), 422),
    "size zero": (png_of_size(0, 5), 422),
    "bomb of text": (png_with_a_text_bomb(), 422),
    "too large": (bytes(MAX + 1), 413),
    "far too large": (bytes(8 * MAX), 413),
}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.fault(
    "Files from elsewhere",
    "uploads that are not images, too large, or damaged",
    "a 4xx response with a message; the server keeps running",
)
def test_bodies(name: str, server: Served) -> None:
    content, status = IMAGES[name]
    assert_refused(server.post(content), status)


@pytest.mark.parametrize("name", [name for name in IMAGES if name != "far too large"])
def test_files_of_forms_beside_a_good_one(name: str, server: Served) -> None:
    content, status = IMAGES[name]
    answer = server.post_form(("good.png", WHOLE), ("<i>.png", content))
    assert_refused(answer, status)
    if status != 413:
        assert answer[1]["error"]["message"].startswith("<i>.png ")  # it names the image


FORMS = {
    "no body": (b"", 400),
    "no file": (f"--{BOUNDARY}--\r\n".encode(), 400),
    "no form": (b"hello", 400),
    "an image that says it is a form": (WHOLE, 400),
    "another boundary": (form(("a.png", WHOLE)).replace(BOUNDARY.encode(), b"other"), 400),
    "cut off": (form(("a.png", WHOLE))[:-20], 400),
    "cut off in a header": (form(("a.png", WHOLE))[:40], 400),
    "a header without an end": (f"--{BOUNDARY}\r\nX".encode() + b"x" * 90_000, 400),
    "many headers": (f"--{BOUNDARY}\r\n".encode() + b"X: y\r\n" * 5_000 + form(("a.png", WHOLE)), 400),
    "no disposition": (f"--{BOUNDARY}\r\nA: b\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(), 400),
    "empty file": (form(("a.png", b"")), 422),
    "empty name": (form(("", WHOLE)), 400),
    "too many files": (form(*[(f"{n}.png", image_bytes(4, 4)) for n in range(4)]), 413),
    "thousands of files": (form(*[("a", b"")] * 900), 413),
    "name with a path": (form(("../../etc/passwd", WHOLE)), 400),
    "name with a backslash": (form(("..\\\\a.png", WHOLE)), 400),
    "name with a null": (form(("a\0.png", WHOLE)), 400),
    "name with an escape": (form(("\x1b[2J.png", WHOLE)), 400),
    "name with a line end": (form(("a\nX-Header: b", WHOLE)), 400),
    "name that is not utf-8": (form((b"\xff\xfe.png", WHOLE)), 400),
    "name that writes backwards": (form(("a\u202egnp.exe", WHOLE)), 400),
    "name of 10 kB": (form(("x" * 10_000, WHOLE)), 400),
    "name of 300 characters": (form(("x" * 300, WHOLE)), 400),
    "a field that is no file": (form(("a.png", WHOLE)).replace(b"filename", b"nofile"), 400),
    "too large": (form(("a.png", bytes(MAX))), 413),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms(name: str, server: Served) -> None:
    body, status = FORMS[name]
    assert_refused(server.post(body, FORM_TYPE), status)


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/x; a=\xe9"]
)
def test_no_boundary(content_type: str, server: Served) -> None:
    assert_refused(server.post(form(("a.png", WHOLE)), content_type), 400)


@pytest.mark.parametrize(
    "query",
    ["threshold=nan", "threshold=-0.1", "threshold=1.1", "threshold=inf", "threshold=", "threshold=half",
     "threshold=0.1&threshold=0.2", "threshhold=0.5", "threshold=0.5&x=<script>", "threshold=%00", "threshold=1e999"],
)  # fmt: skip
def test_thresholds(query: str, server: Served) -> None:
    assert_refused(server.post(WHOLE, query=f"?{query}"), 400)


def head(*lines: str, to: str = "POST /api/detect") -> bytes:
    return "\r\n".join([f"{to} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode("latin-1")


WIRES = {
    "no http": (b"\x16\x03\x01\x02\x00 TLS hello\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "old http without a host": (b"GET / HTTP/1.0\r\n\r\n", 403),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
    "head without an end": (head()[:-2] + b"X: " + b"x" * 20_000, 400),
    "length that is no number": (head("Content-Length: many") + WHOLE, 400),
    "length below zero": (head("Content-Length: -1") + WHOLE, 400),
    "two lengths": (head("Content-Length: 5", "Content-Length: 50") + WHOLE, 400),
    "length too large, asked for first": (head(f"Content-Length: {9**20}", "Expect: 100-continue"), 413),
    "length too large, nothing sent": (head(f"Content-Length: {9**20}"), 408),
    "length larger than the body": (head(f"Content-Length: {len(WHOLE) + 50}") + WHOLE, 408),
    "length smaller than the body": (head("Content-Length: 20", "Connection: close") + WHOLE, 422),
    "no length, chunks without end": (head("Transfer-Encoding: chunked") + b"10000\r\n" + bytes(65536) + b"\r\n", 408),
    "no length, too many chunks": (
        head("Transfer-Encoding: chunked") + (b"8000\r\n" + bytes(32768) + b"\r\n") * 20 + b"0\r\n\r\n", 413),
    "chunk of no size": (head("Transfer-Encoding: chunked") + b"zz\r\nhello\r\n", 400),
    "unknown coding": (head("Transfer-Encoding: gzip") + WHOLE[:50], 400),
    "slow body": (head("Content-Length: 100") + WHOLE[:10], 408),
}  # fmt: skip


@pytest.mark.parametrize("name", WIRES)
def test_wires(name: str, server: Served) -> None:
    content, status = WIRES[name]
    start, body = server.send_raw(content).split(b"\r\n\r\n", 1)
    assert start.startswith(f"HTTP/1.1 {status} ".encode()), start
    assert b"x-content-type-options: nosniff" in start.lower()
    assert_refused((status, json.loads(body)), status)


def test_a_head_that_never_ends_is_given_up(server: Served) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as wire:
        begin = time.monotonic()
        wire.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        try:
            while time.monotonic() - begin < 10:  # a header every now and then
                wire.sendall(b"X: y\r\n")
                wire.settimeout(0.2)
                try:
                    assert wire.recv(1) == b""
                    break
                except TimeoutError:
                    pass
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert SMALL_LIMITS.receive_seconds * 0.9 < time.monotonic() - begin < 5


def test_clients_that_leave(server: Served) -> None:
    for content in (
        b"",
        b"POST",
        head("Content-Length: 5000") + WHOLE[:100],
        head(f"Content-Length: {len(WHOLE)}") + WHOLE,
    ):
        server.send_raw(content, then_close=True)


def test_many_slow_clients_at_once(server: Served) -> None:
    wires = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(30)]
    try:
        for wire in wires:
            wire.sendall(head("Content-Length: 5000") + WHOLE[:100])
        assert server.ask("GET", "/healthz")[0] == 200
        statuses = {wire.recv(12)[9:] for wire in wires}
        assert statuses == {b"408"}
    finally:
        for wire in wires:
            wire.close()


def test_nothing_is_written_to_disk(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a temporary file")

    for name in ("SpooledTemporaryFile", "TemporaryFile", "NamedTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    assert server.post_form(("a.png", WHOLE), ("b.jpg", JPEG))[0] == 200


def assert_refused(answer: tuple[int, dict], status: int) -> None:
    got, content = answer
    assert got == status, content
    assert content.keys() == {"error"}
    error = content["error"]
    assert error["message"] and error["cure"]
    assert error["message"].isprintable() and len(error["message"]) < 400
