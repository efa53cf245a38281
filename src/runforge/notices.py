"""What a person should know of their data and is no mistake, told by whoever sees it.

A source, a modality or a check calls `notice`; whoever keeps what is noticed uses `collected`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_COLLECTED: ContextVar[list[str] | None] = ContextVar("collected", default=None)


def notice(what: str, *, where: str = "", hint: str = "") -> None:
    """One line: what is noticed, where, and the key that changes it.

    The same line is kept once. Where nobody collects, it is printed to stderr. Threads started
    within `collected` do not take part: what is seen of one sample is a remark, not a notice.
    """
    line = f"{where}: {what}" if where else what
    line = " ".join((f"{line}; {hint}" if hint else line).split())
    found = _COLLECTED.get()
    if found is None:
        print(f"warning: {line}", file=sys.stderr)
    elif line not in found:
        found.append(line)


@contextmanager
def collected(say: Callable[[str], None] = lambda line: None) -> Iterator[list[str]]:
    """The list that notices are added to while inside.

    Where what goes on inside fails, each is said: it may tell why.
    """
    found: list[str] = []
    token = _COLLECTED.set(found)
    try:
        yield found
    except Exception:
        for line in found:
            say(f"warning: {line}")
        raise
    finally:
        _COLLECTED.reset(token)
