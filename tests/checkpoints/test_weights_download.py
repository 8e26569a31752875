"""Download from a local server that interrupts, corrupts and redirects."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from brs_detr.checkpoints import checkpoint_index
from brs_detr.checkpoints import download as download_file
from brs_detr.checkpoints.checkpoint_index import fetch, find_entry, read_index
from brs_detr.checkpoints.download import SafeRedirects, download
from brs_detr.cli import main
from brs_detr.cli.download import command
from brs_detr.config.config import find_config
from brs_detr.errors import UserError

CONTENT = bytes(range(256)) * 4000
OTHER = CONTENT[::-1]
SHA = hashlib.sha256(CONTENT).hexdigest()
QUIET = Console(quiet=True)
NAME = "brs-co-deformable-detr_r50_8xb2-12e_coco_official"


class Server:
    """The plan of the server, and the requests that it received.

    Args:
        plan: what it does at each request: a status, or `cut`, `corrupt`, `no range`, `other`, `page`, `whole`, or
            `splice`: it goes on in another file; the last one again and again.
        says: headers with other values than it would send them with, of answers with a file.
        leads_to: where `/elsewhere` is redirected to.
    """

    def __init__(self) -> None:
        self.plan: list[str | int] = ["whole"]
        self.asked: list[tuple[str, str | None]] = []
        self.etag = '"1"'
        self.delay = 0.0
        self.says: dict[str, list[str]] = {}
        self.leads_to = ""
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
        elif request.path == "/elsewhere":
            self.redirect(request, self.leads_to)
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
        content = {"other": OTHER, "splice": OTHER, "corrupt": CONTENT[:1000] + b"x" + CONTENT[1001:]}.get(
            action, CONTENT
        )
        is_same = request.headers.get("If-Range") == self.etag or action == "splice"
        if wanted == f"bytes={len(content)}-" and is_same:
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.send_header("ETag", self.etag)
            request.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and action != "no range" and is_same else 0
        part = {"Content-Range": [f"bytes {start}-{len(content) - 1}/{len(content)}"]} if start else {}
        self.send(request, content[start:], 206 if start else 200, cut=action == "cut", **{**part, **self.says})

    def send(
        self, request, content: bytes, status: int, kind: str = "application/octet-stream", cut=False, **says: list[str]
    ) -> None:
        request.send_response(status)
        headers = {"Content-Type": [kind], "Content-Length": [str(len(content))], "ETag": [self.etag], **says}
        for name, values in headers.items():
            for value in values:
                request.send_header(name, value)
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
    """Records pauses instead of making them."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def get(server: Server, folder: Path, path: str = "/model.pth", sha256: str = "", **options: Any) -> Waits:
    waits = Waits()
    download(server.url + path, folder / "model.pth", sha256=sha256, console=QUIET, sleep=waits, **options)
    return waits


