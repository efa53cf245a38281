"""`runforge serve --model REF`: a model over HTTP, on this machine alone unless told otherwise."""

from __future__ import annotations

import argparse
import ipaddress
import socket
import sys
from collections.abc import Sequence

from runforge import allocator, signals
from runforge.errors import ConfigError
from runforge.model_reference import bundle_folder

LOCAL = ("localhost", "127.0.0.1", "[::1]", "::1")
STOP_S = 30
"""How long requests that are being answered may take after SIGTERM."""

MOST_CONNECTIONS = 1024


def run(options: argparse.Namespace) -> None:
    """Serves until a signal comes: requests that were begun are answered, then it ends."""
    _check_names(options.allowed_host)
    with _bound(options.host, options.port) as bound:
        folder = bundle_folder(options.model)
        allocator.keep_freed_memory()
        # Imported only now: they take seconds, and mistakes are told before.
        import uvicorn

        from runforge import bundle
        from runforge.devices import named_device
        from runforge.serving import Limits, Service, application

        device = named_device(options.device)
        limits = Limits(options.max_body_mb * 2**20, options.max_pixels, options.max_waiting)
        service = Service(bundle.load(folder), device, limits)
        address, port = bound.getsockname()[:2]
        hosts = (*LOCAL, options.host, address, f"[{address}]", *options.allowed_host)
        server = uvicorn.Server(
            uvicorn.Config(
                application(service, hosts),
                log_level="warning",
                access_log=False,
                server_header=False,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_graceful_shutdown=STOP_S,
            )
        )
        server.handle_exit = signals.apart(server.handle_exit)  # type: ignore
        _tell(address, port, options.allowed_host)
        server.run(sockets=[bound])


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if "*" in name.removeprefix("*.") or not name.removeprefix("*."):
            mend = "name the hosts, or all under a domain as *.example.org"
            raise ConfigError(f"{name!r} is no host", where="--allowed-host", mend=mend)


def _bound(host: str, port: int) -> socket.socket:
    """A socket of the address, before anything is loaded; raises `ConfigError`."""
    where = f"--host {host} --port {port}"
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(kind, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except BaseException:
            bound.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        mend = "take another --port, or an address of this machine"
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"it can't be bound: {reason}", where=where, mend=mend) from error
    return bound


def _tell(address: str, port: int, names: Sequence[str]) -> None:
    shown = f"[{address}]" if ":" in address else address
    if not ipaddress.ip_address(address).is_loopback:
        print(
            f"serve: {shown} is reached from other machines, and there is no password: put a proxy"
            f" with one before it. It answers to {', '.join(names) or 'its address'} only"
            " (--allowed-host)",
            file=sys.stderr,
        )
    print(f"serve: http://{shown}:{port} (how to ask: /docs); Ctrl-C ends it", file=sys.stderr)
