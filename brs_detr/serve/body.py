"""Take in the body of a request: counted while it comes, and in time."""

from __future__ import annotations

import anyio
from starlette.requests import Request

from brs_detr.serve.limits import MEGABYTE, Limits
from brs_detr.serve.refusal import Refusal

_DRAINED = 10  # times the limit is read and thrown away, for a client reads no answer before all is sent


async def read_body(request: Request, limits: Limits) -> bytes:
    """The whole body, in memory.

    What `Content-Length` says is believed only when it is too much; otherwise the bytes are counted.

    Raises:
        Refusal: 413 for too many bytes, 408 for too slow ones.
        ClientDisconnect: there is nobody left to answer.
    """
    too_large = Refusal(
        413,
        f"The upload is larger than {limits.max_bytes / MEGABYTE:g} MB.",
        "Send fewer or smaller images, or start the server with a larger --max-upload-mb.",
    )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.max_bytes and "expect" in request.headers:
        raise too_large  # the client asks before it sends
    body, num_bytes = bytearray(), 0
    with anyio.move_on_after(limits.receive_seconds):
        async for chunk in request.stream():
            num_bytes += len(chunk)
            if num_bytes <= limits.max_bytes:
                body += chunk
            elif num_bytes > _DRAINED * limits.max_bytes:
                break
        if num_bytes <= limits.max_bytes:
            return bytes(body)
    if num_bytes > limits.max_bytes:
        raise too_large
    raise Refusal(408, f"The upload did not arrive within {limits.receive_seconds:g} seconds.", "Send it again.")
