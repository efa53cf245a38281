"""Small prepared sets and schemas for tests of the learning side, made without files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from runforge.modalities.table import Table
from runforge.prepared import PreparedSet
from runforge.schema import Schema

IMAGE = {
    "_target_": "runforge.modalities.image.Image",
    **{"height": 8, "width": 8, "mode": "L", "max_pixels": 1000, "background": 255},
}
TABLE = {"_target_": "runforge.modalities.table.Table", "numbers": None, "categories": None}
CROSS_ENTROPY = {"_target_": "torch.nn.modules.loss.CrossEntropyLoss", "label_smoothing": 0.0}
BINARY_CROSS_ENTROPY = {"_target_": "torch.nn.modules.loss.BCEWithLogitsLoss"}
SQUARED = {"_target_": "torch.nn.modules.loss.MSELoss"}

MULTICLASS = {
    "_target_": "runforge.tasks.multiclass.Multiclass",
    **{"loss": CROSS_ENTROPY, "class_weights": None},
}
BINARY = {
    "_target_": "runforge.tasks.binary.Binary",
    **{"loss": BINARY_CROSS_ENTROPY, "class_weights": None},
}
REGRESSION = {"_target_": "runforge.tasks.regression.Regression", "loss": SQUARED}

IDENTITY = {"_target_": "runforge.augmentations.identity.Identity"}
WARP = {
    "_target_": "runforge.augmentations.image.ImageAugmentation",
    **{"rotation": 10.0, "shear": 0.1, "zoom": 0.1, "shift": 0.1, "crop": 0.1},
    **{"horizontal_flip": 0.5, "vertical_flip": 0.0, "border": "nearest", "brightness": 0.0},
    **{"contrast": 0.0, "saturation": 0.0, "erasing": 0.5},
}
SGD = {"_target_": "torch.optim.sgd.SGD", "learning_rate": 0.1, "weight_decay": 0.0}
MLP = {
    "_target_": "runforge.networks.mlp.Mlp",
    "hidden": [16],
    "activation": "relu",
    "dropout": 0.0,
}
CNN = {
    "_target_": "runforge.networks.cnn.Cnn",
    **{"filters": [4, 8], "padding": "same", "dense": 8, "dropout": 0.0},
}


def image_set(counts: Sequence[int], classes: int = 3) -> PreparedSet:
    """Grey pictures 8×8 that can be told apart, so many in train, validation and test."""
    draw = np.random.default_rng(0)
    total = sum(counts)
    targets = np.arange(total) % classes
    inputs = draw.integers(0, 120, (total, 8, 8, 1), dtype=np.uint8)
    inputs[np.arange(total), targets] += 130
    train = inputs[: counts[0]]
    names = tuple(f"class {c}" for c in range(classes))
    schema = _schema(targets, counts, names)
    schema = replace(
        schema,
        modality=IMAGE,
        packed_shape=(8, 8, 1),
        packed_dtype="uint8",
        input_shape=(1, 8, 8),
        statistics={"mean": [float(train.mean() / 255)], "std": [float(train.std() / 255)]},
    )
    return _set(schema, inputs, targets, counts)


def table_set(counts: Sequence[int], *, values: bool = False) -> PreparedSet:
    """Rows of two numbers and a category, with missing cells; two classes, or a value."""
    draw = np.random.default_rng(0)
    total = sum(counts)
    numbers = draw.normal(5, 2, (total, 2))
    categories = draw.integers(0, 3, (total, 1))
    truth = numbers[:, 0] * 30 - numbers[:, 1] * 20 + 100 + categories[:, 0]
    inputs = np.concatenate([numbers, categories], 1).astype(np.float32)
    inputs[::7, 1] = np.nan
    raws = [
        {"a": str(r[0]), "b": None if np.isnan(r[1]) else str(r[1]), "c": f"kind {r[2]}"}
        for r in inputs
    ]
    table = Table(numbers=None, categories=None)
    layout = table.layout(raws)
    targets = truth.astype(np.float32) if values else (truth > np.median(truth)).astype(np.int64)
    schema = _schema(targets, counts, () if values else ("no", "yes"))
    schema = replace(
        schema,
        layout=layout,
        input_shape=table.input_shape(layout),
        statistics=table.statistics(inputs[: counts[0]], layout),
    )
    return _set(schema, inputs, targets, counts)


def class_schema(counts: Sequence[int]) -> Schema:
    """A schema with so many training samples of each class."""
    targets = np.repeat(np.arange(len(counts)), counts)
    return _schema(targets, [len(targets), 0, 0], tuple(f"class {c}" for c in range(len(counts))))


def value_schema(mean: float = 10.0, std: float = 2.0) -> Schema:
    """A schema whose target is a value."""
    schema = _schema(np.array([mean]), [1, 0, 0], ())
    return replace(schema, target_mean=mean, target_std=std)


def _schema(targets: np.ndarray, counts: Sequence[int], classes: tuple[str, ...]) -> Schema:
    train = targets[: counts[0]]
    per_class = {name: int((train == c).sum()) for c, name in enumerate(classes)}
    return Schema(
        modality=TABLE,
        layout={},
        packed_shape=(3,),
        packed_dtype="float32",
        input_shape=(3,),
        target_kind="class" if classes else "value",
        target_name="target",
        classes=classes,
        statistics={},
        target_mean=0.0 if classes else float(train.mean()),
        target_std=1.0 if classes else float(train.std()),
        split_counts={"train": per_class or {"": len(train)}},
    )


def _set(
    schema: Schema, inputs: np.ndarray, targets: np.ndarray, counts: Sequence[int]
) -> PreparedSet:
    splits = np.repeat(["train", "validation", "test"], counts).tolist()
    ids = tuple(f"{i:032x}" for i in range(len(inputs)))
    return PreparedSet(schema, inputs, targets, ids, ids, tuple(splits))
