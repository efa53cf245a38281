"""Files that somebody else may have made: read within limits, and never through a link.

Values come out as they are typed, or not at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from runforge.errors import DataError

T = TypeVar("T")

JSON_LIMIT_BYTES = 32 * 2**20
"""No description of ours comes near it; a larger one costs memory before it is understood."""

_CACHE_OBJECT = re.compile(r".*/files/md5/[0-9a-f]{2}/[0-9a-f]{30}")
"""Where DVC's links lead, with `cache.type = symlink`."""


def regular(path: Path, mend: str) -> Path:
    """The path, where a file lies there itself; raises `DataError` for a link, pipe or device.

    A link into a DVC cache will do: the name of what it leads to is a hash.
    """
    if path.is_symlink() and not _CACHE_OBJECT.fullmatch(str(path.resolve())):
        raise DataError("it is a link, not the file itself", where=str(path), mend=mend)
    if not path.exists():
        raise DataError(f"there is no {path.name}", where=str(path.parent), mend=mend)
    if not path.is_file():
        raise DataError("it is no regular file", where=str(path), mend=mend)
    return path


def read_json(path: Path) -> Any:
    """What a JSON file holds; raises ValueError where it is none, ambiguous, huge or too deep."""
    with path.open("rb") as file:
        content = file.read(JSON_LIMIT_BYTES + 1)
    if len(content) > JSON_LIMIT_BYTES:
        raise ValueError(f"it is larger than {JSON_LIMIT_BYTES >> 20} MiB")
    return parse_json(content)


def parse_json(content: bytes) -> Any:
    """A JSON text's values; raises ValueError where it is none, ambiguous or too deep."""
    try:
        return json.loads(content, object_pairs_hook=_unique, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def typed(kind: type[T], values: object) -> T:
    """A dataclass of plain JSON values; raises ValueError that names the first one amiss."""
    try:
        return TypeAdapter(kind).validate_json(json.dumps(values), strict=True)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object's keys; given twice, readers differ in which one they take."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is given twice")
    return found


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
