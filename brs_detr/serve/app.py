"""The addresses of the server: the page, the JSON API, and a sign of life."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from brs_detr.runtime.calibration import Thresholds, by_name
from brs_detr.serve.body import Intake
from brs_detr.serve.detect_page import content_security_policy, render_detect_page
from brs_detr.serve.gate import Gate
from brs_detr.serve.limits import Limits
from brs_detr.serve.pictures import check_picture
from brs_detr.serve.refusal import Refusal, error_response
from brs_detr.serve.served_model import ServedModel
from brs_detr.serve.uploads import RAW_NAME, Upload, split_form


def make_app(model: ServedModel, limits: Limits | None = None, hosts: frozenset[str] | None = None) -> Gate:
    """An ASGI application around a detector.

    Args:
        model: that finds the objects.
        limits: of requests.
        hosts: names that the server is called by, see `Gate`; None allows any.
    """
    endpoints = _Endpoints(model, limits or Limits())
    routes = [
        Route("/", endpoints.page, methods=["GET"]),
        Route("/healthz", endpoints.health, methods=["GET"]),
        Route("/api/model", endpoints.model_info, methods=["GET"]),
        Route("/api/detect", endpoints.detect, methods=["POST"]),
    ]
    handlers = {Refusal: _refused, HTTPException: _no_such_address, ClientDisconnect: _nobody_left, Exception: _fault}
    app = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]
    app.router.redirect_slashes = False
    return Gate(app, hosts)


class _Endpoints:
    """What answers at each address."""

    def __init__(self, model: ServedModel, limits: Limits) -> None:
        self.model = model
        self.limits = limits
        self._page = render_detect_page(model, limits)
        self._policy = content_security_policy(self._page)
        self._intake = Intake(limits)
        self._places = asyncio.Semaphore(limits.max_requests)

    async def page(self, request: Request) -> Response:
        return HTMLResponse(self._page, headers={"Content-Security-Policy": self._policy})

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def model_info(self, request: Request) -> Response:
        model = self.model
        return JSONResponse(
            {
                "model": model.name,
                "class_names": model.class_names,
                "score_threshold": by_name(model.threshold, model.class_names),
                "calibrated": model.calibrated,
                "head": model.head,
                "precision": model.precision,
            }
        )

    async def detect(self, request: Request) -> Response:
        try:
            async with self._intake.body(request) as body:  # before any complaint, which no client reads while it sends
                with anyio.move_on_after(self.limits.receive_seconds) as patience:
                    await self._places.acquire()
                if patience.cancelled_caught:
                    return error_response(503, "The server is busy.", "Send it again later.", {"Retry-After": "10"})
                try:
                    return await self._detect(request, body)
                finally:
                    self._places.release()
        except asyncio.CancelledError:  # by a signal, after some seconds of grace
            return error_response(503, "The server is being stopped.", "Start it again.")

    async def _detect(self, request: Request, body: bytes) -> Response:
        threshold = _threshold(request, self.model.threshold)
        uploads = await self._uploads(body, request.headers.get("content-type", ""))
        images: list[dict[str, Any]] = []
        seconds = self.limits.seconds
        for upload in uploads:
            if await request.is_disconnected():
                raise ClientDisconnect
            entry, taken = await self.model.detect(upload, threshold, self.limits, seconds)
            seconds -= taken
            images.append(entry)
        return JSONResponse(
            {
                "model": self.model.name,
                "class_names": self.model.class_names,
                "score_threshold": by_name(threshold, self.model.class_names),
                "calibrated": self.model.calibrated,
                "images": images,
            }
        )

    async def _uploads(self, body: bytes, content_type: str) -> list[Upload]:
        """The images of a request, each with a header that promises an image of a size that can be decoded."""
        if content_type.lower().startswith("multipart/"):
            uploads = await run_sync(split_form, body, content_type, self.limits.max_images)
        elif body:
            uploads = [Upload(RAW_NAME, body)]
        else:
            raise Refusal(400, "The request holds no image.", "Send one as the body, or several as a multipart form.")
        for upload in uploads:
            await run_sync(check_picture, upload, self.limits.max_pixels)
        return uploads


def _threshold(request: Request, default: Thresholds) -> Thresholds:
    unknown = [name for name in request.query_params if name != "threshold"]
    if unknown:
        raise Refusal(400, f"There is no option {unknown[0][:40]!r}.", "The only one is threshold.")
    given = request.query_params.getlist("threshold")
    if not given:
        return default
    try:
        (threshold,) = map(float, given)
    except ValueError:
        threshold = -1.0
    if not 0 <= threshold <= 1:  # NaN is not
        raise Refusal(400, "The threshold is not one number from 0 to 1.", "For example: /api/detect?threshold=0.5.")
    return threshold


async def _refused(request: Request, refusal: Refusal) -> Response:
    return error_response(refusal.status, refusal.message, refusal.cure)


async def _no_such_address(request: Request, error: HTTPException) -> Response:
    known = "GET /, GET /healthz, GET /api/model, POST /api/detect"
    what = "This address takes another method." if error.status_code == 405 else "There is nothing at this address."
    return error_response(error.status_code, what, f"Known are: {known}.", error.headers)


async def _nobody_left(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=400)  # which nobody reads


async def _fault(request: Request, error: Exception) -> Response:
    return error_response(500, f"The detector failed: {type(error).__name__}.", "The terminal of the server says more.")
