"""What proxies, health checks and clients rely on in any HTTP server, beside the answers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

_PREFIX = re.compile(r"(/[\w.~-]+)+")
_HOST = re.compile(r"[\w.-]+(:\d{1,5})?|\[[0-9a-fA-F:.]+\](:\d{1,5})?")


class PlainHttp:
    """Requests as they are meant: the application itself knows paths and GET and POST alone.

    HEAD is GET without the body (the server sends none). A slash at the end of a path is none; a
    whole address in place of a path, as a proxy's client sends it, is that path. HTTP/1.0 need
    name no host: no browser leaves it out. `X-Forwarded-Prefix`: where a proxy has put it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands on the request, settled."""
        await self.app(_settled(scope) if scope["type"] == "http" else scope, receive, send)


def _settled(scope: Scope) -> Scope:
    headers, path = Headers(scope=scope), scope["path"]
    settled = {**scope}
    if path.lower().startswith(("http://", "https://")):
        path = urlsplit(path).path
    settled["path"] = "/" if path in ("", "*") else path.rstrip("/") or "/"
    settled["raw_path"] = settled["path"].encode()
    if scope["method"] == "HEAD":
        settled["method"] = "GET"
    if "host" not in headers and scope["http_version"] == "1.0":
        settled["headers"] = [*scope["headers"], (b"host", b"localhost")]
    prefix = headers.get("x-forwarded-prefix", "").rstrip("/")
    if _PREFIX.fullmatch(prefix):
        settled["root_path"] = prefix
    return settled


def address(request: Request) -> str:
    """Where the client has reached this server, proxies included, without a slash at the end."""
    told = request.headers.get("x-forwarded-host", "").partition(",")[0].strip()
    host = told if _HOST.fullmatch(told) else request.headers["host"]
    return f"{request.url.scheme}://{host}{request.scope.get('root_path', '')}"


def other_method(request: Request, routes: Iterable[BaseRoute]) -> Response:
    """The answer to a method that a path has not: which ones it has."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    has = {m for r in routes if isinstance(r, Route) and r.path == path for m in r.methods or ()}
    allowed = ", ".join(sorted({*has, "OPTIONS", *(("HEAD",) if "GET" in has else ())}))
    if request.method == "OPTIONS":
        return Response(status_code=204, headers={"Allow": allowed})
    error = f"{request.method} is none of its methods: {allowed}"
    return JSONResponse({"error": error}, 405, {"Allow": allowed})
