from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.requests import Request

from brs_detr.serve.body import read_body
from brs_detr.serve.limits import Limits
from brs_detr.serve.refusal import Refusal

LIMITS = Limits(max_bytes=1_000_000, receive_seconds=0.3)


def read(num_chunks: int, chunk_bytes: int, seconds: float = 0.0, **headers: str) -> tuple[bytes, int]:
    """The body of a request that comes in chunks, and how many of them were asked for."""
    asked = 0

    async def receive() -> dict:
        nonlocal asked
        asked += 1
        await asyncio.sleep(seconds)
        return {"type": "http.request", "body": bytes(chunk_bytes), "more_body": asked < num_chunks}

    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    request = Request({"type": "http", "method": "POST", "headers": lines}, receive)
    return in_thread(lambda: asyncio.run(read_body(request, LIMITS))), asked


def in_thread(work: Callable[[], bytes]) -> bytes:
    """The browser tests leave an event loop in the main one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def test_up_to_the_limit() -> None:
    assert read(10, 100_000) == (bytes(1_000_000), 10)
    assert read(1, 0) == (b"", 1)


@pytest.mark.parametrize("length", ["5", "1000000", "99999999"])
def test_bytes_are_counted_whatever_the_length_says(length: str) -> None:
    with pytest.raises(Refusal, match="larger than 1 MB") as caught:
        read(11, 100_000, content_length=length)
    assert caught.value.status == 413


def test_what_is_too_much_is_not_kept() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Refusal):
            read(95, 100_000)
        assert tracemalloc.get_traced_memory()[1] < 3 * LIMITS.max_bytes
    finally:
        tracemalloc.stop()


def test_too_much_without_end_is_given_up() -> None:
    with pytest.raises(Refusal) as caught:
        read(10**9, 1_000_000)
    assert caught.value.status == 413


def test_nothing_is_received_from_a_client_that_asks_first() -> None:
    with pytest.raises(Refusal) as caught:
        read(1, 0, seconds=60, content_length="1000001", expect="100-continue")
    assert caught.value.status == 413


def test_too_slow() -> None:
    with pytest.raises(Refusal, match="within 0.3 seconds") as caught:
        read(100, 10, seconds=0.05)
    assert caught.value.status == 408
