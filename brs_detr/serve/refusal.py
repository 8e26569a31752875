"""Every error that a client gets: JSON with what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse

from brs_detr.errors import UserError


class Refusal(UserError):
    """A request that cannot be answered as it is.

    Args:
        status: of HTTP, such as 413.
        message: what is wrong, naming the file.
        cure: what the client can do about it.
    """

    def __init__(self, status: int, message: str, cure: str | None = None) -> None:
        super().__init__(message, cure)
        self.status = status


def error_body(message: str, cure: str | None) -> dict[str, dict[str, str | None]]:
    """``{"error": {"message": ..., "cure": ...}}``."""
    return {"error": {"message": message, "cure": cure}}


def error_response(
    status: int, message: str, cure: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An error on its way to a client. The connection ends with it: the rest of the request may be unread."""
    return JSONResponse(error_body(message, cure), status, {"Connection": "close", **(headers or {})})
