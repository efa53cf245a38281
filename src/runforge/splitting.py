"""Which split a sample belongs to, decided by its identity alone; see decisions 0001 and 0025."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of the data, 0..1, that become the splits which the data do not give."""

    validation: float
    test: float
    salt: str

    def without(self, given: set[str]) -> Shares:
        """Only what is still to be carved out of the training samples."""
        return Shares(
            validation=0.0 if "validation" in given else self.validation,
            test=0.0 if "test" in given else self.test,
            salt=self.salt,
        )

    def split(self, content: str) -> str:
        """The split of a content: the same wherever and whenever it is met."""
        place = position(content, self.salt)
        if place < self.test:
            return "test"
        return "validation" if place < self.test + self.validation else "train"


def position(content: str, salt: str) -> float:
    """A number in [0, 1), uniform over contents."""
    digest = hashlib.blake2b(f"{salt}:{content}".encode(), digest_size=8).digest()
    # 53 bits, as many as a float holds: never rounded up to 1.
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def assign(
    ids: Sequence[str], contents: Sequence[str], given: Sequence[str | None], shares: Shares
) -> list[str]:
    """The split of each sample: as given, else, and for missing splits, by its identity.

    Samples of one content go where the one of them with the smallest id goes: decision 0025.
    """
    left = shares.without({split for split in given if split is not None})
    deciding: dict[str, str] = {}
    for identity, content in zip(ids, contents, strict=True):
        deciding[content] = min(identity, deciding.get(content, identity))
    return [
        split if split in ("validation", "test") else left.split(deciding[content])
        for content, split in zip(contents, given, strict=True)
    ]


def unique_ids(contents: Sequence[str]) -> list[str]:
    """The identities, the second of a kind with `-2`, the third with `-3`, and so on."""
    seen: Counter[str] = Counter()
    ids = []
    for content in contents:
        seen[content] += 1
        ids.append(content if seen[content] == 1 else f"{content}-{seen[content]}")
    return ids


def repeated(contents: Sequence[str]) -> Iterator[list[int]]:
    """The indices of the samples of each content that is there more than once."""
    # Most are there once, and counting is several times as fast as grouping.
    groups: dict[str, list[int]] = {c: [] for c, number in Counter(contents).items() if number > 1}
    if groups:
        for index, content in enumerate(contents):
            if content in groups:
                groups[content].append(index)
    return iter(groups.values())


def disagreeing(contents: Sequence[str], values: Sequence[object]) -> list[list[int]]:
    """Groups of samples of one content whose `values` (labels, given splits) differ."""
    return [group for group in repeated(contents) if len({values[i] for i in group}) > 1]
