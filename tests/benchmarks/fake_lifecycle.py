"""A cluster of no processes that notes what is asked of it, in a time of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

from benchmarks.peers.children import Children, ClusterFailed
from benchmarks.peers.completions import Completions
from benchmarks.peers.lifecycle import Lifecycle
from benchmarks.peers.measurement import Cluster

BEGAN = 1_000.0
WAITS_MAX = 10_000


class FakeTime:
    """The clocks of the module ``time``; sleeping is at once."""

    def __init__(self) -> None:
        self.now = BEGAN

    def time(self) -> float:
        return self.now

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class FakeChildren:
    """Waits in fake time."""

    directory = Path()

    def __init__(self, time: FakeTime) -> None:
        self._time = time

    def wait_for(self, ask: Callable[[], Any], what: str, step_s: float = 0.05) -> Any:
        for _ in range(WAITS_MAX):
            answer = ask()
            if answer is not None:
                return answer
            self._time.sleep(step_s)
        raise ClusterFailed(f"no {what}")


class FakeCompletions:
    """A write is done every hundredth of a second, but for some time after a kill."""

    def __init__(self, cluster: FakeLifecycle) -> None:
        self._cluster = cluster
        self._began = cluster.time.now

    @property
    def has_ended(self) -> bool:
        return self._cluster.time.now > self._cluster.load_ends_at

    def times(self) -> list[float]:
        now = self._cluster.time.now
        every = [self._began + number / 100 for number in range(int((now - self._began) * 100))]
        killed_at, gap_s = self._cluster.killed_at, self._cluster.gap_s
        return [each for each in every if not killed_at <= each < killed_at + gap_s]


class FakeLifecycle:
    """Three nodes; the lead goes to the next when its holder is killed.

    Args:
        time: In which all of it happens.
        gaps_s: How long no write is done after each kill.
        behind: How often a started node says that it has not caught up.
    """

    def __init__(self, time: FakeTime, gaps_s: Sequence[float], behind: int = 2) -> None:
        self.time = time
        self.log: list[str] = []
        self.killed_at = 0.0
        self.gap_s = 0.0
        self.load_ends_at = math.inf
        self._gaps_s = iter(gaps_s)
        self._leader = 0
        self._behind = dict.fromkeys(range(3), 0)
        self._lag = behind
        self._down: set[int] = set()

    @property
    def owned(self) -> Children:
        return cast("Children", FakeChildren(self.time))

    @property
    def pids(self) -> list[int]:
        return [10, 11, 12]

    def leader(self) -> int | None:
        return self._leader

    def applied(self, node: int) -> int | None:
        assert node not in self._down
        if node == self._leader:
            return 500
        self._behind[node] -= 1
        caught_up = self._behind[node] < 0
        if caught_up:
            self.log.append(f"caught up {node}")
        return 500 if caught_up else 499

    def slots(self, node: int) -> int | None:
        return 40

    def kill(self, node: int) -> None:
        self.log.append(f"kill {node}")
        self._down.add(node)
        self.killed_at = self.time.now
        self.gap_s = next(self._gaps_s, 0.0)
        if node == self._leader:
            self._leader = (node + 1) % 3

    def start(self, node: int) -> None:
        self.log.append(f"start {node}")
        self._down.remove(node)
        self._behind[node] = self._lag

    def fill(self, writes: int, outstanding: int) -> None:
        self.log.append(f"fill {writes} by {outstanding}")

    @contextmanager
    def arrivals(self, rate: int) -> Iterator[Completions]:
        self.log.append(f"arrive {rate}")
        yield cast("Completions", FakeCompletions(self))
        self.log.append("halt")

    def bare_start(self) -> Sequence[str]:
        self.log.append("bare start")
        return ["true"]


class FakeLifecycleSystem:
    """Has one cluster."""

    name = "fake"
    client = "none"
    leaves_out: Mapping[str, str] = {}

    def __init__(self, cluster: FakeLifecycle) -> None:
        self._cluster = cluster

    def missing(self) -> list[str]:
        return []

    def version(self) -> str:
        return "0"

    def cluster(self, parent: Path | None) -> AbstractContextManager[Cluster]:
        raise ClusterFailed("it takes no load")

    def fresh(self, parent: Path | None) -> AbstractContextManager[Lifecycle]:
        return nullcontext(self._cluster)
