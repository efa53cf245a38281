"""Whatever the input, there is a value or one line: never another exception, never a hang.

Each property takes what hypothesis draws and raises where it does not hold.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import hypothesis
import numpy as np
import polars
import yaml
from hypothesis import HealthCheck
from hypothesis import strategies as st

from runforge import bundle, bundle_file, config
from runforge.errors import Refused, RunforgeError
from runforge.modalities.image import Image
from runforge.modalities.table import Table as TableModality
from runforge.predictions import Predictions
from runforge.sources.idx import Idx
from runforge.sources.image_folder import ImageFolder
from runforge.sources.table import Table
from tests.conftest import REPOSITORY
from tests.made_sets import CNN, MULTICLASS, image_set
from tests.odd import idx_files, images, tables

HANG_S = 30


@dataclass(frozen=True, slots=True)
class Property:
    """What is drawn, and what must hold of it."""

    drawn: st.SearchStrategy[Any]
    holds: Callable[[Any], object]
    examples: int
    """Of the short form."""


@contextmanager
def told() -> Iterator[None]:
    """Lets one line pass, and nothing else that is raised."""
    try:
        yield
    except (RunforgeError, Refused) as error:
        assert str(error).strip(), "no word"
        assert "\n" not in str(error), "more than one line"


@contextmanager
def no_hang() -> Iterator[None]:
    """Raises in what takes too long."""

    def stop(_: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {HANG_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def emptied() -> Iterator[Path]:
    """A folder for one example."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        yield Path(name)


def explore(name: str, examples: int, seed: int) -> None:
    """Tries a property on so many examples; raises with the smallest one that breaks it."""
    tried = PROPERTIES[name]

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(tried.drawn)
    def attempt(value: Any) -> None:
        with no_hang(), told():
            tried.holds(value)

    attempt()


@st.composite
def damaged(draw: st.DrawFn, whole: tuple[bytes, ...]) -> bytes:
    """One of some files with up to four damages: bytes changed, cut, put in, said again."""
    content = draw(st.sampled_from(whole))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(("change", "cut", "insert", "repeat", "drop")))
        piece = draw(st.binary(min_size=1, max_size=8))
        content = {
            "change": content[:at] + piece + content[at + len(piece) :],
            "cut": content[:at],
            "insert": content[:at] + piece + content[at:],
            "repeat": content[:at] + content[max(0, at - 40) :],
            "drop": content[:at] + content[at + len(piece) :],
        }[kind]
    return content


def pictures() -> tuple[bytes, ...]:
    """A small file of each format."""
    made = images.quarters()
    kinds = ("PNG", "JPEG", "GIF", "BMP", "PPM", "TIFF", "WEBP")
    more = images.oriented(6, images.T.ROTATE_90), images.wide_grey(), images.floats(1.0)
    several = images.several("GIF"), images.several("TIFF"), images.clear_corner("RGBA")
    return (*(images.encoded(made, kind) for kind in kinds), *more, *several)


def a_picture(content: bytes) -> None:
    """Decoding gives uint8 [8, 8, 3] or refuses."""
    modality = Image(height=8, width=8, mode="RGB", max_pixels=10**6, background=255)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # As the reader has it.
        row = modality.decode(content, {}, [])
    assert (row.shape, row.dtype) == ((8, 8, 3), np.uint8)


NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=40
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)
TREES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=4).map("/".join),
    st.sampled_from(("file", "folder", "link up", "link out", "link beside")),
    max_size=8,
)


def a_folder(tree: dict[str, str]) -> None:
    """Listing gives samples that can be read or refuse."""
    with emptied() as root:
        for name, kind in tree.items():
            _lay(root, name, kind)
        for sample in ImageFolder(splits={"train": "train", "test": "test"}).samples(root):
            with told():
                sample.read()
            sample.where.encode()


def _lay(root: Path, name: str, kind: str) -> None:
    path = root / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "file":
            path.write_bytes(b"x")
        elif kind == "folder":
            path.mkdir(parents=True)
        else:
            path.symlink_to({"link up": "..", "link out": "/etc", "link beside": "../x"}[kind])
    except OSError:
        return  # One name is in the way of another, or too long as a path.


def idx_pair() -> tuple[bytes, ...]:
    """Images and labels, plain and compressed."""
    plain = idx_files.idx(idx_files.PIXELS), idx_files.idx(idx_files.CODES)
    return (*plain, *(gzip.compress(content, mtime=0) for content in plain))


