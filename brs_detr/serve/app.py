"""The ASGI application: the page, the JSON API, and protection against other sites."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brs_detr.runtime.calibration import Thresholds, by_name
from brs_detr.serve.detect_page import content_security_policy, render_detect_page
from brs_detr.serve.detector_process import DetectorProcess, Task
from brs_detr.serve.limits import Limits, Refusal, error_response
from brs_detr.serve.uploads import RAW_NAME, Intake, Upload, check_image, split_form

_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class ServedModel:
    """Runs a detector in a thread, so that the server keeps answering.

    Args:
        process: the process of the detector.
        name: name to show.
        threshold: lowest score to return, in [0, 1], unless a client asks for another; default: the detector's own.
    """

    def __init__(self, process: DetectorProcess, name: str, threshold: float | None = None) -> None:
        self.name, self.info = name, process.info
        self.threshold: Thresholds = process.info.score_threshold if threshold is None else threshold
        self._process = process
        self._thread = ThreadPoolExecutor(1, "detector")

    async def detect(
        self, upload: Upload, threshold: Thresholds, limits: Limits, seconds: float = float("inf")
    ) -> tuple[dict[str, Any], float]:
        """Detect the objects in an upload as soon as the detector is free.

        Args:
            upload: the image.
            threshold: lowest score to return, for all classes or per class.
            limits: limits for the image and for memory.
            seconds: time limit.

        Returns:
            An entry as in predictions.json (file, width, height, objects), and the seconds that it took.

        Raises:
            Refusal: see `brs_detr.serve.detector_process.DetectorProcess.find`.
        """
        task = Task(upload, threshold, limits.max_pixels)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._find, task, limits, seconds)

    def _find(self, task: Task, limits: Limits, seconds: float) -> tuple[dict[str, Any], float]:
        started = time.monotonic()
        return self._process.find(task, seconds, limits.max_memory), time.monotonic() - started


def make_app(model: ServedModel, limits: Limits | None = None, hosts: frozenset[str] | None = None) -> Gate:
    """Make the ASGI application of a detector.

    Args:
        model: the detector.
        limits: limits for requests.
        hosts: allowed names of the server, see `Gate`; None allows any.
    """
    endpoints = _Endpoints(model, limits or Limits())
    routes = [
        Route("/", endpoints.page, methods=["GET"]),
        Route("/healthz", endpoints.health, methods=["GET"]),
        Route("/api/model", endpoints.model_info, methods=["GET"]),
        Route("/api/detect", endpoints.detect, methods=["POST"]),
    ]
    handlers = {Refusal: _refused, HTTPException: _no_route, ClientDisconnect: _disconnected, Exception: _failed}
    app = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]
    app.router.redirect_slashes = False
    return Gate(app, hosts)


class _Endpoints:
    """The handlers of all routes."""

    def __init__(self, model: ServedModel, limits: Limits) -> None:
        self.model = model
        self.limits = limits
        self._page = render_detect_page(model, limits)
        self._policy = content_security_policy(self._page)
        self._intake = Intake(limits)
        self._slots = asyncio.Semaphore(limits.max_requests)

    async def page(self, request: Request) -> Response:
        return HTMLResponse(self._page, headers={"Content-Security-Policy": self._policy})

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def model_info(self, request: Request) -> Response:
        info = self.model.info
        return JSONResponse({**self._header(self.model.threshold), "head": info.head, "precision": info.precision})

    def _header(self, threshold: Thresholds) -> dict[str, Any]:
        info = self.model.info
        return {
            "model": self.model.name,
            "class_names": info.class_names,
            "score_threshold": by_name(threshold, info.class_names),
            "calibrated": info.calibrated,
        }

    async def detect(self, request: Request) -> Response:
        try:
            async with self._intake.body(request) as body:  # before any refusal: no client reads while it sends
                with anyio.move_on_after(self.limits.receive_seconds) as waiting:
                    await self._slots.acquire()
                if waiting.cancelled_caught:
                    return error_response(503, "The server is busy.", "Send it again later.", {"Retry-After": "10"})
                try:
                    return await self._detect(request, body)
                finally:
                    self._slots.release()
        except asyncio.CancelledError:  # after a signal and the grace period
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
        return JSONResponse({**self._header(threshold), "images": images})

    async def _uploads(self, body: bytes, content_type: str) -> list[Upload]:
        """Return the images of a request, after a check of their headers."""
        if content_type.lower().startswith("multipart/"):
            uploads = await run_sync(split_form, body, content_type, self.limits.max_images)
        elif body:
            uploads = [Upload(RAW_NAME, body)]
        else:
            raise Refusal(
                400, "The request contains no image.", "Send one as the body, or several as a multipart form."
            )
        for upload in uploads:
            await run_sync(check_image, upload, self.limits.max_pixels)
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
        raise Refusal(400, "The threshold is not a number from 0 to 1.", "For example: /api/detect?threshold=0.5.")
    return threshold


async def _refused(request: Request, refusal: Refusal) -> Response:
    return error_response(refusal.status, refusal.message, refusal.hint)


async def _no_route(request: Request, error: HTTPException) -> Response:
    message = "This address takes another method." if error.status_code == 405 else "There is nothing at this address."
    routes = "GET /, GET /healthz, GET /api/model, POST /api/detect"
    return error_response(error.status_code, message, f"The addresses are {routes}.", error.headers)


async def _disconnected(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _failed(request: Request, error: Exception) -> Response:
    return error_response(500, f"The detector failed: {type(error).__name__}.", "See the terminal of the server.")


class Gate:
    """Refuses requests that another site makes through a user's browser, and sets security headers.

    Args:
        app: handles all other requests.
        hosts: allowed names in the Host header, without port; None allows any. They protect against DNS rebinding, by
            which another site points its own name at this machine to count as the same site.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None = None) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refusal(scope["method"], Headers(scope=scope))
        answer = self.app if refused is None else error_response(403, *refused)
        await answer(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: Headers) -> tuple[str, str] | None:
        hosts = headers.getlist("host")
        if self.hosts is not None and (len(hosts) != 1 or _without_port(hosts[0]) not in self.hosts):
            return "This server only answers to names of this machine.", "Open it at the address that it printed."
        if method not in _SAFE_METHODS and not _is_same_site(headers):
            return "The request comes from a page of another site.", "Use the page of this server, or another program."
        return None


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()


def _is_same_site(headers: Headers) -> bool:
    """Check the headers by which browsers say where a request comes from; other clients send none."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host")
