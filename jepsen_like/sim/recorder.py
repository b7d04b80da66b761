"""Records what simulated clients asked of the registers, and has it judged without the log.

Beside the log as a witness (``invariants.histories``) this is a second opinion that trusts nothing
but what clients saw. Weaker reads and the edge configuration have judges of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jepsen_like.checkers.linearizability import Budget, check
from jepsen_like.history import Entry, EntryType
from jepsen_like.sim.invariants import require
from jepsen_like.sim.world import World
from jepsen_like.workload.registers import SEPARATOR
from paxos.core.client import Done, Failed, Outcome, Refused

BUDGET = Budget(seconds=5.0, memory_bytes=100_000_000)
"""For one kind of object of one run, which has a few hundred operations."""

KINDS = {b"p": "register", b"c": "register", b"a": "list", b"i": "counter"}
"""What an operation of the registers is about; ``x`` is about nothing."""

MODELS = {"register": "cas-register", "list": "append", "counter": "counter"}

COMMANDS = {b"p": "write", b"c": "cas", b"a": "append", b"i": "add"}


@dataclass(slots=True)
class Asked:
    """An operation that was begun."""

    process: int
    f: str
    key: str
    value: Any


class Recorder:
    """The history of one run."""

    def __init__(self, world: World) -> None:
        self.entries: list[Entry] = []
        self._world = world
        self._processes = 0
        self._idle: list[int] = []  # processes that ask nothing now

    def commands(self, words: bytes) -> Asked | None:
        """A command is asked for."""
        name, key, *arguments = words.split(SEPARATOR)
        if name not in COMMANDS:
            return None
        value: Any = arguments[-1].decode()
        if name == b"c":
            value = [_text(arguments[0]), value]
        elif name == b"i":
            value = 1
        return self._begin(COMMANDS[name], _key(name, key), value)

    def reads(self, words: bytes) -> Asked:
        """A linearizable read is asked for."""
        name, key, *_ = words.split(SEPARATOR)
        return self._begin("read", _key(name, key), None)

    def ends(self, asked: Asked | None, outcome: Outcome) -> None:
        """It ended."""
        if asked is None:
            return
        if isinstance(outcome, Done):
            value = asked.value
            if asked.f == "read":
                value = _answer(asked.key, outcome.data)
            self._end(asked, "ok", value)
        elif isinstance(outcome, Failed):
            # The one command of the registers that can fail is a compare-and-set that was told no.
            self._end(asked, "fail", asked.value)
        elif isinstance(outcome, Refused):
            self._end(asked, "fail", asked.value, outcome.reason)
        else:
            self._end(asked, "info", asked.value, "outcome unknown")

    def _begin(self, f: str, key: str, value: Any) -> Asked:
        if self._idle:
            process = self._idle.pop()
        else:
            self._processes += 1
            process = self._processes
        self._note(process, "invoke", f, key, value)
        return Asked(process, f, key, value)

    def _end(self, asked: Asked, kind: EntryType, value: Any, error: str | None = None) -> None:
        self._note(asked.process, kind, asked.f, asked.key, value, error)
        if kind != "info":
            self._idle.append(asked.process)

    def _note(
        self,
        process: int,
        kind: EntryType,
        f: str,
        key: str,
        value: Any,
        error: str | None = None,
    ) -> None:
        time = int(self._world.now * 1e9)
        self.entries.append(Entry(process, kind, f, key, value, time, error))

    def of(self, kind: str) -> list[Entry]:
        """Return the part of the history that is about one kind of object."""
        return [entry for entry in self.entries if str(entry.key).startswith(kind)]

    def judge(self) -> None:
        """Have the whole history judged.

        Raises:
            Violation: It is not linearizable. What cannot be shown in time is let pass.
        """
        for kind, model in MODELS.items():
            found = check(self.of(kind), model, BUDGET)
            require(found.verdict != "no", 11, "{}: {}", found.key, found.reason)


def _key(name: bytes, key: bytes) -> str:
    return f"{KINDS[name]} {key.decode()}"


def _text(value: bytes) -> str | None:
    return value.decode() or None


def _answer(key: str, data: bytes) -> Any:
    if key.startswith("counter"):
        return int(data)
    if key.startswith("list"):
        return data.decode().split(",") if data else []
    return _text(data)
