"""How ranks agree on the step at which they stop, at no cost to the steps before it.

Each rank's main thread counts its steps; a thread of its own (`watch`) hears that the rank was
told to stop, and only then talks to the others.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NoReturn

from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from runforge.ranks import ALONE, Ranks

STORE_TIMEOUT = timedelta(seconds=10)

TOLD = "told"
NO_STEPS = -1


class Stop:
    """Where this process is in its steps, and whether it is to go on.

    A step is one of training's or a batch of validation: every rank has the same number of both, in
    the same order.
    """

    def __init__(self) -> None:
        self.number = 0
        """The signal that came; 0: none."""
        self.reached = threading.Event()
        """Set when the main thread stands at the end of the last step and all is kept."""
        self._lock = threading.Lock()
        self._begun, self._last, self._inside = 0, 0, False
        self._settled = threading.Event()
        self._place = ALONE
        self._store: PrefixStore | None = None

    def share(self, place: Ranks, attempt: int) -> None:
        """Lets the ranks of a group stop at the same step; before the first of them."""
        self._place = place
        if place.count > 1:
            address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            store = TCPStore(address, port, is_master=False, timeout=STORE_TIMEOUT)
            self._store = PrefixStore(f"runforge/stop/{attempt}", store)

    @contextmanager
    def steps(self) -> Iterator[None]:
        """Inside, a stop waits for the next step; without one, for the end of the last."""
        with self._lock:
            self._inside = True
        yield
        with self._lock:
            self._inside = False
        if self.number:
            self.stand()

    def step_begins(self, *, training: bool = True) -> bool:
        """Whether the main thread may do its next step; False: it is to `stand` before it.

        Validation goes on to its end: only before a step of training is all kept that is needed.
        """
        with self._lock:
            if not self.number:
                self._begun += 1
                return True
        self._settled.wait()
        self._begun += 1
        return not training or self._begun <= self._last

    def stand(self) -> NoReturn:
        """The main thread has nothing more to do: waits for the end of the process."""
        self.reached.set()
        while True:
            time.sleep(STORE_TIMEOUT.total_seconds())

    def told_to_another(self) -> int:
        """The signal that another rank of the group was told to stop by; 0: none."""
        try:
            if self._store is not None and self._store.check([TOLD]):
                return int(self._store.get(TOLD))
        except RuntimeError:
            self._store = None  # node 0 has gone: at the end, or the agent ends this process too
        return 0

    def settle(self, number: int, limit_s: float) -> bool:
        """Agrees with all ranks on the last step; False where for one this is no time for steps.

        Raises `RuntimeError` where one has not answered within `limit_s`.
        """
        with self._lock:
            self.number = number
            begun = self._begun if self._inside else NO_STEPS
        every = [begun] if self._store is None else self._begun_by_all(self._store, begun, limit_s)
        if NO_STEPS in every:
            return False
        # None begins another before all have told: there is none further.
        self._last = max(every)
        self._settled.set()
        return True

    def _begun_by_all(self, store: PrefixStore, begun: int, limit_s: float) -> list[int]:
        keys = [f"begun/{rank}" for rank in range(self._place.count)]
        store.set(TOLD, str(self.number))
        store.set(keys[self._place.rank], str(begun))
        if begun == NO_STEPS:
            return [begun]
        store.wait(keys, timedelta(seconds=limit_s))
        return [int(store.get(key)) for key in keys]


HERE = Stop()
"""This process's."""
