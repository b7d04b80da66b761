"""The targets are those that were asked for, and each looks at its own figures alone.

The tables here are written by hand from what was asked, not from the code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from benchmarks.growth_costs import Cost
from benchmarks.peers import plan
from benchmarks.peers.figures import Figures
from benchmarks.peers.measurement import LoadRecord, RunRecord
from benchmarks.peers.plan import Shape
from benchmarks.peers.targets import TARGETS, Sense, evaluate
from tests.benchmarks.example_runs import load_records, run_record

Asked = tuple[str, str, Sense, float, str, int]

BEST = "outstanding, of the better of etcd and ZooKeeper"
ALONE = "one durable write at a time, p50, of"
PYSYNCOBJ = "outstanding, of the better of both PySyncObj journals"
CPU = "CPU of all servers for a write at 256 outstanding, of etcd's"
GAP = "fail-over gap after SIGKILL of the leader"
MEMORY = "resident memory (RSS) of the largest replica after 100,000 writes"
RESTART = "restart with 100,000 entries, exec to ready and caught up, beyond loading the program"
KEYS = "cost per write from 1,000 to 1,000,000 keys, by"
ENTRIES = "cost per write from 1 to 10 million entries, by"


def of_any_machine(system: str) -> list[Asked]:
    """Return what is asked for without a state machine's name."""
    return [
        (system, f"{ALONE} ZooKeeper's", "at most", 1.0, "times", 3),
        (system, f"{ALONE} etcd's", "at most", 0.8, "times", 3),
        (system, f"{ALONE} the floor (a sync and a round trip)", "at most", 2.2, "times", 3),
        (system, f"writes/s at 1 {PYSYNCOBJ}", "at least", 0.9, "times", 3),
        (system, f"writes/s at 64 {PYSYNCOBJ}", "at least", 2.0, "times", 3),
        (system, f"writes/s at 256 {PYSYNCOBJ}", "at least", 2.0, "times", 3),
        (system, f"writes/s at 1,024 {PYSYNCOBJ}", "at least", 2.0, "times", 3),
        (system, f"linearizable reads/s at 64 {BEST}", "at least", 2.0, "times", 3),
        (system, CPU, "at most", 0.25, "times", 3),
        (system, f"{KEYS} calls", "at most", 1.1, "times", 1),
        (system, f"{KEYS} CPU", "at most", 1.4, "times", 3),
        (system, f"{ENTRIES} calls", "at most", 1.1, "times", 1),
        (system, f"{ENTRIES} CPU", "at most", 1.4, "times", 3),
    ]


ASKED: list[Asked] = [
    ("ours-minimal", f"durable writes/s at 64 {BEST}", "at least", 3.0, "times", 3),
    ("ours-minimal", f"durable writes/s at 256 {BEST}", "at least", 5.0, "times", 3),
    ("ours-minimal", f"durable writes/s at 1,024 {BEST}", "at least", 8.0, "times", 3),
    ("ours-awaiting", f"durable writes/s at 64 {BEST}", "at least", 1.5, "times", 3),
    ("ours-awaiting", f"durable writes/s at 256 {BEST}", "at least", 2.5, "times", 3),
    ("ours-awaiting", f"durable writes/s at 1,024 {BEST}", "at least", 4.0, "times", 3),
    *of_any_machine("ours-minimal"),
    *of_any_machine("ours"),
    ("ours", GAP, "at most", 0.35, "s", 10),
    ("ours", f"{GAP}, of etcd's", "at most", 1 / 3, "times", 10),
    ("ours", f"{GAP}, of ZooKeeper's", "below", 1.0, "times", 10),
    ("ours", MEMORY, "at most", 80.0, "MiB", 3),
    ("ours", RESTART, "at most", 0.5, "s", 3),
]


def test_targets_are_what_was_asked_for() -> None:
    targets = [
        (each.system, each.what, each.sense, each.bound, each.unit, each.samples_min)
        for each in TARGETS
    ]
    assert sorted(targets) == sorted(ASKED)


# --- each at its bound ---------------------------------------------------------------------------

OURS = ("ours", "ours-minimal", "ours-awaiting", "ours-ws")
PEERS = ("etcd", "zookeeper", "pysyncobj journal", "pysyncobj journal batched")
OTHERS = ("pysyncobj memory",)


