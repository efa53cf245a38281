"""A wire to a server that can be cut, for tests of what happens when a server is away."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Literal

State = Literal["whole", "cut", "no answers", "silent"]


class Wire:
    """Passes connections on to `port`.

    `cut`: none is passed on. `no answers`: requests arrive, what the server says does not.
    `silent`: connections are taken, and nothing is ever said.
    """

    def __init__(self, port: int) -> None:
        self.callers = 0
        self._state: State = "whole"
        self._to = port
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def become(self, state: State) -> None:
        """From now on; connections that are open end."""
        self._state = state
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def close(self) -> None:
        """Takes no more connections."""
        self._listening.close()
        self.become("cut")

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listening.accept()
                self.callers += 1
                self._open.append(caller)
                threading.Thread(
                    target=self._serve, args=(caller, self._state), daemon=True
                ).start()

    def _serve(self, caller: socket.socket, state: State) -> None:
        with caller, contextlib.suppress(OSError):
            if state == "cut":
                return
            if state == "silent":
                while caller.recv(65536):
                    pass
                return
            with socket.create_connection(("127.0.0.1", self._to)) as server:
                back = threading.Thread(target=_pass_on, args=(server, caller, state), daemon=True)
                back.start()
                _pass_on(caller, server, "whole")
                back.join()


def _pass_on(source: socket.socket, target: socket.socket, state: State) -> None:
    """Until either side ends, or, without answers, until the first bytes of one come."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            if state == "no answers":
                break
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)
