"""Invariants 5, 6 and 9: every node runs the same commands in the same places, each once.

The first node that runs a command writes the log that the others, and all answers to clients, are
compared with; a model of each state machine, run beside the cluster's, says what it must give.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import NamedTuple

from jepsen_like.sim.invariants.facts import NodeFacts
from jepsen_like.sim.invariants.ledger import Ledger
from jepsen_like.sim.invariants.violation import require
from jepsen_like.workload.registers import REGISTERS, SEPARATOR, operation
from paxos.core.ids import Slot
from paxos.core.state_machine import CommandFailed, Stamp, StateMachine


class Ran(NamedTuple):
    """One command as a node ran it. A failed one's result holds the reason."""

    machine: str
    at: Stamp
    command: bytes
    result: bytes
    failed: bool

    def __str__(self) -> str:
        outcome = "fails with" if self.failed else "gives"
        place = f"{self.at.slot}.{self.at.position} @{self.at.time}"
        return f"{self.machine} {self.command!r} at {place} {outcome} {self.result!r}"


def describe(error: Exception) -> bytes:
    """Return what every replica must make of a state machine's exception."""
    if isinstance(error, CommandFailed):
        return str(error).encode()
    return type(error).__qualname__.encode()


class StateMachines:
    """The log of commands as it was really run.

    Args:
        ledger: What is chosen.
        models: By name, a state machine of each kind, to be run beside the cluster's.
    """

    def __init__(self, ledger: Ledger, models: Mapping[str, StateMachine]) -> None:
        self.ran: list[Ran] = []
        self.where: dict[bytes, int] = {}  # by command: each is unique
        self.lists: dict[bytes, list[bytes]] = {}  # by key: what was appended
        self.models = models
        self._ledger = ledger
        self._slots: list[Slot] = []  # of each command that ran
        self._versions: dict[bytes, tuple[list[Slot], list[bytes]]] = {}  # by query

    def runs(
        self,
        facts: NodeFacts,
        machine: str,
        at: Stamp,
        command: bytes,
        result: bytes,
        failed: bool,
    ) -> None:
        """A node's state machine ran a command."""
        index = facts.applied
        facts.applied += 1
        if index == len(self.ran):
            self._first(facts, Ran(machine, at, command, result, failed))
        elif self.ran[index] != (machine, at, command, result, failed):
            ran = Ran(machine, at, command, result, failed)
            text = "command {} of {} is: {}; but of another node: {}"
            require(False, 6, text, index + 1, facts.voter, ran, self.ran[index])

    def restored(self, facts: NodeFacts) -> None:
        """A node's state machine was made from a snapshot: it need not run what that reflects."""
        facts.applied = bisect_right(self._slots, facts.restoring)

    def _first(self, facts: NodeFacts, ran: Ran) -> None:
        at, command = ran.at, ran.command
        text = "{} runs slot {}, where no phase-2 quorum has accepted a value"
        require(at.slot in self._ledger.chosen, 8, text, facts.voter, at.slot)
        text = "{} runs slot {} though only slots through {} are chosen"
        chosen_through = self._ledger.chosen_through
        require(at.slot <= chosen_through, 5, text, facts.voter, at.slot, chosen_through)
        if self.ran:
            last = self.ran[-1]
            in_order = at[:2] > last.at[:2] and at.time >= last.at.time
            require(in_order, 5, "{} runs {} behind {}", facts.voter, ran, last)
        text = "{} runs again: {}"
        require(command not in self.where, 9, text, facts.voter, ran)
        self.where[command] = len(self.ran)
        self.ran.append(ran)
        self._slots.append(at.slot)
        self._compare_model(ran)
        if ran.machine == REGISTERS and not ran.failed:
            self._remember(at.slot, command)

    def _compare_model(self, ran: Ran) -> None:
        try:
            result, failed = self.models[ran.machine].apply(ran.command, ran.at), False
        except Exception as error:  # noqa: BLE001 - a careless state machine may raise anything
            result, failed = describe(error), True
        text = "{}, but the model says {!r}"
        require((result, failed) == (ran.result, ran.failed), 6, text, ran, result)

    def _remember(self, slot: Slot, command: bytes) -> None:
        """Note the version of a register, list or counter that a command made."""
        name, key, *arguments = command.split(SEPARATOR)
        if name == b"a":
            self.lists.setdefault(key, []).append(arguments[-1])
        query = operation(b"p" if name == b"c" else name, key)
        slots, values = self._versions.setdefault(query, ([0], [self._empty(query)]))
        slots.append(slot)
        values.append(self.models[REGISTERS].query(query))

    @staticmethod
    def _empty(query: bytes) -> bytes:
        return b"0" if query[:1] == b"i" else b""

    def value_at(self, query: bytes, slot: Slot) -> bytes:
        """Return what ``query`` says of the state at ``slot``."""
        known = self._versions.get(query)
        if known is None:
            return self._empty(query)
        slots, values = known
        return values[bisect_right(slots, slot) - 1]

    def applied(self, facts: NodeFacts, applied_through: Slot) -> None:
        """A node says that it has applied everything through a slot."""
        expected = bisect_right(self._slots, applied_through)
        text = "{} applied through {} but ran {} commands instead of {}"
        same = facts.applied == expected
        require(same, 6, text, facts.voter, applied_through, facts.applied, expected)
