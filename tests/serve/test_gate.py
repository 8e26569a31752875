from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from served import PlantedDetector, Served, image_bytes, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with serving(PlantedDetector()) as served:
        yield served


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8000"])
def test_names_of_this_machine(host: str, server: Served) -> None:
    assert server.ask("GET", "/healthz", headers={"Host": host})[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "localhost:8000:x",
     "", "localhost@evil.example", "[::1].evil.example"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/api/model", "/healthz", "/nothing"])
def test_other_names_are_refused(host: str, path: str, server: Served) -> None:
    status, headers, text = server.ask("GET", path, headers={"Host": host})
    assert status == 403
    assert json.loads(text)["error"]["cure"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": ""}, {"Origin": "http://127.0.0.1:1"},
     {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}],
)  # fmt: skip
def test_posts_from_other_sites_are_refused(headers: dict[str, str], server: Served) -> None:
    num_seen = len(server.detector.seen)
    status, _, text = server.ask("POST", "/api/detect", image_bytes(), headers)
    assert status == 403 and "another site" in json.loads(text)["error"]["message"]
    assert len(server.detector.seen) == num_seen


def test_posts_from_the_page_are_taken(server: Served) -> None:
    headers = {"Origin": server.url.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert server.ask("POST", "/api/detect", image_bytes(), headers)[0] == 200


def test_any_name_where_the_network_may_come_in_but_no_other_site() -> None:
    with serving(PlantedDetector(), local=False) as server:
        host = {"Host": "camera.local:8000"}
        assert server.ask("GET", "/healthz", headers=host)[0] == 200
        assert server.ask("POST", "/api/detect", image_bytes(), host | {"Origin": "http://camera.local:8000"})[0] == 200
        assert server.ask("POST", "/api/detect", image_bytes(), host | {"Origin": "http://evil.example"})[0] == 403


@pytest.mark.parametrize("path", ["/", "/api/model", "/nothing"])
def test_security_headers(path: str, server: Served) -> None:
    headers = server.ask("GET", path)[1]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy
    assert "access-control-allow-origin" not in headers
