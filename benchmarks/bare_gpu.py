"""The bare loop that `gpu.py` measures beside: synthetic batches that lie on the GPU.

`python benchmarks/bare_gpu.py PROJECT [KEY=VALUE…]` prints samples a second of the same network,
loss and optimiser, in the same precision and memory format, without augmentation, loading,
validation or logging.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from runforge import bundle, config, places, targets
from runforge.optimizers import build_optimizer
from runforge.prepared import PreparedSet
from runforge.settings import plain

WARM, STEPS = 30, 400


def main(folder: Path, overrides: list[str]) -> None:
    """Trains and prints."""
    settings = config.compose(folder, overrides).settings
    (prepared_set,) = places.sets(folder).glob("[!.]*/")
    prepared, device = PreparedSet.open(prepared_set), torch.device("cuda")
    task = targets.build(plain(settings.task), schema=prepared.schema).to(device)
    network = bundle.build_network(plain(settings.network), task, prepared.schema).to(device)
    optimizer = build_optimizer(plain(settings.optimizer), network.parameters())
    torch.backends.cudnn.benchmark = True
    size, mixed = settings.data.batch_size, settings.trainer.precision == "bf16-mixed"
    inputs = torch.randn(8, size, *prepared.schema.input_shape, device=device)
    count = task.output_count(prepared.schema)
    labels = torch.randint(0, count, (8, size), device=device)
    for step in range(WARM + STEPS):
        if step == WARM:
            torch.cuda.synchronize()
            began_s = time.perf_counter()
        batch = inputs[step % 8].contiguous(memory_format=torch.channels_last)
        with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
            outputs = network(batch)
        loss = task.losses(outputs.float(), labels[step % 8]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.cuda.synchronize()
    print(STEPS * size / (time.perf_counter() - began_s))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
