"""Parquet files that may come from anywhere, or be damaged.

Read by pyarrow and checked in full: polars' own reader ends the thread, with a page of its own, on
lengths that a damaged file only claims.
"""

from __future__ import annotations

from pathlib import Path

import polars


def read_parquet(path: Path) -> polars.DataFrame:
    """The table of a file; raises ValueError with the reason where it can't be read."""
    import pyarrow  # Only now: a command without such a file starts sooner.
    from pyarrow import parquet

    try:
        # Opened by us: a name is no pattern and no address.
        with path.open("rb") as file:
            table = parquet.ParquetFile(file).read(use_threads=False)
        table.validate(full=True)
        # Without the notes of the writer, which are not validated, and damaged end the thread too.
        frame = polars.from_arrow(pyarrow.table(table.columns, names=table.column_names))
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
        raise ValueError(_first_line(error)) from error
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException) as error:
        raise ValueError(_first_line(error)) from error
    assert isinstance(frame, polars.DataFrame)
    return frame


def row_count(path: Path) -> int:
    """Rows that the file claims; raises ValueError where it says nothing that can be read."""
    import pyarrow
    from pyarrow import parquet

    try:
        with path.open("rb") as file:
            return int(parquet.ParquetFile(file).metadata.num_rows)
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
        raise ValueError(_first_line(error)) from error


def column_names(path: Path) -> list[str]:
    """As the file's footer has them; raises ValueError where it says nothing that can be read."""
    import pyarrow
    from pyarrow import parquet

    try:
        with path.open("rb") as file:
            return list(parquet.ParquetFile(file).schema_arrow.names)
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
        raise ValueError(_first_line(error)) from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
