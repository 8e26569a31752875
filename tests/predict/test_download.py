from __future__ import annotations

import email
import io
import threading
import time
import urllib.request
import urllib.response
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from brs_detr.errors import UserError
from brs_detr.predict import download as module
from brs_detr.predict.download import download

SUFFIXES = {".jpg", ".png", ".mp4"}


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name = self.path.strip("/").partition("?")[0]
        if name == "redirected":
            self._head(302, {"Location": "/whole.jpg"})
        elif name == "to-file":
            self._head(302, {"Location": "file:///etc/passwd"})
        elif name == "round":
            self._head(302, {"Location": "/round"})
        elif name == "missing.jpg":
            self._head(404, {})
        elif name == "page":
            self._head(200, {"Content-Type": "text/html", "Content-Length": "4"}, b"text")
        elif name == "cut.jpg":
            self._head(200, {"Content-Type": "image/jpeg", "Content-Length": "1000"}, b"x" * 10)
        elif name == "large.jpg":
            self._head(200, {"Content-Type": "image/jpeg", "Content-Length": str(10**6)}, b"")
        elif name == "larger-than-said.jpg":
            self._head(200, {"Content-Type": "image/jpeg"}, b"x" * 5000)
        elif name == "slow.jpg":
            self._head(200, {"Content-Type": "image/jpeg", "Content-Length": "10"}, b"x")
            time.sleep(1.5)
        else:
            kind = "image/png" if name == "picture" else "image/jpeg"
            self._head(200, {"Content-Type": kind, "Content-Length": "4"}, b"body")

    def _head(self, code: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("whole.jpg", "whole.jpg"),
        ("redirected", "redirected.jpg"),
        ("picture", "picture.png"),
        ("a%2Fb.jpg?x=1", "b.jpg"),
    ],
)
def test_fetched_and_named(server: str, tmp_path: Path, name: str, file: str) -> None:
    path = download(f"{server}/{name}", tmp_path, SUFFIXES)
    assert path == tmp_path / file
    assert path.read_bytes() == b"body"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("to-file", "not allowed"),
        ("round", "infinite loop"),
        ("missing.jpg", "Not Found"),
        ("page", "not an image or a video, but text/html"),
        ("cut.jpg", "Cannot download .*cut.jpg"),
        ("large.jpg", "larger than"),
        ("larger-than-said.jpg", "larger than"),
        ("slow.jpg", "Cannot download .*timed out"),
    ],
)
def test_refusals(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    monkeypatch.setattr(module, "SECONDS_WITHOUT_A_BYTE", 0.5)
    with pytest.raises(UserError, match=message):
        download(f"{server}/{name}", tmp_path, SUFFIXES, most_bytes=2000)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot download http://127.0.0.1:9/a.jpg"):
        download("http://127.0.0.1:9/a.jpg", tmp_path, SUFFIXES)


def test_a_redirect_out_of_encryption_is_refused(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched_over_https(self: urllib.request.HTTPSHandler, request: urllib.request.Request) -> object:
        headers = email.message_from_string(f"Location: {server}/whole.jpg")
        return urllib.response.addinfourl(io.BytesIO(), headers, request.full_url, 302)

    monkeypatch.setattr(urllib.response.addinfourl, "msg", "Found", raising=False)
    monkeypatch.setattr(urllib.request.HTTPSHandler, "https_open", fetched_over_https)
    with pytest.raises(UserError, match="leads to .*, which is not encrypted"):
        download("https://images.example/whole.jpg", tmp_path, SUFFIXES)
    assert not [*tmp_path.iterdir()]
