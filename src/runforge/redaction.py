"""What must not be written down: credentials in addresses, in command lines, in the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote

HIDDEN = "***"

SHORTEST_SECRET = 8
"""Letters: a shorter value, such as `1`, is part of too many other texts to be hidden in them."""

_SECRET_WORDS = frozenset(
    {"apikey", "credential", "credentials", "passwd", "password", "secret", "token"}
)
# A password may hold slashes, as Amazon's do; what looks like one may be a port and a path.
_USER_PART = re.compile(r"([a-zA-Z][\w+.-]*://)(?:[^/\s]*|[^/\s:@]*:(?!\d+/)[^\s@]*)@")
_QUERY_PART = re.compile(r"([?&])([\w.-]+)=([^&\s]*)")
_ASSIGNMENT = re.compile(r"([~+]{0,2}-{0,2}[\w./@-]+?)=(.*)", re.DOTALL)


def is_secret_name(name: str) -> bool:
    """True where one word of the name says so: `api_key`, `db.password`; not `max_tokens`."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    return words[-1] == "key" or not _SECRET_WORDS.isdisjoint(words)


def redact(text: str) -> str:
    """The text without secrets.

    Hidden are `user:password@` and secret query values of every address, and the value of every
    variable of the environment whose name says that it is a secret.
    """
    for _, secret in _environment_secrets():
        text = text.replace(secret, HIDDEN)
    return _redact_addresses(text)


def secret_in(text: str) -> str | None:
    """Which secret a text holds, without saying it; None where it holds none."""
    for name, secret in _environment_secrets():
        if secret in text:
            return f"the value of {name}"
    return "a password in an address" if _redact_addresses(text) != text else None


def _redact_addresses(text: str) -> str:
    return _QUERY_PART.sub(_hide_query_value, _USER_PART.sub(rf"\1{HIDDEN}@", text))


def _environment_secrets() -> Iterator[tuple[str, str]]:
    for name, value in os.environ.items():
        if is_secret_name(name) and len(value) >= SHORTEST_SECRET:
            yield name, value
            yield name, quote(value, safe="")


def redact_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command with the values of secret names and credentials hidden.

    Seen are `name=value`, `--name=value` and `--name value`.
    """
    shown: list[str] = []
    hide_next = False
    for argument in arguments:
        is_option = argument.startswith("-")
        shown.append(HIDDEN if hide_next and not is_option else _redact_argument(argument))
        hide_next = is_option and "=" not in argument and is_secret_name(argument)
    return shown


def _redact_argument(argument: str) -> str:
    match = _ASSIGNMENT.fullmatch(argument)
    if match and is_secret_name(match[1]):
        return f"{match[1]}={HIDDEN}"
    return redact(argument)


def _hide_query_value(match: re.Match[str]) -> str:
    value = HIDDEN if is_secret_name(match[2]) else match[3]
    return f"{match[1]}{match[2]}={value}"
