"""`runforge serve` under 32 clients at once against one request at a time.

`python benchmarks/serve.py [--quick] [--json]`, from the project's folder. A real server, one
client process with keep-alive connections; one client and 32 take turns. Data: a digit, PNG.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from tests.made_bundles import make_bundle  # noqa: E402
from tests.test_serve import serving  # noqa: E402

CLIENTS = 32
CASES = {
    "cnn": ("network=cnn",),
    "resnet, 3 × 1 blocks": ("network=resnet",),
    "resnet, 3 × 6 blocks": ("network=resnet", "network.blocks=6"),
}
JUDGED = "resnet, 3 × 6 blocks"
"""Where the network is the cost: with small ones, HTTP itself is."""


@dataclass(slots=True)
class Count:
    """What clients saw."""

    answers: int = 0
    errors: int = 0
    seconds: list[float] = field(default_factory=list)


async def ask(port: int, request: bytes, until: float, count: Count) -> None:
    """One client: asks again as soon as it is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (began := time.perf_counter()) < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        count.seconds.append(time.perf_counter() - began)
        if head.startswith(b"HTTP/1.1 200"):
            count.answers += 1
        else:
            count.errors += 1
    writer.close()


async def load(port: int, request: bytes, clients: int, duration_s: float) -> Count:
    """So many clients for so long; a client that is cut off raises."""
    count, until = Count(), time.perf_counter() + duration_s
    await asyncio.gather(*(ask(port, request, until, count) for _ in range(clients)))
    return count


def measure(overrides: tuple[str, ...], rounds: int, duration_s: float) -> dict[str, float]:
    """Requests a second of one client and of many, and the latency of the many."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        made = make_bundle(folder, "digits", *overrides)
        content = min((made.data / "3").iterdir()).read_bytes()
        head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        request = f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
        one, many, errors, seconds = [], [], 0, []
        with serving(made, folder=folder) as server:
            port = int(server.address.rpartition(":")[2])
            for _ in range(rounds):
                for clients, rates in ((1, one), (CLIENTS, many)):
                    found = asyncio.run(load(port, request, clients, duration_s))
                    rates.append(found.answers / duration_s)
                    errors += found.errors
                    if clients > 1:
                        seconds += found.seconds
    cuts = statistics.quantiles(seconds, n=100)
    rates_ = {"one": statistics.median(one), "many": statistics.median(many)}
    times = {"median_ms": cuts[49] * 1000, "p99_ms": cuts[98] * 1000}
    return {**rates_, "times": rates_["many"] / rates_["one"], "errors": errors, **times}


def main() -> None:
    """Prints a row for each network; exit code 1 on an error, or below 3 × for the judged one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds, not minutes")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rounds, duration_s = (2, 2.0) if options.quick else (7, 5.0)
    rows = []
    for name, overrides in CASES.items():
        if options.quick and name != JUDGED:
            continue
        row = {"network": name, **measure(overrides, rounds, duration_s)}
        rows.append(row)
        if not options.json:
            print(
                f"{name}: one {row['one']:.0f}/s, {CLIENTS} clients {row['many']:.0f}/s"
                f" ({row['times']:.1f} ×), {row['errors']} errors,"
                f" median {row['median_ms']:.0f} ms, 99% {row['p99_ms']:.0f} ms",
                flush=True,
            )
    if options.json:
        print(json.dumps(rows, indent=2))
    judged = next(row for row in rows if row["network"] == JUDGED)
    sys.exit(judged["times"] < 3 or any(row["errors"] for row in rows))


if __name__ == "__main__":
    main()
