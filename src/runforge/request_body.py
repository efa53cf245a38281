"""The body of a request as packed samples: within limits, or refused with a status and a reason.

n samples.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.requests import ClientDisconnect, Request

from runforge import targets
from runforge.errors import Refused
from runforge.foreign import parse_json
from runforge.sample import Modality, Raw
from runforge.schema import Schema

MOST_SAMPLES = 256
BODY_TIMEOUT_S = 30
DRAIN_TIMEOUT_S = 2
JSON = "application/json"


class Rejected(Exception):
    """A request that can't be answered: an HTTP status and one line."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        self.status, self.reason = status, " ".join(reason.split())
        self.headers = dict(headers or {})
        super().__init__(self.reason)


def check_coding(coding: str) -> None:
    """Raises `Rejected` for a body that was packed on its way (`Content-Encoding`)."""
    if coding.strip().lower() not in ("", "identity"):
        reason = f"a body that is {coding[:40]!r} is not unpacked: send it as it is"
        raise Rejected(415, reason, {"Accept-Encoding": "identity"})


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body; raises `Rejected` where it is too long, or comes too slowly."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _within(request, limit_bytes)
    except TimeoutError:
        raise Rejected(408, f"the body did not come within {BODY_TIMEOUT_S} s") from None
    except ClientDisconnect:
        raise Rejected(400, "the client went away") from None


async def _within(request: Request, limit_bytes: int) -> bytes:
    told = request.headers.get("content-length", "0")
    size, parts = 0, []
    too_long = told.isdecimal() and int(told) > limit_bytes
    if not (too_long and "expect" in request.headers):
        async for part in request.stream():
            size += len(part)
            if too_long or size > limit_bytes:
                too_long = True
                break
            parts.append(part)
    if too_long:
        await _drain(request, limit_bytes)
        raise Rejected(413, f"the body is longer than {limit_bytes} bytes")
    return b"".join(parts)


async def _drain(request: Request, limit_bytes: int) -> None:
    """Takes a little more: a client that still writes would not read the answer."""
    size = 0
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            async for part in request.stream():
                size += len(part)
                if size > limit_bytes:
                    return
    except (TimeoutError, RuntimeError, ClientDisconnect):
        return


@dataclass(frozen=True, slots=True)
class Decoder:
    """From a body to packed samples, as training decoded them; runs in a thread."""

    schema: Schema
    modality: Modality

    @classmethod
    def of(cls, schema: Schema, max_pixels: int | None) -> Decoder:
        """`max_pixels` lowers the limit that pictures had in training; it never raises it."""
        node = dict(schema.modality)
        if max_pixels is not None and "max_pixels" in node:
            node["max_pixels"] = min(max_pixels, node["max_pixels"])
        return cls(schema, targets.build(node))

    @property
    def columns(self) -> tuple[str, ...] | None:
        """Of a table; None: samples are pictures."""
        return self.modality.columns(self.schema.layout)

    def check_type(self, content_type: str) -> None:
        """Raises `Rejected` for a type that is not read, before the body is."""
        if content_type != JSON and (self.columns or not content_type.startswith("image/")):
            known = JSON if self.columns else f"image/* or {JSON}"
            told = f"the content type is {content_type or 'not told'}, not {known}"
            how = "-d @rows.json" if self.columns else "--data-binary @picture.png"
            kind = JSON if self.columns else "image/png"
            raise Rejected(415, f"{told}; with curl: {how} -H 'Content-Type: {kind}'")

    def packed(self, content_type: str, body: bytes) -> tuple[np.ndarray, list[list[str] | None]]:
        """Packed samples [n, ...], and of each what is unlike training, None where nothing can be
        said of it; raises `Rejected`."""
        raws = self._raws(content_type, body)
        rows = [self._packed(raw, number) for number, raw in enumerate(raws)]
        return np.stack(rows), [self._strange(*one) for one in zip(raws, rows, strict=True)]

    def _strange(self, raw: Raw, row: np.ndarray) -> list[str] | None:
        strange = getattr(self.modality, "strange", None)
        if strange is None:
            return None
        told: list[str] = strange(raw, row, self.schema.layout, self.schema.statistics)
        return told

    def _raws(self, content_type: str, body: bytes) -> list[Raw]:
        if content_type != JSON:
            return [body]
        key = "images" if self.columns is None else "rows"
        try:
            values = parse_json(body)
        except ValueError as error:
            raise Rejected(400, f"it is no JSON ({error})") from error
        given = values.get(key) if isinstance(values, dict) else None
        if not isinstance(given, list) or len(values) != 1:
            raise Rejected(422, f'it must be an object with the one key "{key}", a list')
        if not 1 <= len(given) <= MOST_SAMPLES:
            raise Rejected(422, f"{key}: there are {len(given)}, not 1 to {MOST_SAMPLES}")
        read = self._picture if self.columns is None else self._row
        return [read(one, f"{key}[{number}]") for number, one in enumerate(given)]

    def _picture(self, given: object, where: str) -> bytes:
        try:
            if isinstance(given, str):
                return base64.b64decode(given, validate=True)
        except ValueError:
            pass
        raise Rejected(422, f"{where}: it is no base64 text of an encoded picture")

    def _row(self, given: object, where: str) -> dict[str, str | None]:
        if not isinstance(given, Mapping):
            raise Rejected(422, f"{where}: it is no object of column names and cells")
        columns = self.columns or ()
        odd = next((n for n in given if n not in columns and n not in self._not_needed()), None)
        if odd is not None:
            raise Rejected(422, f"{where}: the model knows no column {odd[:80]!r}")
        cells = {name: given[name] for name in columns if name in given}
        return {name: self._cell(cell, f"{where}.{name}") for name, cell in cells.items()}

    def _not_needed(self) -> set[str]:
        """Columns that training knew and did not learn from."""
        source = self.schema.source
        named = self.schema.target_name, source.get("target"), source.get("split_column")
        left_out = self.schema.layout.get("left_out", ())
        return {str(name) for name in (*named, *source.get("ignore", ()), *left_out)}

    def _cell(self, cell: object, where: str) -> str | None:
        missing = self.schema.source.get("missing_values", [""])
        shown = _text(cell)
        if shown is None and cell is not None:
            raise Rejected(422, f"{where}: it is no text, number, true, false or null")
        return None if shown in missing else shown

    def _packed(self, raw: Raw, number: int) -> np.ndarray:
        try:
            return self.modality.decode(raw, self.schema.layout)
        except Refused as refused:
            raise Rejected(422, f"sample {number}: {refused}") from refused


def _text(cell: Any) -> str | None:
    """As it would stand in a table; None for what could not."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return cell if isinstance(cell, str) else str(cell) if isinstance(cell, int | float) else None
