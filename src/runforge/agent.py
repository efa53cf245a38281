"""The agent starts one worker for each device of this node.

torch's elastic agent does the rendezvous of the nodes, starts and ends the workers, and starts the
group again when a rank is lost. What is ours: a mistake of the user's is no reason to start again,
a rank that hangs is named, and the whole ends with one result in one line.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing import api as elastic_processes
from torch.distributed.elastic.rendezvous import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousParameters,
    RendezvousTimeoutError,
)
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from runforge.config_check import check_share
from runforge.devices import device_count
from runforge.errors import ConfigError, Interrupted, RunforgeError, in_one_line, of_the_machine
from runforge.handover import ATTEMPT, Order, result_file
from runforge.heartbeat import hung, read_beats
from runforge.job import Result
from runforge.launch import STOP_MARGIN_S
from runforge.process import ended_by
from runforge.settings import MachineSettings
from runforge.warm import WarmRank, cores_for_each
from runforge.wording import counted


class Settled(Exception):
    """The group has ended in a way that starting it again would not change."""


class Agent(LocalElasticAgent):
    """torch's agent, that knows how each worker ended and starts again only what may then pass."""

    def __init__(self, folder: Path, order: Order, spec: WorkerSpec) -> None:
        first = {0: Std.NONE} if order.node_rank == 0 else {}
        others = {rank: Std.ALL for rank in range(spec.local_world_size) if rank not in first}
        logs = DefaultLogsSpecs(str(folder / "logs"), redirects={**others, **first})
        super().__init__(spec, logs)
        self.folder, self.order, self.attempt = folder, order, -1
        self.restarts = 0
        self.lost: Result | None = None
        """Why the group had to be started again, or has ended."""

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:
        # The one place where torch makes a process; each would import torch anew.
        elastic_processes.get_subprocess_handler = WarmRank  # type: ignore
        workers: dict[int, Any] = super()._start_workers(worker_group)
        return workers

    def _rendezvous(self, worker_group: WorkerGroup) -> None:
        super()._rendezvous(worker_group)
        group: Any = worker_group
        # Nodes may count their restarts differently: one of them says which attempt this is.
        if group.group_rank == 0:
            group.store.set("attempt", str(self.attempt + 1))
        self.attempt = int(group.store.get("attempt"))
        os.environ[ATTEMPT] = str(self.attempt)

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        dead = self._dead()
        if dead:
            # Asked before torch ends the others, whose ends would say nothing.
            self.lost = self._cause(worker_group, dead)
            self._shutdown()
        found: RunResult = super()._monitor_workers(worker_group)
        return found

    def _dead(self) -> dict[int, int]:
        """Exit codes, by local rank, of the workers that have failed."""
        handlers = getattr(self._pcontext, "subprocess_handlers", {})
        codes = {local_rank: handler.proc.poll() for local_rank, handler in handlers.items()}
        return {local_rank: code for local_rank, code in codes.items() if code}

    def _stop_workers(self, worker_group: WorkerGroup) -> None:
        self._shutdown()

    def _shutdown(self, death_sig: signal.Signals = signal.SIGTERM, timeout: int = 0) -> None:
        """Ranks may stop cleanly, but not longer than configured, whatever torch would allow."""
        super()._shutdown(death_sig, math.ceil(self.order.machine.stop_s + STOP_MARGIN_S))

    def _restart_workers(self, worker_group: WorkerGroup) -> None:
        self._stop_workers(worker_group)
        if self.lost is not None and self.lost.final:
            raise Settled
        self.restarts += 1
        cause = self.lost.cause if self.lost else "another node lost a rank"
        print(f"{cause}; starting again from the last checkpoint", file=sys.stderr)
        self.lost = None
        super()._restart_workers(worker_group)

    def _cause(self, worker_group: WorkerGroup, dead: dict[int, int]) -> Result:
        """How the group was lost: a mistake before a dead rank, that before a lost contact."""
        results = [self._result(local_rank, code) for local_rank, code in dead.items()]
        final = next((r for r in results if r.final), None)
        strong = next((r for r in results if not r.lost_contact), None)
        return final or strong or self._lost_contact(worker_group, results[0])

    def _result(self, local_rank: int, exit_code: int) -> Result:
        told = Result.read(result_file(self.folder, local_rank, self.attempt))
        if told is not None and told.exit_code == exit_code:
            return told
        on_node = self._worker_group.spec.local_world_size
        rank = self.order.node_rank * on_node + local_rank
        how = ended_by(exit_code) if exit_code < 0 else f"ended by itself (exit code {exit_code})"
        return Result(1, f"rank {rank} was {how}")

    def _lost_contact(self, group: Any, told: Result) -> Result:
        """Nobody of this node has died: one hangs, or is lost on another node."""
        named = None
        if "timed out" in told.cause.lower():
            count = group.workers[0].world_size
            try:
                address = group.master_addr, group.master_port
                named = hung(read_beats(*address, attempt=self.attempt, count=count), range(count))
            except RuntimeError:
                named = "node 0 does not answer"
        return Result(1, named or f"contact with a rank was lost: {told.cause}")


