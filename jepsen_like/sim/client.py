"""A simulated client: what it asks of the registers, and what it was promised.

It draws operations, each from a stream of its own number, asks a caller for them, and shows every
outcome to the checkers. It knows nothing of replicas or connections.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from jepsen_like.sim.caller import Caller
from jepsen_like.sim.client_link import ClientLink
from jepsen_like.sim.invariants import Histories
from jepsen_like.sim.plan import Plan
from jepsen_like.sim.recorder import Asked, Recorder
from jepsen_like.sim.schedule import Schedule
from jepsen_like.sim.streams import stream
from jepsen_like.sim.world import World
from jepsen_like.workload.registers import EDGE_CONFIG, REGISTERS, operation
from paxos.core.client import Done, Failed, Outcome, Refused
from paxos.core.ids import Slot
from paxos.core.messages import Level
from statemachines.edge_config_client import (
    Condition,
    Delete,
    Put,
    compare_and_set_command,
    decode_watch,
    put_command,
    transaction_command,
    watch_query,
)

WATCHED = ""
"""The pattern of the edge configuration that is watched: everything."""

PATIENCE_S = 120.0
"""Deadline of a patient operation: longer than any simulation waits for it."""

HOPELESS_TIMEOUTS = 20.0
"""The same, in election timeouts, where damage may leave nobody who could answer."""


def patience_s(plan: Plan) -> float:
    """Return how long a patient operation of a run waits."""
    return HOPELESS_TIMEOUTS * plan.timing.election_timeout_s if plan.beyond else PATIENCE_S


class Turn:
    """One turn of a worker: what it draws, all from one stream, and whom it is for.

    A turn is one numbered operation of its client: a read, or a burst of commands.
    """

    __slots__ = ("last", "number", "position", "rng", "worker")

    def __init__(self, worker: int, number: int, rng: random.Random) -> None:
        self.worker = worker
        self.number = number
        self.rng = rng
        self.position = 0  # of the last command that was drawn
        self.last = True  # its outcome lets the worker go on


@dataclass(slots=True)
class Operation:
    """What a client waits for.

    ``floor`` is the slot that it must not reflect less than. ``final`` ones must be done; a
    ``turn`` that is there goes on when this one ends.
    """

    words: bytes
    floor: Slot
    turn: Turn | None = None
    level: Level = Level.LINEARIZABLE
    final: bool = False
    asked: Asked | None = None


class SimClient:
    """One client's workload.

    Args:
        world: Time.
        caller: Asks for it.
        schedule: Which operations are begun.
        histories: The checker of what clients are told.
        watches: Whether this client also watches a list.
        recorder: Takes what is asked and answered, or None.

    Attributes:
        completed: Commands that are known to have run.
        answered: Operations of any kind that were answered, and not only given up.
        begun: Commands and reads that were asked for.
    """

    def __init__(
        self,
        world: World,
        caller: Caller,
        schedule: Schedule,
        histories: Histories,
        watches: bool,
        recorder: Recorder | None = None,
    ) -> None:
        self.number = caller.number
        self.completed = 0
        self.answered = 0
        self.begun = 0
        self._world = world
        self._plan = world.plan
        self._caller = caller
        self._schedule = schedule
        self._histories = histories
        self._recorder = recorder
        self._rng = stream(world.seed, "watch", self.number)
        self._finals = Turn(0, 0, stream(world.seed, "finals", self.number))
        self._waiting = 0  # commands and reads that have not ended
        self._working = 0  # workers that have something left to do
        self._busy = True  # begins new operations
        self._think_s = world.plan.think_s
        self._patience_s = patience_s(world.plan)
        self._written: dict[bytes, bytes] = {}  # by key: what this client wrote last
        self._watches = watches
        self._watched = (b"", 0)  # key, and how many of its elements were told
        self._changes = 0  # the revision of the edge configuration that was told

    @property
    def waiting(self) -> int:
        """Operations that have not ended, watches aside."""
        return self._waiting

    @property
    def exhausted(self) -> bool:
        """Whether its schedule leaves it nothing to begin, and nothing is under way."""
        return not self._working and not self._waiting

    @property
    def satisfied(self) -> bool:
        """Whether the operations of ``finish`` are done, and a watch was told everything."""
        return not self._busy and not self._waiting and self._told_all()

    def start(self) -> None:
        """Begin to work."""
        if self._watches:
            self._watched = (_draw_key(self._rng, self._plan.keys), 0)
            self._watch()
            if self._plan.edge_config:
                self._watch_changes()
        self._working = self._plan.outstanding
        for worker in range(1, self._plan.outstanding + 1):
            self._think(worker, worker)

    def hurry(self) -> None:
        """Think faster: faults are over, and what is left to do should not take long."""
        self._think_s /= 10

    def stop(self) -> None:
        """Begin no more."""
        self._busy = False

    def finish(self) -> None:
        """Begin no more, but write once and read once, which must be done."""
        self._busy = False
        self._finals.last = False
        self._submit([self._command(self._finals)], self._patience_s, self._finals, final=True)
        self._read(Level.LINEARIZABLE, self._patience_s, self._finals, final=True)
        self._caller.leave()

    # --- the workload ---

    def _think(self, worker: int, number: int) -> None:
        """Let a worker's next turn come."""
        last = self._schedule.operations_max
        if last is not None and number > last:
            self._working -= 1
            return
        turn = Turn(worker, number, stream(self._world.seed, "operation", self.number, number))
        self._world.after(turn.rng.expovariate(1 / self._think_s), self._work, turn)

    def _go_on(self, turn: Turn) -> None:
        self._think(turn.worker, turn.number + self._plan.outstanding)

    def _work(self, turn: Turn) -> None:
        if not self._busy:
            return
        if not self._schedule.begins(self.number, turn.number):
            self._go_on(turn)
            return
        rng = turn.rng
        impatient = rng.random() < self._plan.impatient
        timeout = self._plan.timing.election_timeout_s
        patience = rng.random() * 2 * timeout if impatient else self._patience_s
        if rng.random() < self._plan.reads:
            self._read(rng.choice((Level.LINEARIZABLE, *Level)), patience, turn)
            self._caller.leave()
        else:
            self._burst(turn, rng.randint(1, self._plan.burst), patience)

    def _burst(self, turn: Turn, count: int, patience: float) -> None:
        """Submit commands, together or one behind another: those fill a leader's window."""
        spaced = self._plan.spacing_s > 0.0
        now = range(1 if spaced else count)
        rest = count - len(now)
        turn.last = not rest
        if self._plan.edge_config and turn.rng.random() < 0.3:
            changes = [self._change(turn) for _ in now]
            self._submit(changes, patience, turn, machine=EDGE_CONFIG)
        else:
            self._submit([self._command(turn) for _ in now], patience, turn)
        self._caller.leave()
        if rest:
            self._world.after(self._plan.spacing_s, self._burst, turn, rest, patience)

    def _unique(self, turn: Turn) -> bytes:
        turn.position += 1
        return b"%d.%d.%d" % (self.number, turn.number, turn.position)

    def _command(self, turn: Turn) -> bytes:
        unique, key = self._unique(turn), _draw_key(turn.rng, self._plan.keys)
        name = turn.rng.choice((b"p", b"a", b"a", b"i", b"c", b"x"))
        if name in (b"p", b"c"):
            before = self._written.get(key, b"")
            self._written[key] = unique
            if name == b"c":
                return operation(name, key, before, unique)
        return operation(name, key, unique)

    def _change(self, turn: Turn) -> bytes:
        """Draw a command for the edge configuration. Each writes something unique."""
        rng, unique = turn.rng, self._unique(turn)
        key, other = (f"site-{rng.randrange(3)}/{name}" for name in ("fps", "codec"))
        kind = rng.randrange(3)
        if kind == 0:
            return put_command(key, unique)
        if kind == 1:
            return compare_and_set_command(key, rng.choice((None, b"")), unique)
        present = Condition(key, "version", "!=", 0)
        return transaction_command([present], [Delete(key), Put(other, unique)], [Put(key, unique)])

    def _submit(
        self,
        commands: Sequence[bytes],
        patience: float,
        turn: Turn,
        machine: str = REGISTERS,
        final: bool = False,
    ) -> None:
        floor = self._histories.begins()
        asked = [Operation(command, floor, final=final) for command in commands]
        if self._recorder is not None and machine == REGISTERS:
            for op in asked:
                op.asked = self._recorder.commands(op.words)
        asked[-1].turn = turn if turn.last else None
        on_ends = [partial(self._command_ended, op) for op in asked]
        self._begin(len(asked))
        self._caller.submit(machine, commands, patience, on_ends)

    def _read(self, level: Level, patience: float, turn: Turn, final: bool = False) -> None:
        name = turn.rng.choice((b"p", b"a", b"i"))
        words = operation(name, _draw_key(turn.rng, self._plan.keys))
        floor = 0
        if level is Level.LINEARIZABLE:
            floor = self._histories.begins()
        elif level is Level.SESSION:
            floor = self._histories.seen(self.number)
        op = Operation(words, floor, turn if turn.last else None, level, final)
        if self._recorder is not None and level is Level.LINEARIZABLE:
            op.asked = self._recorder.reads(words)
        self._begin(1)
        self._caller.read(level, REGISTERS, words, patience, partial(self._read_ended, op))

    def _begin(self, count: int) -> None:
        self.begun += count
        self._waiting += count

    def _watch(self) -> None:
        key, start = self._watched
        words = operation(b"a", key, b"%d" % start)
        self._caller.watch(
            REGISTERS, words, self._patience_s, partial(self._told, self._caller.link)
        )
        self._caller.leave()

    def _watch_changes(self) -> None:
        words = watch_query(WATCHED, self._changes)
        told = partial(self._told_changes, self._caller.link)
        self._caller.watch(EDGE_CONFIG, words, self._patience_s, told)
        self._caller.leave()

    # --- outcomes ---

    def _command_ended(self, op: Operation, outcome: Outcome) -> None:
        if isinstance(outcome, Done):
            self.completed += 1
            slot, data = outcome.slot, outcome.data
            self._histories.done(op.words, op.floor, slot, data, False, self.number)
        elif isinstance(outcome, Failed):
            self.completed += 1
            reason = outcome.reason.encode()
            self._histories.done(op.words, op.floor, outcome.slot, reason, True, self.number)
        elif isinstance(outcome, Refused):
            self._histories.refused(op.words)
        else:
            self._histories.unknown()
        self._ended(op, outcome)
        if op.final and not isinstance(outcome, Done | Failed):
            self._submit([self._command(self._finals)], self._patience_s, self._finals, final=True)
            self._world.after(self._think_s, self._caller.leave)

    def _read_ended(self, op: Operation, outcome: Outcome) -> None:
        if isinstance(outcome, Done):
            linearizable = op.level is Level.LINEARIZABLE
            slot, data = outcome.slot, outcome.data
            self._histories.read(op.words, op.floor, slot, data, linearizable, self.number)
        self._ended(op, outcome)
        if op.final and not isinstance(outcome, Done | Failed):
            self._read(op.level, self._patience_s, self._finals, final=True)
            self._world.after(self._think_s, self._caller.leave)

    def _ended(self, op: Operation, outcome: Outcome) -> None:
        self.answered += isinstance(outcome, Done | Failed)
        if self._recorder is not None:
            self._recorder.ends(op.asked, outcome)
        self._waiting -= 1
        if op.turn is not None:
            self._go_on(op.turn)

    def _told(self, asked_on: ClientLink | None, outcome: Outcome) -> None:
        key, start = self._watched
        if isinstance(outcome, Done):
            self.answered += 1
            if self._caller.link is not asked_on:
                self._histories.resumed()
            elements = outcome.data.split(b",")
            self._histories.told(key, start, elements)
            self._watched = (key, start + len(elements))
        self._world.after(self._think_s, self._watch)

    def _told_changes(self, asked_on: ClientLink | None, outcome: Outcome) -> None:
        if isinstance(outcome, Done):
            self.answered += 1
            if self._caller.link is not asked_on:
                self._histories.resumed()
            batch = decode_watch(outcome.data)
            self._histories.told_changes(WATCHED, self._changes, batch)
            self._changes = batch.revision
        self._world.after(self._think_s, self._watch_changes)

    def _told_all(self) -> bool:
        """Whether nothing that happened is still to be told."""
        if not self._watches:
            return True
        key, told = self._watched
        changes = self._histories.revision() if self._plan.edge_config else 0
        return told == self._histories.length(key) and self._changes == changes


def _draw_key(rng: random.Random, keys: int) -> bytes:
    return b"k%d" % rng.randrange(keys)
