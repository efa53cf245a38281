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

from runforge import bundle, config, determinism, places, targets
from runforge.optimizers import build_optimizer
from runforge.prepared import PreparedSet
from runforge.settings import plain

BATCHES = 8
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
    determinism.round_products(settings.trainer.tf32)
    size, mixed = settings.data.batch_size, settings.trainer.precision == "bf16-mixed"
    shape, layout = (size, *prepared.schema.input_shape), torch.channels_last
    inputs = [torch.randn(shape, device=device).to(memory_format=layout) for _ in range(BATCHES)]
    count = task.output_count(prepared.schema)
    labels = torch.randint(0, count, (BATCHES, size), device=device)
    for step in range(WARM + STEPS):
        if step == WARM:
            torch.cuda.synchronize()
            began_s = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
            outputs = network(inputs[step % BATCHES])
        loss = task.losses(outputs.float(), labels[step % BATCHES]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.cuda.synchronize()
    print(STEPS * size / (time.perf_counter() - began_s))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
