"""Downloads from a server on this machine that cuts, corrupts and redirects."""

from __future__ import annotations

import hashlib
import http.client
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from brs_detr.cli.download import command
from brs_detr.engine.checkpoints import checkpoint_index
from brs_detr.engine.checkpoints import download as download_file
from brs_detr.engine.checkpoints.checkpoint_index import fetch, find_entry, read_index
from brs_detr.engine.checkpoints.download import download
from brs_detr.engine.config import find_config
from brs_detr.errors import UserError

CONTENT = bytes(range(256)) * 4000
OTHER = CONTENT[::-1]
SHA = hashlib.sha256(CONTENT).hexdigest()
QUIET = Console(quiet=True)
NAME = "brs-co-deformable-detr_r50_8xb2-12e_coco_official"


class Server:
    """What the server does, and what it was asked.

    Args:
        plan: what it does at each request: a status, or `cut`, `corrupt`, `no range`, `other`, `page`, `whole`; the
            last one again and again.
    """

    def __init__(self) -> None:
        self.plan: list[str | int] = ["whole"]
        self.asked: list[tuple[str, str | None]] = []
        self.etag = '"1"'
        self.delay = 0.0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.asked.append((request.path, wanted))
        if request.path == "/circle":
            self.redirect(request, "/circle2")
        elif request.path == "/circle2":
            self.redirect(request, "/circle")
        elif request.path == "/moved":
            self.redirect(request, "/model.pth")
        else:
            action = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
            self.give(request, action, wanted)

    def redirect(self, request: BaseHTTPRequestHandler, path: str) -> None:
        request.send_response(302)
        request.send_header("Location", path)
        request.end_headers()

    def give(self, request: BaseHTTPRequestHandler, action: str | int, wanted: str | None) -> None:
        if isinstance(action, int):
            request.send_error(action)
            return
        if action == "page":
            self.send(request, b"<html>Too many downloads</html>", 200, "text/html")
            return
        time.sleep(self.delay)
        content = {"other": OTHER, "corrupt": CONTENT[:1000] + b"x" + CONTENT[1001:]}.get(action, CONTENT)
        is_same = request.headers.get("If-Range") == self.etag
        if wanted == f"bytes={len(content)}-" and is_same:
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and action != "no range" and is_same else 0
        self.send(request, content[start:], 206 if start else 200, cut=action == "cut")

    def send(self, request, content: bytes, status: int, kind: str = "application/octet-stream", cut=False) -> None:
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(content)))
        request.send_header("ETag", self.etag)
        request.end_headers()
        request.wfile.write(content[: len(content) // 2] if cut else content)


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    thread = threading.Thread(target=one.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield one
    one.http.shutdown()
    one.http.server_close()
    thread.join()


class Waits(list[float]):
    """Pauses that were asked for, none of which is made."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def get(server: Server, folder: Path, path: str = "/model.pth", sha256: str = "") -> Waits:
    waits = Waits()
    download(server.url + path, folder / "model.pth", sha256=sha256, console=QUIET, sleep=waits)
    return waits


def left(folder: Path) -> list[str]:
    """Files that a user sees."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_whole_file(server: Server, tmp_path: Path) -> None:
    assert get(server, tmp_path / "new", sha256=SHA) == []
    assert (tmp_path / "new" / "model.pth").read_bytes() == CONTENT
    assert left(tmp_path / "new") == ["model.pth"]


@pytest.mark.fault("Files from elsewhere", "a download is cut", "goes on where it was, in the same run or a later one")
def test_a_connection_that_is_cut_goes_on(server: Server, tmp_path: Path) -> None:
    server.plan = ["cut", "cut", "whole"]
    assert get(server, tmp_path, sha256=SHA) == [1.0, 3.0]
    assert (tmp_path / "model.pth").read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert [wanted for _, wanted in server.asked] == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]


def test_a_later_run_goes_on_where_an_earlier_one_stopped(server: Server, tmp_path: Path) -> None:
    server.plan = ["cut", 500]
    with pytest.raises(UserError, match="the server answers 500"):
        get(server, tmp_path)
    assert left(tmp_path) == ["model.pth.partial", "model.pth.partial.etag"]
    server.plan = ["whole"]
    get(server, tmp_path, sha256=SHA)
    assert server.asked[-1][1] == f"bytes={len(CONTENT) // 2}-"
    assert left(tmp_path) == ["model.pth"]


@pytest.mark.fault("Files from elsewhere", "the file on the server has changed in between", "begun anew, never spliced")
def test_a_file_that_changed_in_between_is_not_spliced(server: Server, tmp_path: Path) -> None:
    server.plan = ["cut", 404]
    with pytest.raises(UserError, match="404"):
        get(server, tmp_path)
    server.plan, server.etag = ["other"], '"2"'
    get(server, tmp_path)
    assert (tmp_path / "model.pth").read_bytes() == OTHER


def test_a_server_that_knows_no_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.plan = ["cut", "no range"]
    get(server, tmp_path, sha256=SHA)
    assert (tmp_path / "model.pth").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_a_server_that_is_busy_is_asked_again(server: Server, tmp_path: Path, status: int) -> None:
    server.plan = [status, status, "whole"]
    assert get(server, tmp_path, sha256=SHA) == [1.0, 3.0]


def test_the_pauses_end(server: Server, tmp_path: Path) -> None:
    server.plan = [503]
    with pytest.raises(UserError, match=r"503.*\s+.*--mirror URL, or put the file there by hand: .*model\.pth$"):
        get(server, tmp_path)
    assert len(server.asked) == len(download_file.PAUSES) + 1


@pytest.mark.parametrize(
    ("plan", "path", "message"),
    [
        (["corrupt"], "/model.pth", "is not the file that it should be"),
        (["page"], "/model.pth", "answers with a web page"),
        ([404], "/model.pth", "answers 404"),
        ([403], "/model.pth", "answers 403"),
        (["whole"], "/circle", "infinite loop"),
    ],
)
@pytest.mark.fault(
    "Files from elsewhere", "a page, a wrong checksum, too many bytes instead of weights", "refused; nothing is left"
)
def test_what_is_refused_leaves_nothing(server: Server, tmp_path: Path, plan: list, path: str, message: str) -> None:
    server.plan = plan
    with pytest.raises(UserError, match=message):
        get(server, tmp_path, path, SHA)
    assert left(tmp_path) == []


def test_redirects_are_followed_but_not_out_of_encryption(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path, "/moved", SHA)
    assert (tmp_path / "model.pth").read_bytes() == CONTENT
    request = download_file.urllib.request.Request("https://example.org/a")
    with pytest.raises(UserError, match="is not encrypted"):
        download_file._SafeRedirects().redirect_request(request, None, 302, "", {}, "http://example.org/a")


def test_no_server(tmp_path: Path) -> None:
    waits = Waits()
    with pytest.raises(UserError, match="cannot be fetched"):
        download("http://127.0.0.1:9/x", tmp_path / "x", console=QUIET, sleep=waits)
    assert len(waits) == len(download_file.PAUSES)
    with pytest.raises(UserError, match="no http address"):
        download("file:///etc/passwd", tmp_path / "x", console=QUIET)


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="Cannot write"):
        get(server, tmp_path / "file")


def test_a_network_that_breaks_while_reading_is_not_taken_for_a_full_disk(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, fails = http.client.HTTPResponse.read, [OSError(113, "No route to host")]

    def broken(self: http.client.HTTPResponse, *arguments: int) -> bytes:
        if fails:
            raise fails.pop()
        return read(self, *arguments)

    monkeypatch.setattr(http.client.HTTPResponse, "read", broken)
    assert get(server, tmp_path, sha256=SHA) == [1.0]


def test_a_file_that_was_whole_already_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "model.pth.partial").write_bytes(CONTENT)
    (tmp_path / "model.pth.partial.etag").write_text(server.etag)
    assert get(server, tmp_path, sha256=SHA) == []
    assert server.asked == [("/model.pth", f"bytes={len(CONTENT)}-")]
    assert (tmp_path / "model.pth").read_bytes() == CONTENT


@pytest.mark.fault("Files from elsewhere", "several processes want the same weights", "one fetches them")
def test_several_at_once_fetch_it_once(server: Server, tmp_path: Path) -> None:
    server.delay = 0.3
    threads = [threading.Thread(target=get, args=(server, tmp_path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "model.pth").read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_the_index_is_complete() -> None:
    index = read_index()
    assert len(index) == 3
    for entry in index.values():
        assert find_config(entry.config).is_file()
        assert entry.source and entry.licence and entry.what
        assert 40 < entry.paper_ap < 60
        assert entry.url.startswith("https://") and entry.google_drive_id in entry.url
        assert len(entry.sha256) in (0, 64)
    with pytest.raises(UserError, match=f"Did you mean '{NAME}'"):
        find_entry(NAME.replace("official", "oficial"))


def test_a_checksum_is_recorded_once_and_compared_ever_after(server: Server, tmp_path: Path) -> None:
    def get_it(**options: bool) -> checkpoint_index.Fetched:
        return fetch(NAME, folder=tmp_path, mirror=server.url, console=QUIET, **options)

    first = get_it()
    assert (first.sha256, first.is_known) == (SHA, False)
    assert server.asked == [("/brs-detr_r50_official.pth", None)]
    assert get_it().is_known
    assert len(server.asked) == 1
    first.path.write_bytes(OTHER)
    with pytest.raises(UserError, match=r"is not the file that it should be.*\s+.*--force"):
        get_it()
    server.plan = ["other"]
    with pytest.raises(UserError, match="is not the file that it should be"):
        get_it(force=True)
    server.plan = ["whole"]
    assert get_it(force=True).is_known
    (tmp_path / "sha256.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        get_it()


def test_the_command(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(command, ["--list"])
    assert NAME in result.output and "drive.usercontent.google.com" in result.output
    monkeypatch.setenv("BRS_DETR_MIRROR", server.url + "/")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    result = CliRunner().invoke(command, [NAME])
    assert result.exit_code == 0, result.output
    assert SHA in result.output and "nobody has published one" in result.output
    assert (tmp_path / "brs-detr" / "checkpoints" / "brs-detr_r50_official.pth").read_bytes() == CONTENT
    assert "as expected" in CliRunner().invoke(command, [NAME]).output