def main(arguments: list[str]) -> int:
    """Starts the order in the folder and watches it; returns the exit code."""
    # What torch logs of a lost rank is said in one line of our own.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    folder = Path(arguments[0])
    try:
        result = _run(folder, Order.read(folder))
    except RunforgeError as error:
        result = Result(error.exit_code, str(error))
    except Interrupted as error:
        result = Result(error.exit_code, str(error))
    except Exception as error:  # noqa: BLE001 - the border of the process: told, recorded, exit 1
        cause = of_the_machine(error) or f"the agent failed: {in_one_line(error)}"
        result = Result(1, cause, trace=traceback.format_exc())
    result.write(folder / "result.json")
    return result.exit_code


def _run(folder: Path, order: Order) -> Result:
    machine = order.machine
    workers = _worker_count(order)
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = ""  # torch's way raises again at each of them
    os.environ["OMP_NUM_THREADS"] = str(machine.threads or cores_for_each(workers))
    if machine.nodes == 1:
        # Names of this machine need not resolve, and nobody else is to join in.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    try:
        handler = get_rendezvous_handler(_rendezvous(order))
        spec = WorkerSpec(
            role="rank",
            local_world_size=workers,
            entrypoint="runforge.worker",
            args=(str(folder),),
            rdzv_handler=handler,
            max_restarts=machine.restarts,
            monitor_interval=0.1,
            local_addr=_local_address(machine),
        )
        return _watch(Agent(folder, order, spec))
    except RendezvousConnectionError as error:
        what = f"no rendezvous there ({error.__cause__ or error})"
        mend = "start the node with NODE_RANK=0 first, on that host, with a free port"
        where = f"machine.rendezvous={machine.rendezvous}"
        raise ConfigError(what, where=where, mend=mend) from error
    except RendezvousTimeoutError:
        what = f"not all {machine.nodes} nodes arrived within machine.timeout_s={machine.timeout_s}"
        return Result(1, f"{what} at {machine.rendezvous}")
    except RendezvousClosedError:
        return Result(1, "another node has given up: its own last line says why")


def _watch(agent: Agent) -> Result:
    try:
        found = agent.run()
    except Settled:
        found = None
    finally:
        agent.get_worker_group().spec.rdzv_handler.shutdown()
    if found is None or found.is_failed():
        lost = agent.lost or Result(1, "the workers were lost")
        return replace(lost, cause=_with_restarts(lost.cause, agent.restarts))
    first = Result.read(result_file(agent.folder, 0, agent.attempt))
    tags = first.tags if first else {}
    return Result(0, tags={**tags, "runforge.restarts": str(agent.restarts)})


def _worker_count(order: Order) -> int:
    found = device_count(order.machine)
    check_share(order.batch_size, found * order.machine.nodes)
    return found


def _rendezvous(order: Order) -> RendezvousParameters:
    machine = order.machine
    several = machine.nodes > 1
    known: dict[str, Any] = {"is_host": order.node_rank == 0} if several else {}
    return RendezvousParameters(
        backend="c10d",
        endpoint=str(machine.rendezvous) if several else "localhost:0",
        run_id="runforge",
        min_nodes=machine.nodes,
        max_nodes=machine.nodes,
        local_addr=_local_address(machine),
        join_timeout=machine.timeout_s,
        last_call_timeout=1,
        read_timeout=machine.timeout_s,
        **known,
    )


def _local_address(machine: MachineSettings) -> str | None:
    return "localhost" if machine.nodes == 1 else None


def _with_restarts(cause: str, restarts: int) -> str:
    return f"{cause} (after {counted(restarts, 'restart')})" if restarts else cause