def left(folder: Path) -> list[str]:
    """List the files that are not hidden."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_whole_file(server: Server, tmp_path: Path) -> None:
    assert get(server, tmp_path / "new", sha256=SHA) == []
    assert (tmp_path / "new" / "model.pth").read_bytes() == CONTENT
    assert left(tmp_path / "new") == ["model.pth"]


@pytest.mark.fault("Files from elsewhere", "a download is interrupted", "it continues, in the same run or a later one")
def test_a_connection_that_is_cut_goes_on(server: Server, tmp_path: Path) -> None:
    server.plan = ["cut", "cut", "whole"]
    assert get(server, tmp_path, sha256=SHA) == [1.0, 3.0]
    assert (tmp_path / "model.pth").read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert [wanted for _, wanted in server.asked] == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]


def test_a_later_run_goes_on_where_an_earlier_one_stopped(server: Server, tmp_path: Path) -> None:
    server.plan = ["cut", 500]
    with pytest.raises(UserError, match="the server responds with 500"):
        get(server, tmp_path)
    assert left(tmp_path) == ["model.pth.partial", "model.pth.partial.etag"]
    server.plan = ["whole"]
    get(server, tmp_path, sha256=SHA)
    assert server.asked[-1][1] == f"bytes={len(CONTENT) // 2}-"
    assert left(tmp_path) == ["model.pth"]


@pytest.mark.fault(
    "Files from elsewhere",
    "the file on the server has changed since",
    "the download starts again; parts are never mixed",
)
def test_a_file_that_changed_in_between_is_not_spliced(server: Server, tmp_path: Path) -> None:
    server.plan = ["cut", 404]
    with pytest.raises(UserError, match="404"):
        get(server, tmp_path)
    server.plan, server.etag = ["other"], '"2"'
    get(server, tmp_path)
    assert (tmp_path / "model.pth").read_bytes() == OTHER


@pytest.mark.parametrize("etag", ['"2"', 'W/"1"', ""])
@pytest.mark.fault(
    "Files from elsewhere", "a server continues with another file", "rejected; the download starts again"
)
def test_a_server_that_goes_on_in_another_file_is_not_believed(server: Server, tmp_path: Path, etag: str) -> None:
    server.plan = ["cut", 404]
    with pytest.raises(UserError, match="404"):
        get(server, tmp_path)
    server.plan, server.etag = ["splice", "other"], etag
    if not etag:
        server.says = {"ETag": [], "Last-Modified": ["Mon, 30 Nov 2026 12:00:00 GMT"]}
    assert get(server, tmp_path) == [1.0]
    assert (tmp_path / "model.pth").read_bytes() == OTHER


@pytest.mark.parametrize(
    "said",
    [
        "bytes 0-511999/1024000",
        "bytes 511999-1023999/1024000",
        "bytes 512000-1023999/1023999",
        "bytes 512000-1023998/1024000",
        "bytes 512000-511999/1024000",
        "bytes */1024000",
        "words 512000-1023999/1024000",
        "bytes 512000-1023999/" + "9" * 5000,
        "bytes -512000-1023999/1024000",
    ],
)
def test_a_part_that_is_not_the_one_asked_for_is_not_taken(server: Server, tmp_path: Path, said: str) -> None:
    server.plan, server.says = ["cut", "whole"], {"Content-Range": [said]}
    assert get(server, tmp_path, sha256=SHA) == [1.0, 3.0]
    assert [wanted for _, wanted in server.asked] == [None, "bytes=512000-", None]
    server.says = {"Content-Range": []}
    server.plan = ["cut", "whole"]
    (tmp_path / "model.pth").unlink()
    assert get(server, tmp_path, sha256=SHA) == [1.0, 3.0]


def test_a_date_stands_in_for_a_tag(server: Server, tmp_path: Path) -> None:
    server.plan = ["cut", "whole"]
    server.etag = "Mon, 30 Nov 2026 12:00:00 GMT"  # what the server compares with
    server.says = {"ETag": [], "Last-Modified": [server.etag]}
    assert get(server, tmp_path, sha256=SHA) == [1.0]
    assert [wanted for _, wanted in server.asked] == [None, "bytes=512000-"]


@pytest.mark.parametrize("tag", ['W/"1"', "\x9b2J", '"\u202e"'])
def test_a_part_without_a_tag_that_vouches_for_it_is_not_continued(server: Server, tmp_path: Path, tag: str) -> None:
    (tmp_path / "model.pth.partial").write_bytes(OTHER[:1000])
    (tmp_path / "model.pth.partial.etag").write_text(tag)
    get(server, tmp_path)
    assert server.asked == [("/model.pth", None)]
    assert (tmp_path / "model.pth").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "lengths", [["-5"], ["many"], ["1e6"], ["9" * 5000], ["1024000", "1024001"], ["1024000, 7"], [""]]
)
def test_a_length_that_is_none_is_named(server: Server, tmp_path: Path, lengths: list[str]) -> None:
    server.says = {"Content-Length": lengths}
    with pytest.raises(UserError, match="the server gives its length as"):
        get(server, tmp_path)
    assert left(tmp_path) == []
    assert len(server.asked) == 1


def test_a_length_that_is_not_kept_is_named(server: Server, tmp_path: Path) -> None:
    server.says = {"Content-Length": [str(len(CONTENT) + 1)], "ETag": []}
    with pytest.raises(UserError, match="the connection ended after 1,024,000 of 1,024,001 bytes"):
        get(server, tmp_path)


@pytest.mark.parametrize("lengths", [[str(len(CONTENT))], []])
def test_more_bytes_than_allowed_are_refused(server: Server, tmp_path: Path, lengths: list[str]) -> None:
    """Before the first byte, if the server announces the size."""
    server.says = {"Content-Length": lengths}
    with pytest.raises(UserError, match=r"has more than 0\.001 GB.*\s+.*--max-gb"):
        get(server, tmp_path, most_bytes=1_000_000)
    assert left(tmp_path) == []
    get(server, tmp_path, most_bytes=len(CONTENT))
    assert (tmp_path / "model.pth").read_bytes() == CONTENT


def test_the_size_in_the_index_is_the_limit(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sized = dataclasses.replace(find_entry(NAME), num_bytes=len(CONTENT) - 1)
    monkeypatch.setattr(checkpoint_index, "find_entry", lambda name: sized)
    with pytest.raises(UserError, match="has more than"):
        fetch(NAME, folder=tmp_path, mirror=server.url, most_bytes=10**10, console=QUIET)


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "gopher://x/", "http://[", "//"]
)
def test_nothing_but_http_is_followed(server: Server, tmp_path: Path, address: str) -> None:
    server.leads_to = address
    with pytest.raises(UserError):
        get(server, tmp_path, "/elsewhere", SHA)
    assert left(tmp_path) == []
    if address != "//":
        with pytest.raises(UserError, match="not an http address"):
            download(address, tmp_path / "x", sha256=SHA, console=QUIET)


@pytest.mark.parametrize("path", ["/a b", "/\x1b[2J", "/größe.pth"])
def test_an_address_that_cannot_be_sent_is_named_at_once(server: Server, tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError, match="is not an http address"):
        get(server, tmp_path, path)


@pytest.fixture
def proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server responds to every http address."""
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return server


