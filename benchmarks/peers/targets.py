"""What was asked of this project's performance, as data, and what a run says about it. Pure.

Every target is judged by the medians of one run (``figures``). What a run did not measure, or not
of every system that a target compares, is neither met nor missed, and neither is what it did not
measure often enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from benchmarks.growth_costs import RATIO_MAX
from benchmarks.peers.figures import Figures, Sampled, best, compared, reads, sampled, writes
from benchmarks.peers.plan import Shape

Sense = Literal["at least", "at most", "below"]
Outcome = Literal["met", "missed", "too few", "not measured"]

MINIMAL, OURS, AWAITING = "ours-minimal", "ours", "ours-awaiting"
ETCD, ZOOKEEPER = "etcd", "zookeeper"
PYSYNCOBJ, PYSYNCOBJ_BATCHED = "pysyncobj journal", "pysyncobj journal batched"

DURABLE = (ETCD, ZOOKEEPER)
"""The peers that sync what they write."""

WITH_JOURNAL = (PYSYNCOBJ, PYSYNCOBJ_BATCHED)
"""PySyncObj in both of its ways to append entries: neither is the better one at all loads."""

ROUNDS_MIN = 3
KILLS_MIN = 10


@dataclass(frozen=True)
class Target:
    """One thing that was asked.

    Attributes:
        system: Which of ours it is asked of.
        what: What is compared, and with what.
        sense: How the figure has to lie to the bound.
        bound: In ``unit``.
        unit: Of the bound and the figure.
        measured: Finds the figure in a run.
        samples_min: It says nothing if there are fewer samples of it.
    """

    system: str
    what: str
    sense: Sense
    bound: float
    unit: str
    measured: Callable[[Figures], Sampled]
    samples_min: int = ROUNDS_MIN


@dataclass(frozen=True)
class Verdict:
    """A target, the figure that a run has for it, and of how many samples that is."""

    target: Target
    measured: float | None
    samples: int

    @property
    def outcome(self) -> Outcome:
        """Whether the figure is what was asked."""
        if self.measured is None:
            return "not measured"
        if self.samples < self.target.samples_min:
            return "too few"
        bound = self.target.bound
        match self.target.sense:
            case "at least":
                met = self.measured >= bound
            case "at most":
                met = self.measured <= bound
            case "below":
                met = self.measured < bound
        return "met" if met else "missed"


def evaluate(figures: Figures) -> list[Verdict]:
    """Return every target with what the run says about it."""
    return [Verdict(target, *target.measured(figures)) for target in TARGETS]


def _rate_of_best(peers: Sequence[str], system: str, shape: Shape, figures: Figures) -> Sampled:
    """Return a system's rate as a multiple of the best of the peers."""
    better = best(figures.sampled(peer, shape, "ops_s") for peer in peers)
    return compared(figures.sampled(system, shape, "ops_s"), better)


def _p50_of(peer: str, system: str, figures: Figures) -> Sampled:
    alone = writes(1)
    ours = figures.sampled(system, alone, "p50_ms")
    return compared(ours, figures.sampled(peer, alone, "p50_ms"))


def _p50_of_floor(system: str, figures: Figures) -> Sampled:
    return compared(figures.sampled(system, writes(1), "p50_ms"), figures.floor_ms())


def _server_cpu_of(peer: str, system: str, figures: Figures) -> Sampled:
    shape = writes(256)
    ours = figures.sampled(system, shape, "srv_cpu_s_per_1000")
    return compared(ours, figures.sampled(peer, shape, "srv_cpu_s_per_1000"))


def _gap(system: str, figures: Figures) -> Sampled:
    return sampled(figures.failover_gaps_s(system))


def _gap_of(peer: str, system: str, figures: Figures) -> Sampled:
    return compared(_gap(system, figures), _gap(peer, figures))


def _resident(system: str, figures: Figures) -> Sampled:
    return sampled(figures.rss_mib(system))


