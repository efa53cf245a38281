"""The names that people give to the folders and cells that say train, validation or test."""

from __future__ import annotations

KNOWN = {
    "train": ("train", "training", "train_set", "training_set"),
    "validation": ("validation", "valid", "val", "dev", "validation_set", "valid_set", "val_set"),
    "test": ("test", "testing", "test_set", "testing_set"),
}


def split_of(name: str) -> str | None:
    """The split that a name stands for, whatever its case; None where it stands for none."""
    plain = name.strip().casefold().replace("-", "_")
    return next((split for split, known in KNOWN.items() if plain in known), None)
