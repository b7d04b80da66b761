"""One PySyncObj process: a replicated dictionary, and on request a load on it.

Run as a program: ``pysyncobj_node.py ADDRESS OTHER,OTHER DIRECTORY|- batched|at-once``. Requests
come as JSON lines on standard input and are answered on standard output; ``measuring`` and ``done``
of a closed loop, and when the writes of an open one completed, go to standard error.
"""

from __future__ import annotations

import importlib
import itertools
import json
import logging
import math
import os
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

FILL_TIMEOUT_S = 600.0
KEYS = [f"k{number:015}" for number in range(1000)]


def make_node(
    address: str, others: list[str], directory: str, *, batched: bool
) -> tuple[Any, Any, Any]:
    """Return the PySyncObj node, its dictionary, and what reads through its log."""
    library = importlib.import_module("pysyncobj")
    batteries = importlib.import_module("pysyncobj.batteries")
    options: dict[str, Any] = {"appendEntriesUseBatch": batched}
    if directory != "-":
        Path(directory).mkdir(exist_ok=True)
        options["journalFile"] = f"{directory}/journal"
        options["fullDumpFile"] = f"{directory}/dump"
    dictionary = batteries.ReplDict()

    consumer: Any = library.SyncObjConsumer

    class Reads(consumer):  # type: ignore[misc]  # the library is not typed
        """Replicates reads, since the library has no linearizable one."""

        def _serialize(self) -> dict[str, Any]:
            return {}

        @library.replicated  # type: ignore[untyped-decorator]  # the library is not typed
        def read(self, key: str) -> Any:
            return dictionary.get(key)

    reads = Reads()
    settings = library.SyncObjConf(**options)
    node = library.SyncObj(address, others, conf=settings, consumers=[dictionary, reads])
    return node, dictionary, reads


class ClosedLoop:
    """Operations that are each followed by the next at once, from the callback."""

    def __init__(self, dictionary: Any, reads: Any, request: dict[str, Any]) -> None:
        self._dictionary = dictionary
        self._reads = reads
        self._read_share = request["read_share"]
        self._live = request["outstanding"]
        self._value = "v" * request["value_size"]
        self._left = request.get("writes", math.inf)
        self._warmup_s = request.get("warmup_s", 0.0)
        self._duration_s = request.get("duration_s", 0.0)
        self._random = random.Random(1)
        self._latencies: list[float] = []
        self._errors = 0
        self._measuring = False
        self._filling = False
        self._stopping = False
        self._drained = threading.Event()

    def run(self) -> dict[str, Any]:
        """Run the loop for its time and return what it measured."""
        for _ in range(self._live):
            self._next()
        time.sleep(self._warmup_s)
        print("measuring", file=sys.stderr, flush=True)
        started = time.perf_counter()
        self._measuring = True
        time.sleep(self._duration_s)
        self._measuring = False
        seconds = time.perf_counter() - started
        print("done", file=sys.stderr, flush=True)
        self._stopping = True
        self._drained.wait(10)
        ordered = sorted(self._latencies)
        return {
            "n": len(ordered),
            "errors": self._errors,
            "secs": seconds,
            "p50_ms": _milliseconds(ordered, 0.5),
            "p90_ms": _milliseconds(ordered, 0.9),
            "p99_ms": _milliseconds(ordered, 0.99),
            "p999_ms": _milliseconds(ordered, 0.999),
        }

    def fill(self) -> dict[str, Any]:
        """Run the loop until all of its writes have ended."""
        self._filling = True
        for _ in range(self._live):
            self._next()
        self._drained.wait(FILL_TIMEOUT_S)
        return {"errors": self._errors + self._live}

    def _next(self) -> None:
        self._left -= 1
        if self._stopping or self._left < 0:
            self._live -= 1
            if self._live == 0:
                self._drained.set()
            return
        started = time.perf_counter()

        def ended(_result: object, error: int) -> None:
            self._ended(started, error)

        key = self._random.choice(KEYS)
        if self._random.random() < self._read_share:
            self._reads.read(key, callback=ended)
        else:
            self._dictionary.set(key, self._value, callback=ended)

    def _ended(self, started: float, error: int) -> None:
        if error:
            self._errors += self._measuring or self._filling
        elif self._measuring:
            self._latencies.append(time.perf_counter() - started)
        self._next()


class OpenLoop:
    """Writes that arrive in a thread of their own, so many a second, until it is halted."""

    def __init__(self, dictionary: Any, request: dict[str, Any]) -> None:
        self._dictionary = dictionary
        self._rate = request["rate"]
        self._value = "v" * request["value_size"]
        self._halted = threading.Event()
        self._thread = threading.Thread(target=self._arrive)
        self._thread.start()

    def halt(self) -> None:
        """End it, and say so on standard error."""
        self._halted.set()
        self._thread.join()
        print("end", file=sys.stderr, flush=True)

    def _arrive(self) -> None:
        began = time.monotonic()
        for number in itertools.count():
            if self._halted.wait(max(0.0, began + number / self._rate - time.monotonic())):
                return
            key = KEYS[number % len(KEYS)]
            self._dictionary.set(key, self._value, callback=self._ended)

    def _ended(self, _result: object, error: int) -> None:
        if not error and not self._halted.is_set():
            print(f"{time.time():.6f}", file=sys.stderr, flush=True)


def _milliseconds(ordered: list[float], share: float) -> float | None:
    return round(ordered[int(share * len(ordered))] * 1000, 3) if ordered else None


def status(node: Any) -> dict[str, Any]:
    """Return what a node says of itself."""
    said = node.getStatus()
    leader = said["leader"]
    return {
        "leader": str(leader) if leader else None,
        "ready": node.isReady(),
        "applied": said["last_applied"],
    }


def main() -> None:
    """Answer requests until standard input ends."""
    address, others, directory, appending = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    node, dictionary, reads = make_node(
        address, others.split(","), directory, batched=appending == "batched"
    )
    arriving: OpenLoop | None = None
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        match request["command"]:
            case "status":
                answer = status(node)
            case "fill":
                answer = ClosedLoop(dictionary, reads, request).fill()
            case "arrive":
                arriving = OpenLoop(dictionary, request)
            case "halt" if arriving is not None:
                arriving.halt()
            case _:
                answer = ClosedLoop(dictionary, reads, request).run()
        print(json.dumps(answer), flush=True)
    os._exit(0)  # the library's own thread would keep the process


if __name__ == "__main__":
    main()