@pytest.mark.fault("Files from elsewhere", "weights over http without a checksum", "refused without `--insecure`")
def test_http_from_afar_needs_a_checksum_or_leave(proxy: Server, tmp_path: Path) -> None:
    url, target = "http://weights.example/model.pth", tmp_path / "model.pth"
    for sha256 in ("", SHA[:8]):  # a few digits can be forged
        with pytest.raises(UserError, match=r"not encrypted, and there is no checksum.*\s+.*--insecure"):
            download(url, target, sha256=sha256, console=QUIET)
        proxy.leads_to = url
        with pytest.raises(UserError, match="not encrypted, and there is no checksum"):
            get(proxy, tmp_path, "/elsewhere", sha256)
    assert [path for path, _ in proxy.asked] == ["/elsewhere", "/elsewhere"]
    assert left(tmp_path) == []
    download(url, target, sha256=SHA, console=QUIET)
    download(url, target, insecure=True, console=QUIET)
    assert target.read_bytes() == CONTENT
    assert proxy.asked[-1][0] == url


def test_the_flags_of_the_command(proxy: Server, tmp_path: Path) -> None:
    call = [NAME, "--to", str(tmp_path), "--mirror", "http://weights.example"]
    refused = CliRunner().invoke(main, ["download", *call])
    assert refused.exit_code == 2 and "--insecure" in refused.stderr
    refused = CliRunner().invoke(main, ["download", *call, "--insecure", "--max-gb", "0.001"])
    assert refused.exit_code == 2 and "has more than 0.001 GB" in refused.stderr
    assert CliRunner().invoke(main, ["download", *call, "--insecure"]).exit_code == 0
    assert CliRunner().invoke(main, ["download", *call, "--force"]).exit_code == 0  # its checksum is known now


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
        (["corrupt"], "/model.pth", "is not the expected file"),
        (["page"], "/model.pth", "responds with a web page"),
        ([404], "/model.pth", "responds with 404"),
        ([403], "/model.pth", "responds with 403"),
        (["whole"], "/circle", "infinite loop"),
    ],
)
@pytest.mark.fault(
    "Files from elsewhere",
    "a web page instead of weights, a wrong checksum, too many bytes",
    "refused; no file is left",
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
        SafeRedirects(True).redirect_request(request, None, 302, "", {}, "http://example.org/a")


def test_no_server(tmp_path: Path) -> None:
    waits = Waits()
    with pytest.raises(UserError, match="cannot be downloaded"):
        download("http://127.0.0.1:9/x", tmp_path / "x", console=QUIET, sleep=waits)
    assert len(waits) == len(download_file.PAUSES)
    with pytest.raises(UserError, match="not an http address"):
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


def test_a_file_of_the_same_length_that_is_another_is_not_taken_for_whole(server: Server, tmp_path: Path) -> None:
    (tmp_path / "model.pth.partial").write_bytes(OTHER)
    (tmp_path / "model.pth.partial.etag").write_text('"0"')
    server.plan = ["splice", "whole"]
    assert get(server, tmp_path) == [1.0]
    assert (tmp_path / "model.pth").read_bytes() == CONTENT


@pytest.mark.fault("Files from elsewhere", "several processes need the same weights", "one downloads them")
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
    with pytest.raises(UserError, match=r"is not the expected file.*\s+.*--force"):
        get_it()
    server.plan = ["other"]
    with pytest.raises(UserError, match="is not the expected file"):
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
    assert SHA in result.output and "none is published" in result.output
    assert (tmp_path / "brs-detr" / "checkpoints" / "brs-detr_r50_official.pth").read_bytes() == CONTENT
    assert "as expected" in CliRunner().invoke(command, [NAME]).output
