"""A simulated client: the production pure client, a workload, and what it was promised.

It draws operations, gives them to ``paxos.core.client.Client``, carries out that object's effects
on the simulated network, and shows every outcome to the checkers. It knows nothing of replicas.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from jepsen_like.sim.invariants import Histories
from jepsen_like.sim.network import ClientLink
from jepsen_like.sim.node import SimNode
from jepsen_like.sim.world import World
from jepsen_like.workload.registers import EDGE_CONFIG, REGISTERS, operation
from paxos.core.client import (
    Answered,
    Client,
    ClientEffect,
    ClientEvent,
    ClientOptions,
    Connect,
    Connected,
    DeadlinePassed,
    Disconnected,
    Done,
    Ended,
    Failed,
    Outcome,
    Refused,
    Transmit,
)
from paxos.core.ids import Slot
from paxos.core.messages import ClientAnswer, Level, Redirect
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


@dataclass(slots=True)
class Operation:
    """What a client waits for.

    ``floor`` is the slot that it must not reflect less than. ``final`` ones must be done; the
    ``last`` one of a burst lets its worker go on.
    """

    kind: str
    words: bytes
    floor: Slot
    level: Level = Level.LINEARIZABLE
    final: bool = False
    last: bool = True


class SimClient:
    """One client, connected to one node at a time.

    Args:
        world: Time and chance.
        number: Which client this is.
        nodes: All nodes, by the endpoint that names them.
        histories: The checker of what clients are told.
        watches: Whether this client also watches a list.
    """

    def __init__(
        self,
        world: World,
        number: int,
        nodes: dict[str, SimNode],
        histories: Histories,
        watches: bool,
    ) -> None:
        self.number = number
        self.link: ClientLink | None = None
        self.completed = 0  # commands that are known to have run
        self.ended = 0  # operations of any kind and outcome
        self.unreachable: set[str] = set()  # endpoints this client cannot dial
        self._world = world
        self._plan = world.plan
        self._nodes = nodes
        self._histories = histories
        self._rng = random.Random(world.seed * 1000 + 500 + number)
        order = sorted(nodes)
        self._rng.shuffle(order)
        timeout = world.plan.timing.election_timeout_s
        options = ClientOptions(
            window_max=self._rng.choice((2, 64, 8192)),
            submission_commands_max=self._rng.choice((2, 4096)),
            backoff_min_s=0.02,
            backoff_max_s=0.2,
            silence_timeout_s=max(0.5, self._rng.choice((0.7, 2, 5)) * timeout),
            watch_silence_timeout_s=5 * timeout,
        )
        self._client = Client(order, self._rng, options)
        self._waiting: dict[int, Operation] = {}
        self._uniques = 0
        self._busy = True  # draws new operations
        self._think_s = world.plan.think_s
        self._watches = watches
        self._watched = (b"", 0)  # key, and how many of its elements were told
        self._changes = 0  # the revision of the edge configuration that was told
        self._wake_at = float("inf")
        self._wakes = 0

    @property
    def waiting(self) -> int:
        """Operations that have not ended, watches aside."""
        return sum(op.kind in ("command", "read") for op in self._waiting.values())

    @property
    def satisfied(self) -> bool:
        """Whether the operations of ``finish`` are done, and a watch was told everything."""
        return not self._busy and not self.waiting and self._told_all()

    def start(self) -> None:
        """Begin to work."""
        if self._watches:
            self._watched = (self._key(), 0)
            self._watch()
            if self._plan.edge_config:
                self._watch_changes()
        for _ in range(self._plan.outstanding):
            self._world.after(self._rng.expovariate(1 / self._think_s), self._work)

    def hurry(self) -> None:
        """Think faster: faults are over, and what is left to do should not take long."""
        self._think_s /= 10

    def finish(self) -> None:
        """Draw no more, but write once and read once, which must be done."""
        self._busy = False
        self._submit([self._command()], PATIENCE_S, final=True)
        self._read(Level.LINEARIZABLE, PATIENCE_S, final=True)
        self._leave()

    # --- the workload ---

    def _work(self) -> None:
        if not self._busy:
            return
        impatient = self._rng.random() < self._plan.impatient
        timeout = self._plan.timing.election_timeout_s
        patience = self._rng.random() * 2 * timeout if impatient else PATIENCE_S
        if self._rng.random() < self._plan.reads:
            self._read(self._rng.choice((Level.LINEARIZABLE, *Level)), patience)
            self._leave()
        else:
            self._burst(self._rng.randint(1, self._plan.burst), patience)

    def _burst(self, count: int, patience: float) -> None:
        """Submit commands, together or one behind another: those fill a leader's window."""
        spaced = self._plan.spacing_s > 0.0
        now = range(1 if spaced else count)
        rest = count - len(now)
        if self._plan.edge_config and self._rng.random() < 0.3:
            changes = [self._change() for _ in now]
            self._submit(changes, patience, machine=EDGE_CONFIG, last=not rest)
        else:
            self._submit([self._command() for _ in now], patience, last=not rest)
        self._leave()
        if rest:
            self._world.after(self._plan.spacing_s, self._burst, rest, patience)

    def _key(self) -> bytes:
        return b"k%d" % self._rng.randrange(self._plan.keys)

    def _command(self) -> bytes:
        self._uniques += 1
        unique = b"%d.%d" % (self.number, self._uniques)
        name = self._rng.choice((b"p", b"a", b"a", b"i", b"c", b"x"))
        if name == b"c":
            guess = b"%d.%d" % (self.number, self._rng.randint(1, self._uniques))
            return operation(name, self._key(), guess, unique)
        return operation(name, self._key(), unique)

    def _change(self) -> bytes:
        """Draw a command for the edge configuration. Each writes something unique."""
        self._uniques += 1
        unique = b"%d.%d" % (self.number, self._uniques)
        key, other = (f"site-{self._rng.randrange(3)}/{name}" for name in ("fps", "codec"))
        kind = self._rng.randrange(3)
        if kind == 0:
            return put_command(key, unique)
        if kind == 1:
            return compare_and_set_command(key, self._rng.choice((None, b"")), unique)
        present = Condition(key, "version", "!=", 0)
        return transaction_command([present], [Delete(key), Put(other, unique)], [Put(key, unique)])

    def _submit(
        self,
        commands: Sequence[bytes],
        patience: float,
        final: bool = False,
        machine: str = REGISTERS,
        last: bool = True,
    ) -> None:
        floor = self._histories.begins()
        tokens = self._client.submit(machine, commands, self._world.now + patience)
        for token, command in zip(tokens, commands, strict=True):
            ends = last and token == tokens[-1]
            self._waiting[token] = Operation("command", command, floor, final=final, last=ends)

    def _read(self, level: Level, patience: float, final: bool = False) -> None:
        name = self._rng.choice((b"p", b"a", b"i"))
        words = operation(name, self._key())
        floor = 0
        if level is Level.LINEARIZABLE:
            floor = self._histories.begins()
        elif level is Level.SESSION:
            floor = self._client.seen_through
        token = self._client.read(level, REGISTERS, words, self._world.now + patience)
        self._waiting[token] = Operation("read", words, floor, level=level, final=final)

    def _watch(self) -> None:
        key, start = self._watched
        words = operation(b"a", key, b"%d" % start)
        token = self._client.watch(REGISTERS, words, self._world.now + PATIENCE_S)
        self._waiting[token] = Operation("watch", words, 0)
        self._leave()

    def _watch_changes(self) -> None:
        words = watch_query(WATCHED, self._changes)
        token = self._client.watch(EDGE_CONFIG, words, self._world.now + PATIENCE_S)
        self._waiting[token] = Operation("watch changes", words, 0)
        self._leave()

    # --- what the network says ---

    def connected(self, link: ClientLink) -> None:
        """The connection that was dialled is up."""
        self._tell(Connected(str(link.node.voter)))

    def disconnected(self, link: ClientLink) -> None:
        """The connection broke, or could not be made."""
        self.link = None
        self._tell(Disconnected(str(link.node.voter)))

    def receive(self, link: ClientLink, message: ClientAnswer) -> None:
        """An answer came."""
        self._world.deliveries += 1
        if self.link is not link:
            return
        url = None
        if isinstance(message, Redirect) and message.leader:
            url = f"n{message.leader}"
        self._tell(Answered(message, url))

    # --- effects ---

    def _tell(self, event: ClientEvent) -> None:
        if self._world.tracing:
            self._world.say(f"c{self.number} | {event}")
        self._carry_out(self._client.handle(event, self._world.now))

    def _leave(self) -> None:
        """Let what was buffered leave."""
        self._carry_out(self._client.flush(self._world.now))

    def _carry_out(self, effects: Sequence[ClientEffect]) -> None:
        for effect in effects:
            if self._world.tracing:
                self._world.say(f"c{self.number} . {effect}")
            if isinstance(effect, Transmit):
                if self.link is not None:
                    self.link.transmit(effect.message)
            elif isinstance(effect, Ended):
                self._end(self._waiting.pop(effect.token), effect.outcome)
            elif isinstance(effect, Connect):
                self._connect(effect.endpoint)
        self._plan_wake()

    def _connect(self, endpoint: str) -> None:
        if self.link is not None:
            self.link.close()
        self.link = ClientLink(self._world, self, self._nodes[endpoint])
        self.link.dial(endpoint not in self.unreachable)

    def _end(self, op: Operation, outcome: Outcome) -> None:
        """Judge an outcome, and think of what to do next."""
        self.ended += 1
        if op.kind == "watch":
            self._told(outcome)
            return
        if op.kind == "watch changes":
            self._told_changes(outcome)
            return
        if op.kind == "command":
            self._judge_command(op, outcome)
        elif isinstance(outcome, Done):
            linearizable = op.level is Level.LINEARIZABLE
            self._histories.read(op.words, op.floor, outcome.slot, outcome.data, linearizable)
        if op.final and not isinstance(outcome, Done | Failed):
            self._again(op)
        elif op.last:
            self._world.after(self._rng.expovariate(1 / self._think_s), self._work)

    def _judge_command(self, op: Operation, outcome: Outcome) -> None:
        if isinstance(outcome, Done):
            self.completed += 1
            self._histories.done(op.words, op.floor, outcome.slot, outcome.data, False)
        elif isinstance(outcome, Failed):
            self.completed += 1
            reason = outcome.reason.encode()
            self._histories.done(op.words, op.floor, outcome.slot, reason, True)
        elif isinstance(outcome, Refused):
            self._histories.refused(op.words)

    def _again(self, op: Operation) -> None:
        """What is asked for at the end must be done: ask for it once more."""
        if op.kind == "command":
            self._submit([self._command()], PATIENCE_S, final=True)
        else:
            self._read(op.level, PATIENCE_S, final=True)
        self._world.after(self._think_s, self._leave)

    def _told(self, outcome: Outcome) -> None:
        key, start = self._watched
        if isinstance(outcome, Done):
            elements = outcome.data.split(b",")
            self._histories.told(key, start, elements)
            self._watched = (key, start + len(elements))
        self._world.after(self._think_s, self._watch)

    def _told_changes(self, outcome: Outcome) -> None:
        if isinstance(outcome, Done):
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

    # --- time ---

    def _plan_wake(self) -> None:
        when = self._client.next_deadline()
        if when < self._wake_at:
            self._wake_at = when
            self._wakes += 1
            self._world.at(when, self._wake, self._wakes)

    def _wake(self, number: int) -> None:
        if number != self._wakes:
            return
        self._wake_at = float("inf")
        if self._client.next_deadline() <= self._world.now:
            self._tell(DeadlinePassed())
        else:
            self._plan_wake()
