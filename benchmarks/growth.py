"""What a write costs as everything grows: keys, the log, sessions, connections, replicas.

``python -m benchmarks.growth [--parts ...] [--counters] [--json FILE]``. Asked for is that a write
costs the same at 1,000,000 keys as at 1,000, and at 10,000,000 entries of the log as at 1,000,000:
within 10 % by a counter that is the same on every machine (calls of functions per write), within
1.4 times by CPU per write. For keys, entries and sessions it is the leader's hot path in one
process, without sockets, with a real log and its snapshots (``benchmarks.hot_path``): processes of
different size take turns, so that what disturbs one disturbs all. Connections and replicas are
measured on clusters as anyone would run them. ``--counters`` leaves out everything that is timed:
what is left is exact on a busy machine too. The exit status is 1 if something is not flat.
Instructions would be better than calls, but need a processor's counters, which most virtual
machines hide.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from subprocess import Popen
from typing import Any

from benchmarks.cluster import Cluster, founded, load_average, write_figures
from benchmarks.growth_costs import RATIO_MAX, Cost, Grown, grown
from benchmarks.hot_path import CONFIG, MINIMAL
from benchmarks.peers.children import Children, ClusterFailed, children
from benchmarks.peers.machine import description
from benchmarks.peers.progress import say
from paxos.cli.output import print_table

ROUNDS = 5
OUTSTANDING = 256
WARMUP_S, DURATION_S = 1, 2


@dataclass(frozen=True, slots=True)
class Shape:
    """A leader in a process of its own, and what it is given.

    Attributes:
        part: What grows: keys, entries or sessions.
        size: How much of it there is.
        machine: The state machine.
        keys, entries, sessions: How many there are of each.
        submissions: In a slot.
        commands: In a submission.
        slots: In a round.
    """

    part: str
    size: int
    machine: str
    keys: int = 10_000
    entries: int = 60_000
    sessions: int = 8
    submissions: int = 8
    commands: int = 32
    slots: int = 160


PARTS: dict[str, tuple[Shape, ...]] = {
    "keys": tuple(
        Shape("keys", size, machine, keys=size, entries=max(60_000, 2 * size))
        for machine in (CONFIG, MINIMAL)
        for size in (1_000, 10_000, 100_000, 1_000_000)
    ),
    "entries": tuple(
        Shape("entries", size, machine, entries=size)
        for machine in (CONFIG, MINIMAL)
        for size in (1_000_000, 10_000_000)
    ),
    # One submission in a slot: with one session and with many, slots are alike.
    "sessions": tuple(
        Shape(
            "sessions",
            size,
            machine,
            entries=640_000,
            sessions=size,
            submissions=1,
            slots=1280,
        )
        for machine in (CONFIG, MINIMAL)
        for size in (1, 100, 10_000)
    ),
}
CONNECTIONS = (1, 4, 16, 64, 256)
REPLICAS = (3, 5, 7)
SERVED_PARTS = ("connections", "replicas")


@dataclass(frozen=True, slots=True)
class Served:
    """What writes cost a cluster.

    Attributes:
        part, size: What grows, and how much of it there is.
        ops_s: Writes per second, each round.
        us: CPU µs of a write on all servers together, each round.
    """

    part: str
    size: int
    ops_s: tuple[float, ...]
    us: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Growth:
    """Everything.

    Attributes:
        costs: In one process.
        served: By clusters.
        load: Processes that wanted to run, on average, at the end.
    """

    costs: tuple[Cost, ...]
    served: tuple[Served, ...]
    load: float


# --- in one process ------------------------------------------------------------------------------


class WorkerProcess:
    """A ``benchmarks.growth_worker``."""

    def __init__(self, owned: Children, shape: Shape) -> None:
        self.shape = shape
        words = [sys.executable, "-m", "benchmarks.growth_worker"]
        names = ("machine", "keys", "entries", "sessions", "submissions", "commands", "slots")
        for name in names:
            words += [f"--{name}", str(getattr(shape, name))]
        self._process: Popen[str] = owned.talk(words)

    def filled(self) -> dict[str, Any]:
        """Wait until its log is as long as was asked for."""
        while True:
            answer = self._answer()
            if "written" not in answer:
                return answer
            shape = self.shape
            say(f"{shape.part} {shape.size:,}, {shape.machine}: {answer['written']:.0%} filled")

    def ask(self, what: str) -> dict[str, Any]:
        """Let it do something, and wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        line = self._process.stdout.readline()
        if not line:
            raise ClusterFailed(f"a worker ended: {self._process.stderr.read()[-500:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def in_one_process(
    shapes: Sequence[Shape], rounds: int, parent: Path | None, *, counters: bool
) -> list[Cost]:
    """Measure shapes side by side: all are filled, then they take turns."""
    with children("growth", parent) as owned:
        workers = [WorkerProcess(owned, shape) for shape in shapes]
        filled = [worker.filled() for worker in workers]
        times: list[list[float]] = [[] for _ in workers]
        snapshots = [each["snapshots"] for each in filled]
        for number in range(0 if counters else rounds):
            say(f"{shapes[0].part}, {shapes[0].machine}: round {number + 1} of {rounds}")
            for at, worker in enumerate(workers):
                answer = worker.ask("round")
                times[at].append(round(answer["us"], 3))
                snapshots[at] = answer["snapshots"]
        counts = [worker.ask("count") for worker in workers]
    costs = [
        Cost(
            shape.part,
            shape.size,
            shape.machine,
            round(counted["python_calls"], 3),
            round(counted["c_calls"], 3),
            round(counted["blocks"], 3),
            tuple(us),
            None if counters else round(fill["first_us"], 3),
            None if counters else round(fill["last_us"], 3),
            made,
        )
        for shape, counted, us, fill, made in zip(
            shapes, counts, times, filled, snapshots, strict=True
        )
    ]
    for cost in costs:
        say(str(cost))  # what is found so far, should the run be ended before its end
    return costs