class World:
    """A run in which everything that is not set says the opposite of what is to be found.

    Args:
        met: Whether the target is to be met: then what is not set makes it be missed.
    """

    def __init__(self, *, met: bool) -> None:
        self._met = met
        self._rows: dict[tuple[str, Shape], list[LoadRecord]] = {}
        self.costs: list[Cost] = []
        self.record: RunRecord = run_record()
        for system in (*OURS, *PEERS, *OTHERS):
            for shape in (shape for shapes in plan.PARTS.values() for shape in shapes):
                good = (system in OURS) != met
                self.load(
                    system,
                    shape,
                    ops_s=1e5 if good else 1.0,
                    p50_ms=0.001 if good else 1e5,
                    cpu_s=0.001 if good else 1e5,
                )
        decoy = 100.0 if met else 0.001
        for system in (*OURS, *PEERS):
            far = decoy if system in OURS else 1 / decoy
            self.gaps(system, far)
            self.memory(system, 100_000, far, far)
            self.restart(system, 100_000, far, 2 * far)
        for system in OURS:
            self.memory(system, 1_000, decoy, decoy)
            self.restart(system, 1_000, 0.0, decoy)
        for machine in ("config", "minimal"):
            for part in ("keys", "entries", "sessions"):
                self.cost(part, machine, 1_000, calls=10.0, us=1.0)
                self.cost(part, machine, 999_999_999, calls=10 * decoy, us=decoy)

    def load(
        self, system: str, shape: Shape, *, ops_s: float, p50_ms: float = 1.0, cpu_s: float = 1.0
    ) -> None:
        """Set the figures of one load: its rate, its p50, and CPU seconds for 1,000 operations."""
        used = cpu_s * ops_s / 100  # in ten seconds
        self._rows[system, shape] = load_records(
            system,
            ops_s,
            operation=shape.operation,
            outstanding=shape.outstanding,
            value_size=shape.value_size,
            p50_ms=p50_ms,
            servers_s=(used / 2, used / 4, used / 4),
        )

    def gaps(self, system: str, gap_s: float) -> None:
        """Set the gaps of ten kills, with one that is far off."""
        rest = [row for row in self.record["failover"] if row["system"] != system]
        gaps = [gap_s] * 8 + [0.0001, 59.0]
        found = [(number // 2 + 1, gap) for number, gap in enumerate(gaps)]
        self.record["failover"] = rest
        rest += [{"system": system, "round": number, "gap_s": gap} for number, gap in found]

    def memory(self, system: str, writes: int, rss: float, pss: float) -> None:
        """Set what the largest server has resident."""
        key = system, writes
        rest = [row for row in self.record["memory"] if (row["system"], row["writes"]) != key]
        self.record["memory"] = rest
        rest += [
            {
                "system": system,
                "round": number,
                "writes": writes,
                "rss_mib": [0.1, rss, 0.1],
                "pss_mib": [pss] * 3,
            }
            for number in (1, 2, 3)
        ]

    def restart(self, system: str, entries: int, import_s: float, ready_s: float) -> None:
        """Set the times of a restart."""
        key = system, entries
        rest = [row for row in self.record["restart"] if (row["system"], row["entries"]) != key]
        self.record["restart"] = rest
        rest += [
            {
                "system": system,
                "round": number,
                "entries": entries,
                "import_s": import_s,
                "ready_s": ready_s,
                "slots": None,
            }
            for number in (1, 2, 3)
        ]

    def cost(self, part: str, machine: str, size: int, calls: float, us: float) -> None:
        """Add what a write costs at a size."""
        times = (us, us, us)
        self.costs.append(Cost(part, size, machine, calls / 2, calls / 2, 0.0, times, 1.0, 1.0, 1))

    def only_costs(self, part: str, machine: str) -> None:
        """Forget what a part costs with a machine."""
        self.costs = [each for each in self.costs if (each.part, each.machine) != (part, machine)]

    def outcome(self, system: str, what: str) -> str:
        """Return what a run like this says of a target."""
        self.record["measurements"] = [row for rows in self._rows.values() for row in rows]
        self.record["floors"] *= 2
        (found,) = (
            each.outcome
            for each in evaluate(Figures(self.record, self.costs))
            if (each.target.system, each.target.what) == (system, what)
        )
        return found


Set = Callable[[World, bool], None]
Case = tuple[str, str, Set]


def rate(system: str, shape: Shape, peers: tuple[str, ...], bound: float) -> Set:
    """Return what sets a rate at, or just below, so many times the better of peers."""

    def put(world: World, met: bool) -> None:
        for number, peer in enumerate(peers):
            world.load(peer, shape, ops_s=1_000.0 - 100 * number)
        world.load(system, shape, ops_s=1_000 * bound - (0 if met else 1))

    return put


def p50(system: str, met_ms: float, **peers: float) -> Set:
    """Return what sets the latency of one write at a time, or one that is just longer."""

    def put(world: World, met: bool) -> None:
        for peer, milliseconds in peers.items():
            world.load(peer, Shape("write", 1, 64), ops_s=1.0, p50_ms=milliseconds)
        world.load(
            system, Shape("write", 1, 64), ops_s=1.0, p50_ms=met_ms if met else met_ms + 0.001
        )

    return put


def cpu(system: str) -> Set:
    """Return what sets the CPU time for writes."""

    def put(world: World, met: bool) -> None:
        shape = Shape("write", 256, 64)
        world.load("etcd", shape, ops_s=100.0, cpu_s=4.0)
        world.load(system, shape, ops_s=5_000.0, cpu_s=1.0 if met else 1.001)

    return put


def growth(part: str, sizes: tuple[int, int], machine: str, by: str) -> Set:
    """Return what sets a cost that has grown; by the other counter it says the opposite."""

    def put(world: World, met: bool) -> None:
        calls, us = (11.0, 1.4) if met else (11.01, 1.41)
        if by == "calls":
            us = 9.0 if met else 1.0
        else:
            calls = 90.0 if met else 10.0
        world.only_costs(part, machine)
        world.cost(part, machine, sizes[1], calls, us)
        world.cost(part, machine, sizes[0], 10.0, 1.0)

    return put


def gap(ours: float, missed: float, **peers: float) -> Set:
    """Return what sets fail-over gaps."""

    def put(world: World, met: bool) -> None:
        for peer, gap_s in peers.items():
            world.gaps(peer, gap_s)
        world.gaps("ours", ours if met else missed)

    return put


def cases() -> Iterator[Case]:
    """Yield every target with what sets its figures."""
    durable, journals = ("zookeeper", "etcd"), PEERS[2:]
    for level, bound in ((64, 3.0), (256, 5.0), (1024, 8.0)):
        writes = Shape("write", level, 64)
        what = f"durable writes/s at {level:,} {BEST}"
        yield "ours-minimal", what, rate("ours-minimal", writes, durable, bound)
        yield "ours-awaiting", what, rate("ours-awaiting", writes, durable[::-1], bound / 2)
    for system, machine in (("ours", "config"), ("ours-minimal", "minimal")):
        yield system, f"{ALONE} ZooKeeper's", p50(system, 2.0, zookeeper=2.0)
        yield system, f"{ALONE} etcd's", p50(system, 1.6, etcd=2.0)
        yield system, f"{ALONE} the floor (a sync and a round trip)", p50(system, 1.1)
        for level, bound in ((1, 0.9), (64, 2.0), (256, 2.0), (1024, 2.0)):
            writes, peers = Shape("write", level, 64), journals[:: -1 if level > 64 else 1]
            yield system, f"writes/s at {level:,} {PYSYNCOBJ}", rate(system, writes, peers, bound)
        reads = rate(system, Shape("read", 64, 64), durable, 2.0)
        yield system, f"linearizable reads/s at 64 {BEST}", reads
        yield system, CPU, cpu(system)
        for by in ("calls", "CPU"):
            yield system, f"{KEYS} {by}", growth("keys", (10**3, 10**6), machine, by)
            yield system, f"{ENTRIES} {by}", growth("entries", (10**6, 10**7), machine, by)
    yield "ours", GAP, gap(0.35, 0.351)
    yield "ours", f"{GAP}, of etcd's", gap(0.25, 0.251, etcd=0.75)
    yield "ours", f"{GAP}, of ZooKeeper's", gap(0.299, 0.3, zookeeper=0.3)
    yield (
        *("ours", MEMORY),
        lambda world, met: world.memory("ours", 100_000, 80.0 if met else 80.1, 500 if met else 1),
    )
    yield (
        *("ours", RESTART),
        lambda world, met: world.restart("ours", 100_000, 0.25, 0.75 if met else 0.751),
    )


CASES = list(cases())


def test_every_target_is_tried_at_its_bound() -> None:
    tried = [(system, what) for system, what, _ in CASES]
    assert sorted(tried) == sorted((each.system, each.what) for each in TARGETS)


@pytest.mark.parametrize("met", [True, False], ids=["met", "missed"])
@pytest.mark.parametrize(
    ("system", "what", "put"), CASES, ids=[f"{system}: {what}" for system, what, _ in CASES]
)
def test_target_at_its_bound_is_met_and_beyond_it_missed_whatever_else_was_measured(
    system: str, what: str, put: Set, *, met: bool
) -> None:
    world = World(met=met)
    put(world, met)
    assert world.outcome(system, what) == ("met" if met else "missed")
