"""What a served model says of itself: parts of its OpenAPI description, and a page in one file."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from io import BytesIO
from typing import Any

from PIL import Image

from runforge.example_rows import typical_row
from runforge.request_body import JSON, MOST_SAMPLES, Decoder
from runforge.schema import Schema

ERRORS = (400, 408, 413, 415, 422, 503)
HEALTH = {"type": "object", "properties": {"status": {"const": "alive"}}, "required": ["status"]}
READY = {"type": "object", "properties": {"ready": {"type": "boolean"}}, "required": ["ready"]}

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>runforge serve</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto }}
pre {{ background: #f4f4f4; padding: 1rem; overflow: auto }} td {{ padding-right: 1.5rem }}
</style></head><body><h1>{title}</h1>
<table><tr><td><code>POST /predict</code><td>{body} → probabilities or values
<tr><td><code>GET /health</code><td>the process is alive
<tr><td><code>GET /ready</code><td>200: the model is warm; 503: not yet
<tr><td><code>GET /model</code><td>what goes in and comes out
<tr><td><a href="openapi.json"><code>GET /openapi.json</code></a><td>OpenAPI description</table>
{examples}
<p>An error is <code>{{"error": "one line"}}</code>: 400 no JSON · 408 too slow · 413 too long · 415
another content type · 422 a sample that can't be used · 503 busy, see <code>Retry-After</code>.</p>
<h2>Model</h2><pre>{contract}</pre></body></html>
"""


def page(decoder: Decoder, contract: dict[str, Any], address: str) -> str:
    """The page at `/docs`; it loads nothing. `address`: of `/predict`, as the client reaches it."""
    pictures = decoder.columns is None
    return PAGE.format(
        title=f"Run {escape(contract['run_id'])}",
        body="a picture (<code>image/*</code>) or JSON" if pictures else "JSON",
        examples="\n".join(_examples(decoder, address)),
        contract=escape(json.dumps(contract, indent=2, ensure_ascii=False)),
    )


def _examples(decoder: Decoder, address: str) -> Iterator[str]:
    """Commands for a shell, as HTML; what is said of them stands outside, so that each is pasted
    as a whole."""
    body = json.dumps(example_body(decoder), ensure_ascii=False)
    ready = ("curl", address, "-H", f"Content-Type: {JSON}", "-d", body)
    if decoder.columns is None:
        own = ("curl", address, "-H", "Content-Type: image/png", "--data-binary", "@picture.png")
        yield f"<p>A picture of yours, here <code>picture.png</code>:</p>{_command(own)}"
        yield f"<p>One that is made up, as it stands:</p>{_command(ready)}"
    else:
        yield "<p>A row at the mean of the training data; a missing cell is <code>null</code>:</p>"
        yield _command(ready)


def _command(words: Sequence[str]) -> str:
    return f"<pre>{escape(shlex.join(words))}</pre>"


def example_body(decoder: Decoder) -> dict[str, Any]:
    """A request of one sample that is like those of training."""
    schema = decoder.schema
    shown = decoder.modality.show(typical_row(schema), schema.layout)
    if shown.picture is not None:
        file = BytesIO()
        Image.fromarray(shown.picture).save(file, "PNG")
        return {"images": [base64.b64encode(file.getvalue()).decode()]}
    pairs = zip(decoder.columns or (), shown.lines, strict=True)
    return {"rows": [{name: _cell(line.removeprefix(f"{name}: ")) for name, line in pairs}]}


def _cell(text: str) -> object:
    """A number as one where that is the same text again: `01` may be a category."""
    if text == "missing":
        return None
    try:
        number = json.loads(text)
    except ValueError:
        return text
    return number if isinstance(number, int | float) and str(number) == text else text


def described(shape: Mapping[str, Any], text: str = "The answer.") -> dict[str, Any]:
    """An answer, as OpenAPI has it."""
    return {"description": text, "content": {JSON: {"schema": shape}}}


def request_body(decoder: Decoder) -> dict[str, Any]:
    """The content types of a request, as OpenAPI has them."""
    if decoder.columns is None:
        encoded = {"type": "string", "contentEncoding": "base64"}
        picture = {"schema": {"type": "string", "format": "binary"}}
        known = {"schema": _listed("images", encoded), "example": example_body(decoder)}
        return {"image/*": picture, JSON: known}
    cell = {"type": ["string", "number", "boolean", "null"]}
    row = {
        "type": "object",
        "properties": dict.fromkeys(decoder.columns, cell),
        "required": list(decoder.columns),
    }
    return {JSON: {"schema": _listed("rows", row), "example": example_body(decoder)}}


def _listed(key: str, items: dict[str, Any]) -> dict[str, Any]:
    many = {"type": "array", "items": items, "minItems": 1, "maxItems": MOST_SAMPLES}
    return {"type": "object", "properties": {key: many}, "required": [key]}


def answers(schema: Schema) -> dict[int | str, dict[str, Any]]:
    """The answers of a request, as OpenAPI has them."""
    number = {"type": "number"}
    one: dict[str, Any] = {"value": number}
    if schema.classes:
        named = {"type": "object", "properties": dict.fromkeys(schema.classes, number)}
        named["required"] = list(schema.classes)
        one = {"predicted": {"enum": list(schema.classes)}, "probabilities": named}
    # What is unlike training: a category that it never saw, a number far outside.
    remarks = {"remarks": {"type": "array", "items": {"type": "string"}}}
    listed = {"type": "array", "items": _object(one, remarks)}
    good = _object({"predictions": listed})
    error = _object({"error": {"type": "string"}})
    told = dict.fromkeys(ERRORS, ("An error, in one line.", error))
    told[200] = ("One entry a sample.", good)
    return {status: described(shape, text) for status, (text, shape) in told.items()}


def _object(properties: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """`more`: what may be absent."""
    named = {**properties, **(more or {})}
    return {"type": "object", "properties": named, "required": list(properties)}
