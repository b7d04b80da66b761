"""Facts as real runs hand them in: a cluster of registers that never was, asked by clients.

Histories are linearizable by construction (each operation takes effect at one moment between its
ends), until a test asks for a stale read.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jepsen_like.history import NEMESIS, Entry
from jepsen_like.report.facts import Arrow, Band, Facts, Phase, Slots, Step
from jepsen_like.report.operations import NANOSECONDS, counts, pair

KINDS = ("kill", "pause", "partition", "delay", "clock")


class Registers:
    """Clients of registers, on a clock that is only counted."""

    def __init__(self, seed: int, clients: int, keys: int, seconds: float) -> None:
        self.rng = random.Random(seed)
        self.entries: list[Entry] = []
        self.bands = self._draw_bands(seconds)
        self._keys = [f"r{number:03d}" for number in range(keys)]
        self._state: dict[str, int | None] = dict.fromkeys(self._keys)
        self._clients = clients
        self._processes = list(range(clients))
        self._events: list[tuple[float, int, str, dict[str, Any]]] = []
        self._count = 0

    def _draw_bands(self, seconds: float) -> list[Band]:
        bands, start = [], 0.12 * seconds
        while start < 0.75 * seconds:
            kind = self.rng.choice(KINDS)
            stop = start + seconds * self.rng.uniform(0.01, 0.04)
            effects = 0 if kind == "clock" else self.rng.randint(1, 400)
            bands.append(Band(kind, f"n{self.rng.randint(1, 5)}", start, stop, effects))
            start = stop + seconds * self.rng.uniform(0.005, 0.03)
        return bands

    def run(self, operations: int, seconds: float) -> None:
        """Ask that much, spread over that time."""
        pause = seconds / operations * self._clients
        for client in range(self._clients):
            self._at(self.rng.random() * pause, "ask", {"client": client})
        asked = 0
        while self._events:
            now, _, what, op = heapq.heappop(self._events)
            if what == "effect":
                self._take_effect(op)
            elif what == "answer":
                self._answer(now, op)
                self._at(now + self.rng.uniform(0.6, 1.3) * pause, "ask", {"client": op["client"]})
            elif asked < operations:
                asked += 1
                self._ask(now, op["client"])

    def _at(self, time: float, what: str, op: dict[str, Any]) -> None:
        self._count += 1
        heapq.heappush(self._events, (time, self._count, what, op))

    def _ask(self, now: float, client: int) -> None:
        rng = self.rng
        f = rng.choices(("read", "write", "cas"), (4, 3, 3))[0]
        key = self._keys[min(len(self._keys) - 1, int(rng.expovariate(3) * len(self._keys)))]
        value: Any = None
        if f == "write":
            value = rng.randint(0, 4)
        elif f == "cas":
            value = [rng.randint(0, 4), rng.randint(0, 4)]
        op = {"client": client, "f": f, "key": key, "value": value, "result": value}
        self.entries.append(
            Entry(self._processes[client], "invoke", f, key, value, int(now * NANOSECONDS))
        )
        struck = [each for each in self.bands if each.start_s <= now <= each.stop_s]
        took = rng.lognormvariate(-6.2, 0.5) * (1 + 8 * bool(struck) * rng.random())
        chance = rng.random()
        op["type"], op["error"] = "ok", None
        if struck and chance < 0.02:
            op["type"], op["error"], took = "info", "timeout: outcome unknown", took + 1.0
        elif struck and chance < 0.12:
            op["type"], op["error"] = "fail", rng.choice(("overloaded", "not leader: ask n2"))
        self._at(now + took * rng.uniform(0.2, 0.9), "effect", op)
        self._at(now + took, "answer", op)

    def _take_effect(self, op: dict[str, Any]) -> None:
        if op["type"] == "fail":
            return
        state, value = self._state[op["key"]], op["value"]
        if op["f"] == "read":
            op["result"] = state
        elif op["f"] == "write":
            self._state[op["key"]] = value
        elif state == value[0]:
            self._state[op["key"]] = value[1]
        elif op["type"] == "ok":
            op["type"] = "fail"  # answered "no": no error

    def _answer(self, now: float, op: dict[str, Any]) -> None:
        process = self._processes[op["client"]]
        said = op["result"] if op["type"] == "ok" else op["value"]
        time = int(now * NANOSECONDS)
        self.entries.append(Entry(process, op["type"], op["f"], op["key"], said, time, op["error"]))
        if op["type"] == "info":
            self._processes[op["client"]] += self._clients


def struck_history(
    entries: Sequence[Entry], bands: Sequence[Band], phases: Sequence[Phase]
) -> list[Entry]:
    """Return a history with the nemesis' entries among the clients'."""
    extra = []
    for band in bands:
        start, stop = int(band.start_s * NANOSECONDS), int(band.stop_s * NANOSECONDS)
        struck = {"target": band.target, "in_flight": 3}
        healed = {"target": band.target, "effects": band.effects}
        extra.append(Entry(NEMESIS, "info", band.kind, None, struck, start))
        extra.append(Entry(NEMESIS, "info", f"heal-{band.kind}", None, healed, stop))
    extra += [
        Entry(NEMESIS, "info", "phase", None, phase.name, int(phase.start_s * NANOSECONDS))
        for phase in phases
    ]
    return sorted([*entries, *extra], key=lambda entry: entry.time)


def good_run(operations: int = 1_000, keys: int = 20, seconds: float = 60.0) -> Facts:
    """Return the facts of a live run in which all went well."""
    registers = Registers(operations, clients=10, keys=keys, seconds=seconds)
    registers.run(operations, seconds)
    phases = [
        Phase("calm", 0, 0.1 * seconds),
        Phase("faults", 0.1 * seconds, 0.8 * seconds),
        Phase("heal", 0.8 * seconds, 0.9 * seconds),
        Phase("final reads", 0.9 * seconds, seconds),
    ]
    history = struck_history(registers.entries, registers.bands, phases)
    effects = dict.fromkeys(KINDS, 0)
    for band in registers.bands:
        effects[band.kind] += band.effects
    return Facts(
        title="register under kill, pause, partition, delay, clock: 5 nodes, 10 clients",
        verdict="yes",
        sentence=f"Every one of {operations:,} operations on {keys} keys has a place in an order"
        " that respects time and the model.",
        replay=f"python -m jepsen_like run --workload register --nemesis {','.join(KINDS)}"
        f" --time {seconds:.0f} --seed {operations} --out runs/{operations}",
        history=history,
        bands=registers.bands,
        phases=phases,
        effects=effects,
        counts={**counts(history), "seed": operations, "nodes": 5, "leader kills": 4},
    )


def failing_run(operations: int = 1_000, keys: int = 20, seconds: float = 60.0) -> Facts:
    """Return the same run with one read, about two thirds through, that returns an old value."""
    facts = good_run(operations, keys, seconds)
    history = list(facts.history)
    reads = [
        each
        for each in pair(history).operations
        if each.f == "read" and each.outcome == "ok" and each.answered_at is not None
    ]
    stale = reads[len(reads) * 2 // 3]
    assert stale.answered_at is not None
    entry = history[stale.answered_at]
    history[stale.answered_at] = entry._replace(value=7)
    writes = [each for each in pair(history).operations if each.key == stale.key]
    old = next(each for each in writes if each.f == "write" and each.outcome == "ok")
    for position in (old.invoked_at, old.answered_at):
        assert position is not None
        history[position] = history[position]._replace(value=7)
    explained = [
        each.invoked_at
        for each in writes
        if each.outcome == "ok" and each.invoked_at < stale.invoked_at
    ]
    return replace(
        facts,
        verdict="no",
        sentence=f"Not linearizable: key {stale.key} was read as 7 by process {stale.process},"
        " long after 7 had been overwritten.",
        history=history,
        impossible={stale.key: stale.answered_at},
        explained={stale.key: explained},
    )


def long_run(operations: int, keys: int) -> Facts:
    """Return a failing run of many operations: a short one, over and over, and then the failing."""
    short = failing_run(2_500, keys, seconds=15.0)
    times = operations // 2_500
    length, processes = 15 * NANOSECONDS, 1_000
    history = [
        entry._replace(
            time=entry.time + lap * length,
            process=entry.process + lap * processes if isinstance(entry.process, int) else NEMESIS,
        )
        for lap in range(times)
        for entry in short.history
        if isinstance(entry.process, int) or lap == 0
    ]
    ((key, position),) = short.impossible.items()
    before = len(history) - sum(isinstance(each.process, int) for each in short.history)
    strange = sum(not isinstance(each.process, int) for each in short.history[:position])
    return replace(
        short,
        history=history,
        impossible={key: before + position - strange},
        explained={},
        bands=[
            replace(band, start_s=band.start_s + 15 * lap, stop_s=band.stop_s + 15 * lap)
            for lap in range(times)
            for band in short.bands
        ],
        phases=[Phase("faults", 0, 15 * times)],
        counts=counts(history),
    )


def simulated_run() -> Facts:
    """Return the facts of a shrunk simulation: two leaders decide one slot differently."""
    story, arrows = _two_leaders()
    return Facts(
        title="simulation of seed 4711, shrunk: 3 nodes, 2 clients, 1 key",
        verdict="no",
        sentence="I1 at most one value is ever chosen for a slot: slot 3 was decided as write 2 by"
        " n1 and as write 5 by n3.",
        replay="python -m jepsen_like simulate --seeds 4711:4712 --trace FILE",
        story=story,
        arrows=arrows,
        slots=Slots(
            ["n1", "n2", "n3"],
            [
                (1, ["decided open session", "decided open session", "decided open session"]),
                (2, ["decided write 1", "decided write 1", "decided write 1"]),
                (3, ["decided write 2", "accepted (2, n3) write 5", "decided write 5"]),
                (4, ["", "", "accepted (2, n3) noop"]),
            ],
        ),
        effects={"partition": 6, "crash": 1, "loss": 2, "clock drift": 0},
        marks={
            "took over with a hole": 0,
            "a promise with two ballots for one slot": 1,
            "a snapshot outran the log": 0,
            "a leader was preempted": 2,
        },
        counts={"seed": 4711, "steps": len(story), "deliveries": 61, "commands": 3},
    )


def _two_leaders() -> tuple[list[Step], list[Arrow]]:
    story = [
        Step(0.0850, "n1", "campaigns with ballot (1, n1)"),
        Step(0.0981, "n1", "leads with ballot (1, n1)"),
        Step(0.1210, "c1", "writes 1 to r000"),
        Step(0.1444, "n1", "decides slot 2: write 1"),
        Step(0.2000, "nemesis", "cuts n3 off from n1, one way"),
        Step(0.2210, "c1", "writes 2 to r000"),
        Step(0.2404, "n2", "loses its unsynced writes: accepted (1, n1) for slot 3 is gone"),
        Step(0.2600, "n3", "campaigns with ballot (2, n3)"),
        Step(0.2912, "n3", "leads with ballot (2, n3); nobody reported slot 3"),
        Step(0.3000, "c2", "writes 5 to r000"),
        Step(0.3333, "n3", "decides slot 3: write 5, but n1 decided write 2 there", wrong=True),
    ]
    arrows: list[Arrow] = []

    def send(at: float, sender: str, to: str, text: str, took: float | None = 0.0041) -> None:
        arrows.append(Arrow(at, None if took is None else at + took, sender, to, text))

    for to in ("n2", "n3"):
        send(0.0851, "n1", to, "Prepare((1, n1) after=0)")
    send(0.0895, "n2", "n1", "Promise((1, n1) decided=0 [])")
    send(0.0897, "n3", "n1", "Promise((1, n1) decided=0 [])")
    send(0.1211, "c1", "n1", "Submit(s1 1 registers)")
    for to in ("n2", "n3"):
        send(0.1255, "n1", to, "Accept((1, n1) 2=write 1)")
    send(0.1301, "n2", "n1", "Accepted((1, n1) 2)")
    send(0.1322, "n3", "n1", "Accepted((1, n1) 2)")
    send(0.1445, "n1", "c1", "Results(s1 1:done)")
    send(0.2211, "c1", "n1", "Submit(s1 2 registers)")
    send(0.2255, "n1", "n2", "Accept((1, n1) 3=write 2)")
    send(0.2255, "n1", "n3", "Accept((1, n1) 3=write 2)", None)
    send(0.2301, "n2", "n1", "Accepted((1, n1) 3)")
    send(0.2345, "n1", "c1", "Results(s1 2:done)")
    send(0.2601, "n3", "n2", "Prepare((2, n3) after=2)")
    send(0.2601, "n3", "n1", "Prepare((2, n3) after=2)", None)
    send(0.2655, "n2", "n3", "Promise((2, n3) decided=2 [])")
    send(0.3001, "c2", "n3", "Submit(s2 1 registers)")
    send(0.3055, "n3", "n2", "Accept((2, n3) 3=write 5)")
    send(0.3055, "n3", "n1", "Accept((2, n3) 3=write 5)", None)
    send(0.3101, "n2", "n3", "Accepted((2, n3) 3)", 0.0230)
    arrows.append(Arrow(0.3320, None, "n3", "n2", "Heartbeat(leads=(2, n3))", in_flight=True))
    return story, arrows
