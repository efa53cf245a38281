"""Where the time of training's steps goes (`profile/profile.json`), and what to mend first."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from runforge.atomic import write_whole

FOLDER, FILE, TRACE = "profile", "profile.json", "trace.json.gz"

NETWORK = ("forward", "backward")
"""The parts that are the work itself: all others are what it costs to get there."""

MENDS = {
    "loading": "try machine.workers=2, or smaller packed samples (data.modality)",
    "copy": "batches are copied to the device: use smaller packed samples (data.modality)",
    "augmentation": "switch parts of it off, or take augmentation=flip or none",
    "optimizer": "take a larger data.batch_size, and optimizer.fused=true where it is not set",
    "logging": "raise trainer.log_every_steps",
    "other": "steps are so short that what lies between them counts: take a larger data.batch_size",
}
"""What makes each part shorter."""

ENOUGH = 0.9
"""The network's share from which on nothing else is worth mending."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Milliseconds of a step by its parts, in their order; `other` is what lies between them."""

    parts_ms: dict[str, float]
    steps: int
    """How many the figures are the mean of."""
    batch_size: int
    """Global."""
    device: str

    @property
    def step_ms(self) -> float:
        """All parts."""
        return sum(self.parts_ms.values())

    def share(self, part: str) -> float:
        """0..1."""
        return self.parts_ms[part] / self.step_ms

    @property
    def network_share(self) -> float:
        """0..1: of the forward and backward pass."""
        return sum(self.share(part) for part in NETWORK)

    def advice(self) -> str:
        """In words, which part to mend first."""
        if self.network_share >= ENOUGH:
            return (
                f"The network itself takes {self.network_share:.0%} of a step: nothing around it"
                " is worth mending. A faster device, a smaller network, trainer.compile=true or"
                " trainer.precision=bf16-mixed may help."
            )
        rest = {part: ms for part, ms in self.parts_ms.items() if part not in NETWORK}
        first = max(rest, key=rest.__getitem__)
        return (
            f"Mend {first} first: it takes {self.share(first):.0%} of a step, the network itself"
            f" {self.network_share:.0%}. To do so, {MENDS[first]}."
        )

    def write(self, folder: Path) -> None:
        """Writes the file whole or not at all."""
        write_whole(folder / FILE, json.dumps(asdict(self), indent=2))

    @classmethod
    def read(cls, folder: Path) -> Profile:
        """Reads what `write` wrote."""
        return cls(**json.loads((folder / FILE).read_text(encoding="utf-8")))
