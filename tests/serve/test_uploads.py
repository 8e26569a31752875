from __future__ import annotations

import asyncio
import io
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from served import BOUNDARY, FORM_TYPE, form, image_bytes
from starlette.requests import Request

from brs_detr.serve.limits import Limits, Refusal
from brs_detr.serve.uploads import MAX_NAME_LENGTH, Intake, Upload, check_image, decode_image, file_name, split_form


def test_contents_come_out_as_they_went_in() -> None:
    contents = [bytes(range(256)) * 5, b"\r\n--" + BOUNDARY[:-1].encode() + b"\r\n", b"", b"\r\n"]
    uploads = split_form(form(*[(f"{n}.png", content) for n, content in enumerate(contents)]), FORM_TYPE, 4)
    assert [upload.name for upload in uploads] == ["0.png", "1.png", "2.png", "3.png"]
    assert [upload.content for upload in uploads] == contents


def test_one_file_too_many() -> None:
    body = form(("a", b"1"), ("b", b"2"), ("c", b"3"))
    assert len(split_form(body, FORM_TYPE, 3)) == 3
    with pytest.raises(Refusal, match="more than 2 files") as caught:
        split_form(body, FORM_TYPE, 2)
    assert caught.value.status == 413


def test_a_form_cut_anywhere_is_refused() -> None:
    body = form(("a.png", b"first"), ("b.png", b"second"))
    for end in range(len(body) - 2):  # the last line end may be missing
        with pytest.raises(Refusal) as caught:
            split_form(body[:end], FORM_TYPE, 2)
        assert caught.value.status == 400


@pytest.mark.parametrize(
    "name", ["street.jpg", "a b (1).png", "straße.jpg", "猫.png", "x" * MAX_NAME_LENGTH, "...", "a:b"]
)
def test_good_names(name: str) -> None:
    assert file_name(name.encode()) == name


@pytest.mark.parametrize(
    "raw",
    [b"", b".", b"..", b"/etc/passwd", b"../a.png", b"C:\\a.png", b"a\0.png", b"a\x1b[31m.png", b"a\r\nb", b"\xff.png",
     "a\u202egnp.png".encode(), "a\u2028b".encode(), b"x" * (MAX_NAME_LENGTH + 1), b"x" * 10_000],
)  # fmt: skip
def test_bad_names(raw: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        file_name(raw)
    assert caught.value.status == 400
    assert caught.value.message.isprintable() and len(caught.value.message) < 100


LIMITS = Limits(max_bytes=1_000_000, receive_seconds=0.3)


def read(num_chunks: int, chunk_bytes: int, seconds: float = 0.0, **headers: str) -> tuple[bytes, int]:
    """A request whose body comes in chunks; counts those that were read."""
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
    """Sends chunks on command."""

    def __init__(self) -> None:
        self.chunks: asyncio.Queue[dict] = asyncio.Queue()
        self.request = Request({"type": "http", "method": "POST", "headers": []}, self.chunks.get)

    def send(self, num_bytes: int, more: bool = True) -> None:
        self.chunks.put_nowait({"type": "http.request", "body": bytes(num_bytes), "more_body": more})


async def outcome(intake: Intake, client: Client) -> int:
    """Return the bytes that arrived, or the negative status of the refusal."""
    try:
        async with intake.body(client.request) as body:
            return len(body)
    except Refusal as refusal:
        return -refusal.status


@pytest.mark.parametrize(
    "limits, sent",
    [
        (Limits(max_bytes=1_000_000, max_requests=2, receive_seconds=20), 700_000),  # no room for the third
        (Limits(max_bytes=1_000_000, max_requests=8, receive_seconds=20, max_connections=2), 10),  # nor a slot
    ],
)
def test_the_slowest_client_gives_way(limits: Limits, sent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brs_detr.serve.uploads._GRACE_SECONDS", 0.2)

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


@pytest.mark.parametrize("image_format, order", [("PNG", "<"), ("TIFF", "<"), ("TIFF", ">")])
def test_sixteen_bits_become_eight(image_format: str, order: str) -> None:
    grey = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    buffer = io.BytesIO()
    Image.fromarray(grey.astype(f"{order}u2")).save(buffer, image_format)
    decoded = np.asarray(decode_image(Upload("grey", buffer.getvalue()), 100))
    assert (decoded == (grey >> 8)[..., None]).all()


def test_pixels_are_counted_before_they_are_decoded() -> None:
    content = image_bytes(10, 11)
    check_image(Upload("a.png", content), 110)
    cut = content[:60]  # the header is whole, nothing could be decoded
    with pytest.raises(Refusal, match=r"a.png has more than 0.000109 million pixels \(10 x 11\)") as caught:
        check_image(Upload("a.png", cut), 109)
    assert caught.value.status == 422


def test_damage_behind_the_header_is_found_when_decoding() -> None:
    for image_format in ("PNG", "JPEG", "WEBP", "BMP"):
        whole = image_bytes(90, 90, image_format)
        with pytest.raises(Refusal, match="street cannot be read: ") as caught:
            decode_image(Upload("street", whole[: len(whole) // 2]), 10_000)
        assert caught.value.status == 422


def test_the_first_image_of_an_animation() -> None:
    red, blue = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    for image_format in ("PNG", "WEBP", "TIFF", "GIF"):
        buffer = io.BytesIO()
        red.save(buffer, image_format, save_all=True, append_images=[blue], lossless=True)
        decoded = decode_image(Upload("x", buffer.getvalue()), 100)
        assert decoded.getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.filterwarnings("ignore::Warning:PIL")
@pytest.mark.parametrize("seed", range(6))
def test_any_flipped_bytes_are_refused_or_decoded(seed: int) -> None:
    random = np.random.default_rng(seed)
    for image_format in ("PNG", "JPEG", "WEBP", "BMP", "TIFF"):
        whole = bytearray(image_bytes(24, 20, image_format))
        for _ in range(60):
            broken = bytearray(whole)
            for place in random.integers(0, len(broken) if random.random() < 0.5 else 64, 4):
                broken[place] = random.integers(256)
            try:
                decoded = decode_image(Upload("x", bytes(broken)), 10_000)
            except Refusal as refusal:
                assert refusal.status in (415, 422) and refusal.hint
            else:
                assert decoded.mode == "RGB" and decoded.width * decoded.height <= 10_000
