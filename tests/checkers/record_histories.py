"""Records the histories of ``tests/histories``: every model, one sound object and one with a fault.

    python -m tests.checkers.record_histories

writes them anew, byte for byte the same. A cluster of three copies is played on virtual time: a
command reaches the object after a random delay, is applied to it, and to the other copies later;
its answer takes another delay, or is lost. Clients ask the next thing when they were answered, and
a client that got no answer in time comes back as a new process. The faults are those of real
systems: ``stale`` answers reads from a copy that lags, ``lost`` forgets some writes that it
answered, ``twice`` applies a command again whose first answer was slow, ``shared`` grants a lock
that is held.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from jepsen_like.history import Entry, EntryType, write_history
from tests.checkers.brute_force import NO, TWINS
from tests.checkers.random_histories import OPERATIONS

DIRECTORY = Path(__file__).resolve().parents[1] / "histories"
MANIFEST = DIRECTORY / "manifest.json"
FAULTS = {
    "cas-register": ("stale", "lost"),
    "kv": ("lost",),
    "kv-append": ("twice",),
    "append": ("stale", "twice"),
    "set": ("lost",),
    "counter": ("twice",),
    "queue": ("twice",),
    "mutex": ("shared",),
}
"""By model: the faults of which there is a history each."""
READS = frozenset({"read", "get"})
MILLISECOND = 1_000_000


class Play:
    """Clients and one object for each key, on virtual time."""

    def __init__(self, model: str, fault: str | None, seed: int, keys: int) -> None:
        self.history: list[Entry] = []
        self._model, self._fault = model, fault
        self._rng = Random(seed)
        self._now = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._tickets, self._processes, self._values = count(), count(), count(1)
        initial, self._apply = TWINS[model]
        self._keys: list[str | None] = [None] if keys == 1 else [f"k{n}" for n in range(keys)]
        self._states = dict.fromkeys(self._keys, initial)
        self._lagging = dict.fromkeys(self._keys, initial)
        self._tokens = dict.fromkeys(self._keys, 0)

    def run(self, clients: int, operations: int) -> list[Entry]:
        """Play until so many operations were begun and nothing is under way."""
        self._left = operations
        for _ in range(clients):
            self._later(self._ask, 0)
        while self._queue:
            self._now, _, act = heapq.heappop(self._queue)
            act()
        return self.history

    def _later(self, act: Callable[[], None], mean_ms: float) -> None:
        delay = round(self._rng.expovariate(1) * mean_ms * MILLISECOND) + 1000
        heapq.heappush(self._queue, (self._now + delay, next(self._tickets), act))

    def _record(
        self, process: int, type_: EntryType, f: str, key: str | None, value: Any, error: Any = None
    ) -> None:
        self.history.append(Entry(process, type_, f, key, value, self._now, error))

    def _ask(self, process: int | None = None) -> None:
        if self._left == 0:
            return
        self._left -= 1
        rng, me = self._rng, next(self._processes) if process is None else process
        f, key = rng.choice(OPERATIONS[self._model]), rng.choice(self._keys)
        argument = self._argument(f, key)
        self._record(me, "invoke", f, key, argument)
        lost = rng.random() < 0.06
        self._later(lambda: self._arrive(me, f, key, argument, lost), 4)

    def _argument(self, f: str, key: str | None) -> Any:
        if f in READS or f in ("dequeue", "acquire", "delete"):
            return None
        if f == "release":
            return max(1, self._tokens[key])
        if f == "cas":
            return [self._rng.randrange(4), self._rng.randrange(4)]
        if self._model == "counter":
            return 1
        if self._model in ("cas-register", "kv"):
            return self._rng.randrange(4)
        value = next(self._values)
        return f"{value}," if self._model == "kv-append" else value

    def _arrive(self, me: int, f: str, key: str | None, argument: Any, lost: bool) -> None:
        if lost and self._rng.random() < 0.4:  # the command itself was lost
            self._later(lambda: self._give_up(me, f, key), 10)
            return
        source = self._states
        if self._fault == "stale" and f in READS and self._rng.random() < 0.2:
            source = self._lagging
        before = source[key]
        if self._fault == "shared" and f == "acquire" and self._rng.random() < 0.1:
            before = [None, before[1]]
        after, answer = self._apply(before, f, argument)
        if answer is not NO and f == "acquire":
            self._tokens[key] += 1
            answer = self._tokens[key]
            after = [answer, answer]
        if f not in READS and answer is not NO and not self._forgets():
            self._states[key] = after
            if self._fault == "twice" and self._rng.random() < 0.1:
                self._states[key] = self._apply(after, f, argument)[0]
            self._later(lambda: self._lagging.__setitem__(key, after), 8)
        act = self._give_up if lost else self._answer
        value = answer[1] if isinstance(answer, tuple) else answer
        self._later(lambda: act(me, f, key, argument, value), 10 if lost else 4)

    def _forgets(self) -> bool:
        return self._fault == "lost" and self._rng.random() < 0.25

    def _give_up(self, me: int, f: str, key: str | None, *_: Any) -> None:
        self._record(me, "info", f, key, None, "no answer in time")
        self._later(self._ask, 2)

    def _answer(self, me: int, f: str, key: str | None, argument: Any, value: Any) -> None:
        if value is NO:
            error = None if f == "cas" else "refused"
            self._record(me, "fail", f, key, argument, error)
        else:
            self._record(me, "ok", f, key, argument if value == "any" else value)
        self._later(lambda: self._ask(me), 2)


def record() -> dict[str, list[Entry]]:
    """Return every history by its file's name."""
    histories = {}
    for number, model in enumerate(OPERATIONS):
        keys = 1 if model in ("cas-register", "queue") else 3
        sound = Play(model, None, 100 + number, keys).run(clients=6, operations=80)
        histories[f"{model}-yes.jsonl"] = sound
        for fault in FAULTS[model]:
            broken = Play(model, fault, 200 + number, keys).run(clients=6, operations=80)
            histories[f"{model}-no-{fault}.jsonl"] = broken
    return histories


def main() -> None:
    """Write the histories and their manifest."""
    manifest = []
    for name, history in record().items():
        write_history(DIRECTORY / name, history)
        begun = [entry for entry in history if entry.type == "invoke"]
        unknown = [entry for entry in history if entry.type == "info"]
        manifest.append(
            {
                "file": name,
                "model": name.partition("-yes")[0].partition("-no")[0],
                "linearizable": "-yes" in name,
                "operations": len(begun),
                "unknown_outcome": len(unknown),
                "keys": len({entry.key for entry in begun}),
            }
        )
    MANIFEST.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
