from __future__ import annotations

import pytest

from brs_detr.errors import UserError
from brs_detr.serve.server import address_of, is_local, listen, local_names


def test_a_port_in_use() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port} is in use") as caught:
            listen("127.0.0.1", port)
        assert "--port" in (caught.value.hint or "")
    listen("127.0.0.1", port).close()  # free again


@pytest.mark.parametrize("host", ["no-such-host.invalid", "999.1.1.1", "a" * 300, "bad host", "\0", "é" * 70])
def test_an_unknown_host(host: str) -> None:
    with pytest.raises(UserError, match="there is no such host"):
        listen(host, 0)


def test_an_address_of_another_machine() -> None:
    with pytest.raises(UserError, match="does not belong to this machine"):
        listen("192.0.2.1", 0)


@pytest.mark.parametrize(
    "host, is_loopback, shown",
    [
        ("127.0.0.1", True, "127.0.0.1"),
        ("127.0.0.2", True, "127.0.0.2"),
        ("localhost", True, None),
        ("0.0.0.0", False, "127.0.0.1"),
    ],
)
def test_what_an_address_means(host: str, is_loopback: bool, shown: str | None) -> None:
    with listen(host, 0) as listener:
        assert is_local(listener) is is_loopback
        port = listener.getsockname()[1]
        if shown:
            assert address_of(listener) == f"http://{shown}:{port}"
            assert shown in local_names(listener, host)
        assert host in local_names(listener, host)
