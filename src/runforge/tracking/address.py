"""What is wrong with an `MLFLOW_TRACKING_URI` that names no store, and what to write."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit

from runforge.errors import StoreError
from runforge.redaction import redact

VARIABLE = "MLFLOW_TRACKING_URI"
SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks", "databricks-uc")
"""What MLflow keeps runs behind; a dialect may name its driver, as in `mysql+pymysql`."""

_HOST = re.compile(r"(?:[\w-]+(?:\.[\w-]+)*|\[[0-9a-fA-F:]+\]):\d{1,5}(?:/\S*)?", re.ASCII)


def is_address(given: str) -> bool:
    """Whether it names a store as MLflow does, sqlite's with three slashes."""
    if given.startswith("sqlite:"):
        return given.startswith("sqlite:///")
    scheme = given.partition(":")[0].partition("+")[0].lower()
    return scheme in SCHEMES and ("://" in given or given.startswith("databricks"))


def no_address(given: str) -> StoreError:
    """The mistake, with what to write: an address with its scheme, or a database in a file."""
    what, meant = f"{redact(given)!r:.200} names no store", ""
    scheme, _, rest = given.partition("://")
    if slashed := re.match(r"(?i)(https?):?/*(?=[^/])", given):
        meant = f"{slashed[1].lower()}://{given[slashed.end() :]}"
    elif _HOST.fullmatch(given):
        what, meant = f"{given!r} has no http://", f"http://{given}"
    elif given.startswith("sqlite:"):
        what, meant = f"{given!r} needs three slashes", f"sqlite:///{given[7:].lstrip('/')}"
    elif rest and scheme.lower().startswith("h"):
        meant = f"http{'s' if scheme.lower().endswith('s') else ''}://{rest}"
    elif not rest or scheme == "file":
        what = (
            f"{redact(given)!r:.200} names a folder, and MLflow no longer keeps runs in plain files"
        )
        name = Path(urlsplit(given).path if given.startswith("file:") else given).name
        meant = f"sqlite:///{name}.db" if re.fullmatch(r"[\w.-]+", name) else "sqlite:///mlflow.db"
    mend = "unset it"
    if meant and meant.isprintable():
        mend = f"write `{VARIABLE}={shlex.quote(meant)}`, or unset it"
    return StoreError(what, where=VARIABLE, mend=mend)