def an_idx_file(drawn: tuple[bytes, bytes, str]) -> None:
    """Listing gives arrays [H, W], one for each label."""
    with emptied() as root:
        for name, content in zip((idx_files.IMAGES, idx_files.LABELS), drawn[:2], strict=True):
            (root / f"{name}{drawn[2]}").write_bytes(content)
        samples = Idx(classes=None).samples(root)
        assert all(sample.label for sample in samples[:100])
        assert samples[0].read().ndim == 2  # type: ignore[union-attr]


def csv_files() -> tuple[bytes, ...]:
    """Tables in several dialects."""
    plain = tables.PLAIN
    quoted = tables.text(tables.rows(c=lambda i: f'"a,{i}\n"'))
    return plain.encode(), quoted.encode(), tables.text(tables.rows(), ";").encode()


@functools.cache
def parquet_file() -> bytes:
    """A table as Parquet."""
    buffer = io.BytesIO()
    frame = polars.DataFrame({"n": [1.5, None, 3.0] * 9, "c": ["u", "v", None] * 9})
    frame.with_columns(y=polars.Series(["p", "q", "p"] * 9)).write_parquet(buffer)
    return buffer.getvalue()


def a_table(drawn: tuple[bytes, str, str]) -> None:
    """Listing gives rows, and each is packed as float32 or refused."""
    content, name, separator = drawn
    with emptied() as root:
        (root / name).write_bytes(content)
        source = Table(
            **{"file": name, "target": "y", "split_column": None, "missing_values": ["", "?"]},
            **{"ignore": [], "columns": None, "separator": separator, "quote": '"'},  # type: ignore[arg-type]
        )
        samples = source.samples(root)
        modality = TableModality(numbers=None, categories=None)
        layout = modality.layout(sample.read() for sample in samples)
        rows = np.stack([modality.decode(sample.read(), layout) for sample in samples[:50]])
        assert rows.dtype == np.float32
        assert not np.isinf(rows).any()


KEYS = (
    *("seed", "data.batch_size", "optimizer.learning_rate", "network", "network.filters"),
    *("data.name", "data.source", "task.loss._target_", "machine.devices", "experiment", "trainer"),
)
VALUES = st.one_of(
    st.sampled_from(("null", "nan", "-1", "1e400", "[1,[2]]", "{a: 1}", "${seed}", "???", "")),
    st.text(max_size=12),
    st.text("[]{},:'\"$\\=~+@!&*#|<>% \t", max_size=8),
    st.integers().map(str),
)
OVERRIDES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("", "+", "~", "++")), st.sampled_from(KEYS), VALUES).map(
            lambda parts: f"{parts[0]}{parts[1]}={parts[2]}"
        ),
        st.text(max_size=20),
    ),
    max_size=3,
)


def overrides(drawn: list[str]) -> None:
    """A configuration that was checked."""
    assert config.compose(REPOSITORY, drawn).settings.seed >= 0


def plain_values(numbers: st.SearchStrategy[int]) -> st.SearchStrategy[Any]:
    """Anything that YAML or JSON can hold."""
    return st.recursive(
        st.one_of(st.none(), st.booleans(), numbers, st.floats(), st.text(max_size=8)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
        ),
        max_leaves=6,
    )


CONF_FILES = ("network/cnn", "optimizer/adam", "data/images", "experiment/images", "config")


def conf_file(name: str) -> bytes:
    """A file of `conf/`."""
    return (REPOSITORY / "conf" / f"{name}.yaml").read_bytes()


def a_conf_file(drawn: tuple[str, bytes]) -> None:
    """A checked configuration of a `conf/` with one file damaged."""
    name, content = drawn
    with emptied() as root:
        shutil.copytree(REPOSITORY / "conf", root / "conf")
        (root / "conf" / f"{name}.yaml").write_bytes(content)
        config.compose(root)


@functools.cache
def _params() -> dict[str, Any]:
    return config.compose(REPOSITORY).values


def params(drawn: tuple[str, Any]) -> None:
    """`params.yaml` with one key of any value."""
    path, value = drawn
    values = json.loads(json.dumps(_params()))
    *parents, last = path.split(".")
    here = values
    for name in parents:
        here = here[name]
    here[last] = value
    with emptied() as root:
        (root / config.PARAMS).write_text(yaml.safe_dump(values), encoding="utf-8")
        config.read_params(root)


def params_bytes(content: bytes) -> None:
    """`params.yaml` damaged."""
    with emptied() as root:
        (root / config.PARAMS).write_bytes(content)
        config.read_params(root)


@functools.cache
def _bundle_files() -> tuple[bytes, bytes]:
    schema = image_set((6, 3, 3)).schema
    task = bundle.targets.build(MULTICLASS, schema=schema)
    network = bundle.build_network(CNN, task, schema)
    nodes = {"network_node": CNN, "task_node": MULTICLASS, "lineage": {}}
    with emptied() as folder:
        bundle.write(folder, weights=network.state_dict(), schema=schema, run_id="r", **nodes)  # type: ignore[arg-type]
        return tuple((folder / n).read_bytes() for n in (bundle.WEIGHTS, bundle_file.DESCRIPTION))  # type: ignore[return-value]


