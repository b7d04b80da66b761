"""How fast the linearizability checker is: ``python -m benchmarks.checker``.

Prints a table and, as its last line, the same as JSON. Everything runs on one core; a figure is the
best of several runs, from entries in memory to the verdict, so the pairing of answers to their
invokes is counted and the reading of files is not. Histories are generated from fixed seeds, or
read from the folder that ``PAXOS_HISTORIES`` names (known histories with the seconds that
porcupine, a checker written in Go, took for them).

Another machine measured porcupine. How fast it was is not known, so the limit for those histories
is scaled by a small loop of plain Python: by how much longer it takes here, at this moment, than it
took on an idle machine of the kind that both were measured on (``CALIBRATION_REFERENCE_S``). That
this ratio is the same for Go is an assumption.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

from jepsen_like.checkers.linearizability import Result, check
from jepsen_like.formats import read_file
from jepsen_like.history import Entry

RUNS = 5
CALIBRATION_REFERENCE_S = 0.048
PORCUPINE_FACTOR = 3
VALUES = 5
SEED = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement."""

    name: str
    operations: int
    verdicts: str
    seconds: float
    limit_s: float

    @property
    def within(self) -> bool:
        """Whether it is as fast as it should be."""
        return self.seconds <= self.limit_s


def random_register_history(
    operations: int, clients: int, keys: int, seed: int, *, together: bool = False
) -> list[Entry]:
    """Return a linearizable history of registers: read 4, write 3, cas 3, five values.

    Every client is always busy. Each step of one client is as likely as of any other: it invokes;
    then its operation takes effect; then it is answered. So operations overlap as much as clients
    allow, and they take effect in an order of which the history tells nothing.

    Args:
        operations: How many.
        clients: How many ask at once.
        keys: How many registers.
        seed: Equal seeds give equal histories.
        together: Whether all clients work on one key, and then on the next; else each draws a key
            for every operation.
    """
    rng = Random(seed)
    history: list[Entry] = []
    registers: dict[str, int] = {}
    waiting: list[list[Any] | None] = [None] * clients
    begun = answered = 0
    while answered < operations:
        client = rng.randrange(clients)
        now = waiting[client]
        time = len(history)
        if now is None:
            if begun == operations:
                continue
            key = f"k{begun * keys // operations if together else rng.randrange(keys)}"
            f, argument = _draw(rng)
            waiting[client] = [f, key, argument, None]
            history.append(Entry(client, "invoke", f, key, argument, time))
            begun += 1
        elif now[3] is None:
            now[3] = _take_effect(registers, *now[:3])
        else:
            f, key, _, (type_, value) = now
            history.append(Entry(client, type_, f, key, value, time))
            waiting[client] = None
            answered += 1
    return history


def _draw(rng: Random) -> tuple[str, Any]:
    choice = rng.random()
    if choice < 0.4:
        return "read", None
    if choice < 0.7:
        return "write", rng.randrange(VALUES)
    return "cas", [rng.randrange(VALUES), rng.randrange(VALUES)]


def _take_effect(registers: dict[str, int], f: str, key: str, argument: Any) -> tuple[str, Any]:
    if f == "read":
        return "ok", registers.get(key)
    if f == "write":
        registers[key] = argument
    elif registers.get(key) == argument[0]:
        registers[key] = argument[1]
    else:
        return "fail", argument
    return "ok", argument


def calibrate() -> float:
    """Return how long a fixed loop of plain Python takes here, in seconds; the best of several."""
    return min(_timed(_calibration_loop)[0] for _ in range(RUNS))


def _calibration_loop() -> int:
    table: dict[int, int] = {}
    total = 0
    for number in range(300_000):
        place = number & 1023
        total += table.get(place, 0) ^ number
        table[place] = total & 0xFFFF
    return total


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = perf_counter()
    result = work()
    return perf_counter() - began, result


def measure(name: str, histories: Sequence[tuple[list[Entry], str]], limit_s: float) -> Row:
    """Check all histories, several times, and return the best."""

    def run() -> list[Result]:
        return [check(history, model) for history, model in histories]

    runs = [_timed(run) for _ in range(RUNS)]
    results: list[Result] = runs[0][1]
    verdicts = [result.verdict for result in results]
    counts = " ".join(f"{verdicts.count(each)} {each}" for each in sorted(set(verdicts)))
    operations = sum(result.operations for result in results)
    return Row(name, operations, counts, min(seconds for seconds, _ in runs), limit_s)


def known_histories(folder: Path, scale: float) -> list[Row]:
    """Measure the known histories of a folder."""
    listed = json.loads((folder / "histories.json").read_text(encoding="utf-8"))["histories"]
    logs = [each for each in listed if each["format"] == "jepsen-log"]
    porcupine = sum(each.get("porcupine_seconds", 0.0) for each in logs)
    files = [(read_file(folder / each["file"]).entries, each["model"]) for each in logs]
    hard = folder / "c50-bad.txt"
    return [
        measure(
            f"{len(logs)} jepsen logs (porcupine: {porcupine:.3f} s)",
            files,
            PORCUPINE_FACTOR * porcupine * scale,
        ),
        measure("hard refuted kv log", [(read_file(hard).entries, "kv-append")], 1.0),
    ]


def main() -> None:
    """Measure, and print."""
    seconds = calibrate()
    scale = seconds / CALIBRATION_REFERENCE_S
    print(f"calibration loop: {seconds:.4f} s, {scale:.2f} times the reference")
    rows = []
    for operations, clients, keys, limit_s in (
        (100_000, 10, 100, 0.5),
        (10_000, 10, 1, 0.3),
        (1_000, 20, 1, 1.0),
    ):
        history = random_register_history(operations, clients, keys, SEED)
        name = f"{operations} operations, {clients} clients, {keys} keys"
        rows.append(measure(name, [(history, "cas-register")], limit_s))
    history = random_register_history(100_000, 10, 100, SEED, together=True)
    rows.append(measure("100000 operations, key after key", [(history, "cas-register")], 5.0))
    if "PAXOS_HISTORIES" in os.environ:
        rows += known_histories(Path(os.environ["PAXOS_HISTORIES"]), scale)
    else:
        print("no known histories: PAXOS_HISTORIES names no folder")
    for row in rows:
        word = "within" if row.within else "OVER"
        at_reference = f"{row.seconds / scale:7.3f} s at reference speed"
        limit = f"{word} {row.limit_s:.3f} s"
        print(f"{row.name:46}{row.seconds:8.3f} s {at_reference}  {limit}  {row.verdicts}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"most memory of the whole benchmark, histories included: {peak} MB")
    document = {
        "calibration_s": seconds,
        "scale": scale,
        "peak_mb": peak,
        "python": sys.version.split()[0],
        "rows": [asdict(row) for row in rows],
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
