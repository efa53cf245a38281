"""The templates of pages: everything that comes from outside is escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jinja2


def template(
    name: str, *, filters: Mapping[str, Callable[..., str]] | None = None
) -> jinja2.Template:
    """A template of this folder; a name that it uses and is not given is an error.

    HTML escapes by itself; Markdown by `filters`, which its template names.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("runforge.report", ""),
        autoescape=".html" in name,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters or {})
    return environment.get_template(name)


def number(value: float | None) -> str:
    """A number as a person reads it: four digits; a dash where there is none."""
    if value is None:
        return "–"
    if abs(value) != 1 and value == int(value) and abs(value) < 1e6:
        return str(int(value))
    if abs(value) > 1:
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.4e}"
    return f"{value:.4f}" if abs(value) >= 1e-3 else f"{value:.2e}"
