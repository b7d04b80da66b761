"""The task log in figures: tasks per second beside RQ, what a claim costs, and placement.

``python -m benchmarks.tasks [--tasks N] [--queued N ...] [--json FILE]``. Tasks do nothing, so
that what is measured is the log and its workers: three replicas with real syncs over TCP, four
worker processes, submissions of 64. RQ on one Redis, synced as often, runs in the same command if
it is installed; ``--peers none`` leaves it out. PySyncObj is not here: its replicated queue has no
leases, so that a task is gone with the worker that took it, which is other work. A claim is timed
inside the state machine, without a cluster.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import trio

from benchmarks.cluster import Cluster, founded, load_average
from benchmarks.peers import rq_queue
from benchmarks.peers.machine import description
from paxos import service
from paxos.core.state_machine import Stamp
from statemachines.placement import POLICIES, UNIT, Curve, Job, Node, place_one
from statemachines.placement_batch import place_many
from statemachines.task_log import TaskLog
from statemachines.task_log_answers import decode_claim, decode_register
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_format import DEFAULT_LIMITS, STATES
from statemachines.task_log_requests import (
    claim_command,
    node_spec,
    register_command,
    submit_command,
    task_spec,
)

BATCH = DEFAULT_LIMITS.submit_tasks_max
SUBMITTERS = 4
NODES = 3
PLACED = (1000, 100)
TARGET_PLACEMENT_MS = 50
CLAIMS = 500
HOUR = 3600 * 1_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """What one system did.

    Attributes:
        system: Which one, and how durable its answers are.
        submitted_s: Until all tasks were submitted; the workers work meanwhile.
        done_s: Until all were done.
        tasks_per_s: Tasks over ``done_s``.
    """

    system: str
    tasks: int
    workers: int
    submitted_s: float
    done_s: float
    tasks_per_s: float


@dataclass(frozen=True, slots=True)
class ClaimCost:
    """What it costs to claim one task of a node's queue.

    Attributes:
        queued: Tasks in the queue.
        submit_us: Per task, when they were submitted.
        claim_us: Of one ``apply``, the median.
        claim_p99_us: Of one ``apply``; what the collector of garbage does is in it.
    """

    queued: int
    submit_us: float
    claim_us: float
    claim_p99_us: float


@dataclass(frozen=True, slots=True)
class PlacementCost:
    """What placement costs, in CPU time; the best of several runs.

    Attributes:
        many_ms: ``PLACED`` tasks on nodes, together.
        one_us: One task on as many nodes.
    """

    many_ms: float
    one_us: float


def _rate(system: str, tasks: int, workers: int, times: tuple[float, float]) -> Rate:
    submitted, done = times
    return Rate(system, tasks, workers, round(submitted, 2), round(done, 2), round(tasks / done, 1))


def ours(tasks: int, workers: int, parent: Path | None) -> Rate:
    """Measure the task log on a cluster of three."""
    with founded("tasks", NODES, parent) as cluster:
        for node in range(1, NODES + 1):
            cluster.serve(node)
        cluster.wait_for_leader()
        urls = [f"tcp://127.0.0.1:{port}" for port in cluster.ports[:NODES]]
        times = trio.run(_submit_and_wait, cluster, urls, tasks, workers)
    return _rate("task log, 3 replicas, synced", tasks, workers, times)


async def _submit_and_wait(
    cluster: Cluster, urls: list[str], tasks: int, workers: int
) -> tuple[float, float]:
    async with service.open_client(urls, timeout=120) as client:
        log = TaskLogClient(client)
        await log.retain(tasks)
        for number in range(workers):
            command = [sys.executable, "-m", "benchmarks.task_worker", f"w{number}", *urls]
            cluster.owned.serve(f"w{number}", command)
        await _wait(lambda: _live(log), workers)
        began = time.monotonic()
        numbers = iter(range(0, tasks, BATCH))
        async with trio.open_nursery() as nursery:
            for _ in range(SUBMITTERS):
                nursery.start_soon(_submit, log, numbers, tasks)
        submitted = time.monotonic() - began
        await _wait(lambda: _finished(log), tasks)
        return submitted, time.monotonic() - began


async def _submit(log: TaskLogClient, numbers: Iterator[int], tasks: int) -> None:
    for first in numbers:
        last = min(first + BATCH, tasks)
        await log.submit([task_spec(f"t{number}", "nothing") for number in range(first, last)])


async def _wait(count: Callable[[], Awaitable[int]], until: int) -> None:
    while True:
        if await count() >= until:
            return
        await trio.sleep(0.1)


async def _live(log: TaskLogClient) -> int:
    return (await log.stats()).live_nodes


async def _finished(log: TaskLogClient) -> int:
    states = (await log.stats("local")).states
    by_name = dict(zip(STATES.values(), states, strict=True))
    if by_name["dead"] or by_name["cancelled"]:
        raise RuntimeError(f"a task failed that does nothing: {by_name}")
    return by_name["done"]


def rq(tasks: int, workers: int, parent: Path | None, *, synced: bool) -> Rate:
    """Measure RQ."""
    times = rq_queue.measure(tasks, workers, parent, synced=synced)
    name = "RQ, 1 Redis, synced" if synced else "RQ, 1 Redis, synced once a second"
    return _rate(name, tasks, workers, times)


def claim_cost(queued: int) -> ClaimCost:
    """Measure claims of one task each, from a queue of so many."""
    log = TaskLog()
    slot = 0

    def apply(command: bytes) -> bytes:
        nonlocal slot
        slot += 1
        return log.apply(command, Stamp(slot, 0, 1_000_000 + slot))

    spec = node_spec("n", "cloud", lease=HOUR, capacity=CLAIMS * UNIT)
    token = decode_register(apply(register_command(spec))).registration
    rng = random.Random(queued)
    submissions = [
        submit_command(
            [
                task_spec(f"t{number}", "kind", b"payload", priority=rng.randint(-100, 100))
                for number in range(first, min(first + BATCH, queued))
            ]
        )
        for first in range(0, queued, BATCH)
    ]
    began = time.perf_counter()
    for command in submissions:
        apply(command)
    submitted = time.perf_counter() - began
    del submissions
    gc.collect()
    claim = claim_command("n", token, 1, HOUR)
    times = []
    for _ in range(CLAIMS):
        began = time.perf_counter()
        answer = apply(claim)
        times.append(time.perf_counter() - began)
        if len(decode_claim(answer).claims) != 1:
            raise RuntimeError("nothing was claimed")
    times.sort()
    return ClaimCost(
        queued=queued,
        submit_us=round(submitted / queued * 1e6, 1),
        claim_us=round(median(times) * 1e6, 1),
        claim_p99_us=round(times[len(times) * 99 // 100] * 1e6, 1),
    )


def placement_cost(runs: int = 5) -> PlacementCost:
    """Measure placement: tasks of all policies, on nodes that differ."""
    rng = random.Random(1)
    tasks, count = PLACED
    nodes = {
        f"n{number:03}": Node(
            f"n{number:03}",
            rng.choice(["cloud", "edge"]),
            labels={"gpu": rng.choice(["yes", "no"])},
            capacity=4 * UNIT,
            speed=rng.randint(UNIT, 8 * UNIT),
            price=rng.randint(0, UNIT),
            curve=Curve(rng.randint(0, UNIT), rng.randint(0, UNIT), 0),
            delay=rng.randint(0, 50_000),
        )
        for number in range(count)
    }
    jobs = [
        Job(
            size=rng.randint(UNIT // 10, 10 * UNIT),
            demand=rng.choice([UNIT // 2, UNIT, 2 * UNIT]),
            labels=rng.choice([{}, {}, {"gpu": "yes"}]),
            data=rng.choice(["", "n001", "n002"]),
            transfer=rng.randint(0, 10**7),
            policy=rng.choice(POLICIES),
        )
        for _ in range(tasks)
    ]
    many = []
    one = []
    for _ in range(runs):
        began = time.process_time()
        place_many(jobs, nodes, 0)
        many.append(time.process_time() - began)
        began = time.process_time()
        for job in jobs[:100]:
            place_one(job, nodes, 0)
        one.append((time.process_time() - began) / 100)
    return PlacementCost(round(min(many) * 1e3, 1), round(min(one) * 1e6, 1))


def report(
    rates: Sequence[Rate], claims: Sequence[ClaimCost], placement: PlacementCost, load: float
) -> str:
    """Return the figures as tables."""
    lines = [
        "| system | tasks | workers | submitted s | done s | tasks/s |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.system} | {each.tasks:,} | {each.workers} | {each.submitted_s} | {each.done_s}"
        f" | {each.tasks_per_s:,} |"
        for each in rates
    ]
    lines += ["", "| queued tasks | submission µs per task | claim µs | claim p99 µs |"]
    lines += ["|---|---|---|---|"]
    lines += [
        f"| {each.queued:,} | {each.submit_us} | {each.claim_us} | {each.claim_p99_us} |"
        for each in claims
    ]
    tasks, nodes = PLACED
    within = "within" if placement.many_ms <= TARGET_PLACEMENT_MS else "OVER"
    lines += [
        "",
        (
            f"placement of {tasks:,} tasks on {nodes} nodes: {placement.many_ms} ms of CPU,"
            f" {within} {TARGET_PLACEMENT_MS}; of one: {placement.one_us} µs"
        ),
        f"load average at the end: {load}",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000, help="submitted and completed")
    parser.add_argument("--workers", type=int, default=4, help="processes that run them")
    parser.add_argument(
        "--queued",
        type=int,
        nargs="*",
        default=[1_000, 10_000, 100_000],
        help="lengths of the queue that claims are timed with; a million takes 2 GB",
    )
    parser.add_argument("--peer-tasks", type=int, help="as many for RQ, if fewer: it is slower")
    parser.add_argument("--peers", choices=["all", "none"], default="all", help="whether RQ runs")
    parser.add_argument("--directory", type=Path, help="where data is kept")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    placement = placement_cost()
    claims = [claim_cost(queued) for queued in options.queued]
    rates = []
    if options.tasks:
        rates.append(ours(options.tasks, options.workers, options.directory))
        if options.peers == "all":
            absent = rq_queue.missing()
            if absent:
                print(f"RQ is left out; not installed: {', '.join(absent)}")
            else:
                tasks = options.peer_tasks or options.tasks
                rates += [
                    rq(tasks, options.workers, options.directory, synced=synced)
                    for synced in (True, False)
                ]
    load = load_average()
    print(report(rates, claims, placement, load))
    if options.json is not None:
        document = {
            "machine": description(options.directory or Path.cwd()),
            "rates": [asdict(each) for each in rates],
            "claims": [asdict(each) for each in claims],
            "placement": asdict(placement),
            "load": load,
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