def scaled(shape: Shape, scale: float) -> Shape:
    """Return a shape with fewer entries in its log, and enough of them to forget some."""
    entries = max(60_000, int(shape.entries * scale))
    return replace(shape, entries=entries, size=entries if shape.part == "entries" else shape.size)


# --- clusters ------------------------------------------------------------------------------------


def put_load(cluster: Cluster, connections: int) -> tuple[float, float]:
    """Write for a while; return writes per second, and the servers' CPU µs for each."""
    words = ["bench", "--config", str(cluster.config), "--connections", str(connections)]
    words += ["--outstanding", str(OUTSTANDING), "--value-size", "64", "--json"]
    words += ["--warmup", str(WARMUP_S), "--duration", str(DURATION_S)]
    printed = json.loads(cluster.paxos(*words))
    return printed["ops"] / printed["seconds"], printed["srv_cpu_s_per_1000"] * 1000


@contextmanager
def serving(nodes: int, parent: Path | None) -> Iterator[Cluster]:
    """Run a cluster inside the context, with a leader."""
    with founded("growth", nodes, parent) as cluster:
        for node in range(1, nodes + 1):
            cluster.serve(node)
        cluster.wait_for_leader()
        yield cluster


def by_connections(rounds: int, parent: Path | None) -> list[Served]:
    """Measure one cluster with different numbers of connections in turn."""
    found: dict[int, list[tuple[float, float]]] = {size: [] for size in CONNECTIONS}
    with serving(3, parent) as cluster:
        for number in range(rounds):
            say(f"connections: round {number + 1} of {rounds}")
            for size in CONNECTIONS:
                found[size].append(put_load(cluster, size))
    return _served("connections", found)


def by_replicas(rounds: int, parent: Path | None) -> list[Served]:
    """Measure fresh clusters of different size in turn."""
    found: dict[int, list[tuple[float, float]]] = {size: [] for size in REPLICAS}
    for number in range(rounds):
        say(f"replicas: round {number + 1} of {rounds}")
        for size in REPLICAS:
            with serving(size, parent) as cluster:
                found[size].append(put_load(cluster, 8))
    return _served("replicas", found)


