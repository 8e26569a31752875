from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.requests import Request

from brs_detr.serve.body import Intake
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
    return in_thread(lambda: asyncio.run(body_of(request))), asked


async def body_of(request: Request) -> bytes:
    async with Intake(LIMITS).body(request) as body:
        return body


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


class Client:
    """Sends what it is told to, when it is told to."""

    def __init__(self) -> None:
        self.chunks: asyncio.Queue[dict] = asyncio.Queue()
        self.request = Request({"type": "http", "method": "POST", "headers": []}, self.chunks.get)

    def send(self, num_bytes: int, more: bool = True) -> None:
        self.chunks.put_nowait({"type": "http.request", "body": bytes(num_bytes), "more_body": more})


async def outcome(intake: Intake, client: Client) -> int:
    """Bytes that came in, or the status of the refusal as a negative number."""
    try:
        async with intake.body(client.request) as body:
            return len(body)
    except Refusal as refusal:
        return -refusal.status


@pytest.mark.parametrize(
    "limits, sent",
    [
        (Limits(max_bytes=1_000_000, max_requests=2, receive_seconds=20), 700_000),  # no room for the third
        (Limits(max_bytes=1_000_000, max_requests=8, receive_seconds=20, max_connections=2), 10),  # no third place
    ],
)
def test_the_slowest_client_gives_way(limits: Limits, sent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brs_detr.serve.body._GRACE_SECONDS", 0.2)

    async def run() -> list[int]:
        intake = Intake(limits)
        slow, fast, late = clients = [Client() for _ in range(3)]
        work = []
        for client in clients[:2]:
            work.append(asyncio.create_task(outcome(intake, client)))
        slow.send(sent - 1)
        fast.send(sent)
        await asyncio.sleep(0.3)
        work.append(asyncio.create_task(outcome(intake, late)))
        await asyncio.sleep(0)
        late.send(sent)
        await asyncio.sleep(0.05)
        for client in clients:
            client.send(0, more=False)
        return list(await asyncio.gather(*work))

    outcomes = in_thread(lambda: asyncio.run(run()))
    assert outcomes == [-503, sent, sent]


def test_room_is_given_back_in_the_end() -> None:
    async def run() -> list[int]:
        intake = Intake(Limits(max_bytes=1000, max_requests=1))
        answers = []
        for _ in range(5):
            client = Client()
            client.send(1000, more=False)
            answers.append(await outcome(intake, client))
        return [*answers, intake._held, len(intake._arrivals)]

    assert in_thread(lambda: asyncio.run(run())) == [1000] * 5 + [0, 0]
