"""The HTTP application round a model: predictions, health, readiness, an OpenAPI description."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from runforge.batching import Batcher, Busy
from runforge.bundle import Model
from runforge.contract import contract
from runforge.example_rows import made_rows
from runforge.plain_http import PlainHttp, address, other_method
from runforge.predicting import NOT_FINITE, predict_rows, threads
from runforge.prediction_files import shortest
from runforge.predictions import most_probable
from runforge.request_body import Decoder, Rejected, check_coding, read_body
from runforge.serving_page import HEALTH, READY, answers, described, page, request_body

BATCH_SIZE, WAIT_S = 64, 0.005
RETRY = {"Retry-After": "1"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may ask for."""

    body_bytes: int
    max_pixels: int | None
    """None: as in training."""
    waiting: int
    """Requests that may be read, decoded or waiting at once."""


class Service:
    """A model on its device, with what stands between it and requests."""

    def __init__(self, model: Model, device: torch.device, limits: Limits) -> None:
        self.model, self._device, self._limits = model.to(device), device, limits
        self.contract = contract(model.bundle)
        self.decoder = Decoder.of(model.schema, limits.max_pixels)
        self.ready = False
        self._pool = ThreadPoolExecutor(threads(), "runforge-decode")
        self._batcher = Batcher(self._forward, most=BATCH_SIZE, wait_s=WAIT_S, limit=limits.waiting)

    @asynccontextmanager
    async def running(self, app: FastAPI) -> AsyncIterator[None]:
        """Forward passes, from the first to the last request; warms up meanwhile."""
        tasks = [asyncio.create_task(self._batcher.run()), asyncio.create_task(self._warm())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def predict(self, request: Request) -> list[dict[str, Any]]:
        """One entry for each sample of a request; raises `Rejected`."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            with self._batcher.admitted():
                self.decoder.check_type(kind)
                check_coding(request.headers.get("content-encoding", ""))
                body = await read_body(request, self._limits.body_bytes)
                with self._batcher.coming():
                    loop = asyncio.get_running_loop()
                    packed = loop.run_in_executor(self._pool, self.decoder.packed, kind, body)
                    rows, remarks = await packed
                values = await self._batcher.predict(rows)
        except Busy:
            raise Rejected(503, "too many requests are waiting; try again later") from None
        told = zip(self._told(values), remarks, strict=True)
        return [one if r is None else {**one, "remarks": r} for one, r in told]

    def _forward(self, rows: np.ndarray) -> np.ndarray:
        return predict_rows(self.model, rows, self._device)

    async def _warm(self) -> None:
        """The first forward pass of a size is slow: memory is laid out, kernels are chosen."""
        for count in (1, BATCH_SIZE):
            await self._batcher.predict(made_rows(self.model.schema, count))
        self.ready = True

    def _told(self, values: np.ndarray) -> list[dict[str, Any]]:
        if not np.isfinite(values).all():
            raise Rejected(422, NOT_FINITE)
        classes, numbers = self.model.schema.classes, shortest(values).tolist()
        if not classes:
            return [{"value": row[0]} for row in numbers]
        return [
            {"predicted": classes[code], "probabilities": dict(zip(classes, row, strict=True))}
            for code, row in zip(most_probable(values), numbers, strict=True)
        ]


def application(service: Service, hosts: Sequence[str]) -> FastAPI:
    """The application; it answers to requests that call it by one of `hosts` alone.

    Otherwise a page from anywhere could reach it by a name that it points at this machine.
    """
    # FastAPI's own page loads its scripts from another server; ours is one file.
    app = FastAPI(
        title="runforge serve",
        version=service.contract["runforge"],
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=service.running,
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    app.add_middleware(PlainHttp)
    _add_errors(app)
    body = {"requestBody": {"required": True, "content": request_body(service.decoder)}}

    @app.post("/predict", openapi_extra=body, responses=answers(service.model.schema))
    async def predict(request: Request) -> Response:
        """Class probabilities, or the value, for each sample of the body."""
        return JSONResponse({"predictions": await service.predict(request)})

    @app.get("/health", responses={200: described(HEALTH)})
    async def health() -> Response:
        """The process is alive."""
        return JSONResponse({"status": "alive"})

    @app.get("/ready", responses={200: described(READY), 503: described(READY)})
    async def ready() -> Response:
        """The model is loaded and warmed: 200; not yet: 503."""
        if service.ready:
            return JSONResponse({"ready": True})
        return JSONResponse({"ready": False}, 503, RETRY)

    @app.get("/model")
    async def model() -> dict[str, Any]:
        """What goes in and what comes out: classes, columns, run, hash of the weights."""
        return service.contract

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs(request: Request) -> str:
        return page(service.decoder, service.contract, f"{address(request)}/predict")

    return app


def _add_errors(app: FastAPI) -> None:
    """Every error is `{"error": one line}`."""

    @app.exception_handler(Rejected)
    async def rejected(request: Request, error: Exception) -> Response:
        assert isinstance(error, Rejected)
        headers = RETRY if error.status == 503 else error.headers
        return JSONResponse({"error": error.reason}, error.status, headers)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            return other_method(request, app.routes)
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": "a fault of the server; its own log tells more"}, 500)