def _served(part: str, found: dict[int, list[tuple[float, float]]]) -> list[Served]:
    return [
        Served(
            part,
            size,
            tuple(round(ops_s, 1) for ops_s, _ in rounds),
            tuple(round(us, 2) for _, us in rounds),
        )
        for size, rounds in found.items()
    ]


# --- telling -------------------------------------------------------------------------------------


def show(result: Growth) -> None:
    """Print the figures as tables."""
    columns = ["what grows", "to", "machine", "Python calls", "C calls", "blocks kept"]
    columns += ["CPU µs", "least to most", "filling, first to last tenth"]
    rows = []
    for cost in result.costs:
        row = [cost.part, f"{cost.size:,}", cost.machine]
        row += [f"{cost.python_calls:.2f}", f"{cost.c_calls:.2f}", f"{cost.blocks:.2f}"]
        if cost.us:
            row += [f"{median(cost.us):.2f}", f"{min(cost.us):.2f} to {max(cost.us):.2f}"]
            row.append(f"{cost.first_us:.2f} to {cost.last_us:.2f}")
        rows.append(row + [""] * (len(columns) - len(row)))
    if rows:
        print_table(columns, rows, "A write, at the leader")
    verdicts = judge(result.costs)
    if verdicts:
        print()
        print_table(["what grows", "machine", "by", "times", "asked for", ""], verdicts)
    if result.served:
        print()
        columns = ["what grows", "to", "writes/s", "CPU µs of a write, all servers"]
        rows = [
            [
                each.part,
                f"{each.size:,}",
                f"{median(each.ops_s):,.0f} ({min(each.ops_s):,.0f} to {max(each.ops_s):,.0f})",
                f"{median(each.us):.1f} ({min(each.us):.1f} to {max(each.us):.1f})",
            ]
            for each in result.served
        ]
        print_table(columns, rows, f"A cluster, {OUTSTANDING} writes outstanding")
    print(f"\nload average at the end {result.load}")


def judge(costs: Sequence[Cost]) -> list[list[str]]:
    """Return, for what is to be flat, how many times the small cost the large is."""
    return [_verdict(each) for each in grown(costs)]


def is_flat(each: Grown) -> bool:
    """Whether a cost has grown no more than may be."""
    return each.times <= RATIO_MAX[each.by]


def _verdict(each: Grown) -> list[str]:
    found = "flat" if is_flat(each) else "NOT FLAT"
    most = f"up to {RATIO_MAX[each.by]}"
    return [each.part, each.machine, each.by, f"{each.times:.3f}", most, found]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    every = [*PARTS, *SERVED_PARTS]
    parser.add_argument("--parts", nargs="+", choices=every, default=every, help="what grows")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--counters", action="store_true", help="only what is exact anywhere")
    parser.add_argument("--scale", type=float, default=1.0, help="of the log's entries, to try it")
    parser.add_argument("--directory", type=Path, help="where data is kept")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    costs: list[Cost] = []
    served: list[Served] = []
    for part in (each for each in PARTS if each in options.parts):
        for machine in (CONFIG, MINIMAL):
            shapes = [
                scaled(shape, options.scale) for shape in PARTS[part] if shape.machine == machine
            ]
            costs += in_one_process(
                shapes, options.rounds, options.directory, counters=options.counters
            )
    if not options.counters:
        if "connections" in options.parts:
            served += by_connections(options.rounds, options.directory)
        if "replicas" in options.parts:
            served += by_replicas(options.rounds, options.directory)
    result = Growth(tuple(costs), tuple(served), load_average())
    show(result)
    if options.json is not None:
        write_figures(options.json, description(options.directory or Path.cwd()), result)
    if not all(map(is_flat, grown(costs))):
        sys.exit(1)


if __name__ == "__main__":
    main()