def _restart(system: str, figures: Figures) -> Sampled:
    return sampled(figures.restarts_beyond_import_s(system))


def _throughput() -> list[Target]:
    asked = {64: 3.0, 256: 5.0, 1024: 8.0}
    return [
        Target(
            system,
            f"durable writes/s at {level:,} outstanding, of the better of etcd and ZooKeeper",
            "at least",
            bound * share,
            "times",
            partial(_rate_of_best, DURABLE, system, writes(level)),
        )
        for system, share in ((MINIMAL, 1.0), (AWAITING, 0.5))
        for level, bound in asked.items()
    ]


def _for_machine(system: str) -> list[Target]:
    """Return the targets that name no state machine, and so are asked with either."""
    alone = "one durable write at a time, p50"
    return [
        Target(
            system,
            f"{alone}, of ZooKeeper's",
            "at most",
            1.0,
            "times",
            partial(_p50_of, ZOOKEEPER, system),
        ),
        Target(
            system, f"{alone}, of etcd's", "at most", 0.8, "times", partial(_p50_of, ETCD, system)
        ),
        Target(
            system,
            f"{alone}, of the floor (a sync and a round trip)",
            "at most",
            2.2,
            "times",
            partial(_p50_of_floor, system),
        ),
        *(
            Target(
                system,
                f"writes/s at {level:,} outstanding, of the better of both PySyncObj journals",
                "at least",
                bound,
                "times",
                partial(_rate_of_best, WITH_JOURNAL, system, writes(level)),
            )
            for level, bound in {1: 0.9, 64: 2.0, 256: 2.0, 1024: 2.0}.items()
        ),
        Target(
            system,
            "linearizable reads/s at 64 outstanding, of the better of etcd and ZooKeeper",
            "at least",
            2.0,
            "times",
            partial(_rate_of_best, DURABLE, system, reads(64)),
        ),
        Target(
            system,
            "CPU of all servers for a write at 256 outstanding, of etcd's",
            "at most",
            0.25,
            "times",
            partial(_server_cpu_of, ETCD, system),
        ),
    ]


def _lives(system: str) -> list[Target]:
    """Return the targets for clusters whose nodes are killed, filled and started again."""
    gap = "fail-over gap after SIGKILL of the leader"
    return [
        Target(system, gap, "at most", 0.35, "s", partial(_gap, system), KILLS_MIN),
        Target(
            system,
            f"{gap}, of etcd's",
            "at most",
            1 / 3,
            "times",
            partial(_gap_of, ETCD, system),
            KILLS_MIN,
        ),
        Target(
            system,
            f"{gap}, of ZooKeeper's",
            "below",
            1.0,
            "times",
            partial(_gap_of, ZOOKEEPER, system),
            KILLS_MIN,
        ),
        Target(
            system,
            "resident memory (RSS) of the largest replica after 100,000 writes",
            "at most",
            80.0,
            "MiB",
            partial(_resident, system),
        ),
        Target(
            system,
            "restart with 100,000 entries, exec to ready and caught up, beyond loading the program",
            "at most",
            0.5,
            "s",
            partial(_restart, system),
        ),
    ]


def _growth() -> list[Target]:
    """Return the targets that ``benchmarks.growth`` measures, in one process of one leader."""
    texts = {
        "keys": "cost per write from 1,000 to 1,000,000 keys",
        "entries": "cost per write from 1 to 10 million entries",
    }
    return [
        Target(
            system,
            f"{text}, by {by}",
            "at most",
            bound,
            "times",
            partial(Figures.grown, part=part, machine=machine, by=by),
            1 if by == "calls" else ROUNDS_MIN,
        )
        for system, machine in ((OURS, "config"), (MINIMAL, "minimal"))
        for part, text in texts.items()
        for by, bound in RATIO_MAX.items()
    ]


TARGETS: tuple[Target, ...] = (
    *_throughput(),
    *_for_machine(MINIMAL),
    *_for_machine(OURS),
    *_lives(OURS),
    *_growth(),
)
