"""A store that does not take what it is given for the time being."""

from __future__ import annotations

import os
from http import HTTPStatus

import requests
from mlflow.exceptions import MlflowException

RETRIES, TIMEOUT_S = 1, 20
"""How often MLflow's client asks again, and seconds for each answer; its own defaults (7 and 120)
let a run's end wait for minutes. MLflow's variables of these names take precedence."""


def bound_requests() -> None:
    """Lets no single request to a server last longer than about `RETRIES` × `TIMEOUT_S`."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(RETRIES))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(TIMEOUT_S))


def is_away(error: Exception) -> bool:
    """True where the same may go well later: no answer, a server out of order, a locked file.

    False where the store refuses, such as a name it does not allow or a run that was deleted.
    """
    if isinstance(error, MlflowException):
        status = int(error.get_http_status_code())  # type: ignore[no-untyped-call]
    elif isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
    else:
        return isinstance(error, requests.RequestException)
    later = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in later
