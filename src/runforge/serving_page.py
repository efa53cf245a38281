"""What a served model says of itself: parts of its OpenAPI description, and a page in one file."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from runforge.request_body import JSON, MOST_SAMPLES, Decoder
from runforge.schema import Schema

ERRORS = (400, 408, 413, 415, 422, 503)

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
<pre>{example}</pre>
<p>An error is <code>{{"error": "one line"}}</code>: 400 no JSON · 408 too slow · 413 too long · 415
another content type · 422 a sample that can't be used · 503 busy, see <code>Retry-After</code>.</p>
<h2>Model</h2><pre>{contract}</pre></body></html>
"""


def page(decoder: Decoder, contract: dict[str, Any]) -> str:
    """The page at `/docs`; it loads nothing."""
    pictures = decoder.columns is None
    return PAGE.format(
        title=f"Run {escape(contract['run_id'])}",
        body="a picture (<code>image/*</code>) or JSON" if pictures else "JSON",
        example=escape(_example(decoder)),
        contract=escape(json.dumps(contract, indent=2, ensure_ascii=False)),
    )


def _example(decoder: Decoder) -> str:
    address = "http://127.0.0.1:8000/predict"
    if decoder.columns is None:
        return f"curl --data-binary @picture.png -H 'Content-Type: image/png' {address}"
    row = json.dumps({"rows": [dict.fromkeys(decoder.columns[:3])]}, ensure_ascii=False)
    return f"curl --json '{row}' {address}   # null: missing"


def request_body(decoder: Decoder) -> dict[str, Any]:
    """The content types of a request, as OpenAPI has them."""
    if decoder.columns is None:
        encoded = {"type": "string", "contentEncoding": "base64"}
        picture = {"schema": {"type": "string", "format": "binary"}}
        return {"image/*": picture, JSON: {"schema": _listed("images", encoded)}}
    cell = {"type": ["string", "number", "boolean", "null"]}
    row = {
        "type": "object",
        "properties": dict.fromkeys(decoder.columns, cell),
        "required": list(decoder.columns),
    }
    return {JSON: {"schema": _listed("rows", row)}}


def _listed(key: str, items: dict[str, Any]) -> dict[str, Any]:
    many = {"type": "array", "items": items, "minItems": 1, "maxItems": MOST_SAMPLES}
    return {"type": "object", "properties": {key: many}, "required": [key]}


def answers(schema: Schema) -> dict[int | str, dict[str, Any]]:
    """The answers of a request, as OpenAPI has them."""
    number = {"type": "number"}
    one: dict[str, Any] = {"value": number}
    if schema.classes:
        named = {"type": "object", "properties": dict.fromkeys(schema.classes, number)}
        one = {"predicted": {"enum": list(schema.classes)}, "probabilities": named}
    # What is unlike training: a category that it never saw, a number far outside.
    one["remarks"] = {"type": "array", "items": {"type": "string"}}
    listed = {"type": "array", "items": {"type": "object", "properties": one}}
    good = {"type": "object", "properties": {"predictions": listed}}
    error = {"type": "object", "properties": {"error": {"type": "string"}}}
    told = dict.fromkeys(ERRORS, ("An error, in one line.", error))
    told[200] = ("One entry a sample.", good)
    return {
        status: {"description": text, "content": {JSON: {"schema": shape}}}
        for status, (text, shape) in told.items()
    }