def a_bundle(drawn: tuple[bytes, bytes]) -> None:
    """Both files damaged: a model, or one line."""
    with emptied() as folder:
        (folder / bundle.WEIGHTS).write_bytes(drawn[0])
        (folder / bundle_file.DESCRIPTION).write_bytes(drawn[1])
        bundle.load(folder)


BUNDLE_KEYS = (
    *("network", "task", "schema", "run_id", "lineage", "version", "network.filters", "more"),
    *("network._target_", "task.loss", "schema.classes", "schema.input_shape", "schema.modality"),
    *("schema.statistics", "schema.layout", "schema.packed_shape", "schema.target_kind"),
)


def a_forged_bundle(drawn: tuple[str, Any]) -> None:
    """A description with one key of any value, whose hash fits: a model, or one line."""
    path, value = drawn
    weights, description = _bundle_files()
    values = json.loads(description)
    del values["hash"], values["format"]
    *parents, last = path.split(".")
    here = values
    for name in parents:
        here = here[name]
    here[last] = value
    described = {"format": 1, "hash": bundle_file._text_hash(values), **values}
    with emptied() as folder:
        (folder / bundle.WEIGHTS).write_bytes(weights)
        (folder / bundle_file.DESCRIPTION).write_text(json.dumps(described), encoding="utf-8")
        bundle.load(folder)


@functools.cache
def predictions_file() -> bytes:
    """Eight predictions of two classes."""
    values = np.full((8, 2), 0.5)
    ids = np.array([f"id{i}" for i in range(8)])
    with emptied() as folder:
        Predictions(ids, "test", np.arange(8) % 2, values, ("a", "b")).write(folder / "p")
        return (folder / "p").read_bytes()


def predictions(content: bytes) -> None:
    """The file damaged."""
    with emptied() as folder:
        (folder / "p.parquet").write_bytes(content)
        Predictions.read(folder / "p.parquet")


CELLS = st.one_of(st.none(), st.floats(), st.text(max_size=3), st.integers(-5, 5), st.booleans())
FRAMES = st.dictionaries(
    st.sampled_from(("id", "split", "target", "predicted", "value", "probability_a", "x")),
    st.lists(CELLS, min_size=3, max_size=3),
    min_size=3,
)


def other_predictions(columns: dict[str, list[Any]]) -> None:
    """A whole Parquet file with other columns or types than predictions have."""
    with emptied() as folder:
        frame = polars.DataFrame(columns, strict=False)
        frame.write_parquet(folder / "p.parquet")
        Predictions.read(folder / "p.parquet")


def _ended(whole: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    return st.one_of(damaged(whole), st.binary(max_size=200))


PROPERTIES = {
    "pictures": Property(_ended(pictures()), a_picture, 120),
    "folders": Property(TREES, a_folder, 30),
    "IDX files": Property(
        st.tuples(_ended(idx_pair()), _ended(idx_pair()), st.sampled_from(("", ".gz"))),
        an_idx_file,
        60,
    ),
    "CSV files": Property(
        st.tuples(_ended(csv_files()), st.just("t.csv"), st.sampled_from(",;\t")), a_table, 60
    ),
    "Parquet files": Property(
        st.tuples(_ended((parquet_file(),)), st.just("t.parquet"), st.just(",")), a_table, 60
    ),
    "overrides": Property(OVERRIDES, overrides, 10),
    "files of conf/": Property(
        st.sampled_from(CONF_FILES).flatmap(
            lambda name: st.tuples(st.just(name), _ended((conf_file(name),)))
        ),
        a_conf_file,
        5,
    ),
    "keys of params.yaml": Property(
        st.tuples(
            st.sampled_from((*KEYS, "data", "data.modality", "more")), plain_values(st.integers())
        ),
        params,
        20,
    ),
    "params.yaml": Property(_ended((yaml.safe_dump(_params()).encode(),)), params_bytes, 20),
    "bundles": Property(
        st.tuples(_ended(_bundle_files()[:1]), _ended(_bundle_files()[1:])), a_bundle, 30
    ),
    "forged bundles": Property(
        # At most a thousand: a description may ask for a network that memory does not hold.
        st.tuples(st.sampled_from(BUNDLE_KEYS), plain_values(st.integers(-9, 999))),
        a_forged_bundle,
        30,
    ),
    "predictions": Property(_ended((predictions_file(),)), predictions, 40),
    "other predictions": Property(FRAMES, other_predictions, 40),
}
