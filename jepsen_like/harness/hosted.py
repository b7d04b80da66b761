"""The user's state machine as the cluster hosts it: watched at every call.

``Reference`` runs the log once, in order, without restart or snapshot: what it answers is right by
definition. ``Hosted`` stands between a replica and one node's copy, which must answer the same and
be in the same state after every command. A command carries a number in front, which makes two equal
commands of a user two different ones to the checkers of "exactly once".
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import NamedTuple

from jepsen_like.harness import promises
from jepsen_like.harness.promises import Broken, keep, shown
from paxos.core.executor import describe_failure, even_recursion_limit
from paxos.core.ids import Slot
from paxos.core.state_machine import CommandFailed, Stamp, StateMachine, Watchable

Factory = Callable[[], StateMachine]

MACHINE = "machine"
"""The name under which a cluster of the harness hosts the user's state machine."""

_NUMBER_BYTES = 4


def numbered(number: int, command: bytes) -> bytes:
    """Return ``command`` with its number in front."""
    return number.to_bytes(_NUMBER_BYTES, "big") + command


def unnumbered(data: bytes) -> tuple[int, bytes]:
    """Return what ``numbered`` was given."""
    return int.from_bytes(data[:_NUMBER_BYTES], "big"), data[_NUMBER_BYTES:]


class Answer(NamedTuple):
    """What a state machine made of a command, query or watch. A failed one's data is the reason."""

    data: bytes
    failed: bool

    def __str__(self) -> str:
        return f"a refusal ({self.data.decode()})" if self.failed else shown(self.data)


class Logged(NamedTuple):
    """One command of the log, as the reference ran it."""

    number: int
    command: bytes
    at: Stamp
    answer: Answer
    state: bytes


def state_of(machine: StateMachine) -> bytes:
    """Return a state machine's whole state as one byte string.

    Raises:
        Broken: It has no snapshot.
    """
    return b"".join(chunks_of(machine))


def chunks_of(machine: StateMachine) -> list[bytes]:
    """Return a state machine's snapshot.

    Raises:
        Broken: It has none.
    """
    try:
        chunks = list(machine.snapshot())
    except Exception as error:
        raise Broken(promises.SNAPSHOT_WORKS, f"snapshot raised {error!r}") from error
    for chunk in chunks:
        text = "snapshot gave a chunk that is {!r}, not bytes"
        keep(isinstance(chunk, bytes), promises.SNAPSHOT_WORKS, text, chunk)
    return chunks


def restored(factory: Factory, chunks: Iterable[bytes]) -> StateMachine:
    """Return a fresh state machine, restored.

    Raises:
        Broken: It cannot be.
    """
    machine = factory()
    try:
        machine.restore(chunks)
    except Exception as error:
        text = f"restore raised {error!r} on what snapshot had given"
        raise Broken(promises.SNAPSHOT_WORKS, text) from error
    return machine


def call(verb: Callable[..., bytes | None], *arguments: object) -> Answer | None:
    """Call a state machine as an executor does: every failure is an answer like any other.

    Each call gets the same room to recurse, as on every replica. None stays None.

    Raises:
        Broken: It gave neither bytes nor None.
    """
    limit = even_recursion_limit()
    try:
        result = verb(*arguments)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - the result, alike on every replica
        return Answer(describe_failure(error), True)
    finally:
        sys.setrecursionlimit(limit)
    if result is None:
        return None
    text = "{} gave {!r}, which is not bytes"
    name = getattr(verb, "__name__", "it")
    keep(isinstance(result, bytes), promises.RESULTS_ARE_BYTES, text, name, result)
    return Answer(result, False)


class SlowReading:
    """A snapshot that is read a chunk at a time, as a node does that saves one under load.

    Args:
        name: Whose, for the story.
        machine: Whose snapshot; it is asked for now.
    """

    def __init__(self, name: str, machine: StateMachine) -> None:
        self._name = name
        self._right = chunks_of(machine)
        self._taken: list[bytes] = []
        try:
            self._chunks = iter(machine.snapshot())
        except Exception as error:
            raise Broken(promises.SNAPSHOT_WORKS, f"snapshot raised {error!r}") from error

    def read(self) -> bytes | None:
        """Return the next chunk; None at the end.

        Raises:
            Broken: It is not a chunk of the snapshot that was asked for, or there are too few.
        """
        try:
            chunk = next(self._chunks, None)
        except Exception as error:
            text = f"reading a snapshot of {self._name} on, after commands, raised {error!r}"
            raise Broken(promises.SNAPSHOT_STANDS_STILL, text) from error
        if chunk is not None:
            self._taken.append(chunk)
        text = "a snapshot of {} gave {} when it was asked for, and {} when read later"
        right = self._right if chunk is None else self._right[: len(self._taken)]
        facts = (self._name, shown(b"".join(self._right)), shown(b"".join(self._taken)))
        keep(self._taken == right, promises.SNAPSHOT_STANDS_STILL, text, *facts)
        return chunk


class Reference:
    """The state machine as it would run alone: each command of the log once, nothing else.

    Args:
        factory: Makes it.
    """

    def __init__(self, factory: Factory) -> None:
        self.log: list[Logged] = []
        self.place: dict[int, int] = {}  # of each command's number in the log
        self._factory = factory
        self._machine = factory()

    @property
    def watchable(self) -> bool:
        """Whether the state machine can be watched."""
        return isinstance(self._machine, Watchable)

    def run(self, number: int, command: bytes, at: Stamp) -> Logged:
        """Return what a command gives, which the first node that asks for it appends."""
        known = self.place.get(number)
        if known is not None:
            return self.log[known]
        answer = _command(self._machine, command, at)
        self.place[number] = len(self.log)
        self.log.append(Logged(number, command, at, answer, state_of(self._machine)))
        return self.log[-1]

    def state(self) -> bytes:
        """Return the state at the end of the log."""
        return self.log[-1].state if self.log else state_of(self._machine)

    def applied(self, slot: Slot) -> int:
        """Return how many commands the log holds through a slot."""
        return bisect_right(self.log, slot, key=lambda logged: logged.at.slot)

    def query(self, query: bytes, through: int) -> Answer | None:
        """Return what a question's answer is after so many commands."""
        return call(self._after(through).query, query)

    def watch(self, query: bytes, through: int) -> Answer | None:
        """Return what there is to tell after so many commands, or None."""
        machine = self._after(through)
        return call(machine.watch, query) if isinstance(machine, Watchable) else None

    def _after(self, through: int) -> StateMachine:
        if through == len(self.log):
            return self._machine
        machine = self._factory()
        for logged in self.log[:through]:
            _command(machine, logged.command, logged.at)
        return machine


def _command(machine: StateMachine, command: bytes, at: Stamp) -> Answer:
    answer = call(machine.apply, command, at)
    text = "apply gave None for {}"
    if answer is None:
        raise Broken(promises.RESULTS_ARE_BYTES, text.format(shown(command)))
    return answer


class Hosted:
    """One node's state machine, in one life of the node.

    Args:
        node: Whose.
        factory: Makes it.
        reference: What it must be equal to.
    """

    def __init__(self, node: str, factory: Factory, reference: Reference) -> None:
        self.applied = 0
        self._node = node
        self._factory = factory
        self._reference = reference
        self._machine = factory()
        self._past = ""  # what happened to it, if that may explain a difference
        self._reading: SlowReading | None = None  # a chunk after each command

    def apply(self, data: bytes, at: Stamp) -> bytes:
        """Run a command and compare with the reference."""
        number, command = unnumbered(data)
        before = state_of(self._machine)
        answer = _command(self._machine, command, at)
        after = state_of(self._machine)
        if answer.failed:
            text = "{} refused {} ({}), and its state went from {} to {}"
            facts = (self._node, shown(command), answer.data.decode(), shown(before), shown(after))
            keep(after == before, promises.FAILURE_CHANGES_NOTHING, text, *facts)
        right = self._reference.run(number, command, at)
        self.applied += 1
        self._compare(command, answer, right.answer)
        text = "after {} {}{} has the snapshot {}; a machine that ran the same log alone has {}"
        facts = (shown(command), self._node, self._past, shown(after), shown(right.state))
        broken = promises.SNAPSHOT_IS_ALL if self._past else promises.SAME_RUN_SAME_STATE
        keep(after == right.state, broken, text, *facts)
        self._read_on()
        if answer.failed:
            raise CommandFailed(answer.data.decode())
        return answer.data

    def _read_on(self) -> None:
        """Take a chunk of a snapshot that was asked for before; begin another one at its end."""
        if self._reading is None or self._reading.read() is None:
            self._reading = SlowReading(self._node, self._machine)

    def _compare(self, asked: bytes, answer: Answer | None, right: Answer | None) -> None:
        text = "{}{} answers {} with {}; a machine that ran the same log alone says {}"
        facts = (self._node, self._past, shown(asked), answer or "nothing", right or "nothing")
        broken = promises.SNAPSHOT_IS_ALL if self._past else promises.SAME_RUN_SAME_ANSWERS
        keep(answer == right, broken, text, *facts)

    def query(self, query: bytes) -> bytes:
        """Answer, and see that nothing changed."""
        right, change = self._reference.query, promises.QUERY_CHANGES_NOTHING
        answer = self._look(self._machine.query, right, query, change)
        if answer is None:
            text = f"query gave None for {shown(query)}"
            raise Broken(promises.RESULTS_ARE_BYTES, text)
        return answer

    def _look(
        self,
        verb: Callable[[bytes], bytes | None],
        reference: Callable[[bytes, int], Answer | None],
        query: bytes,
        promise: str,
    ) -> bytes | None:
        before = state_of(self._machine)
        answer = call(verb, query)
        after = state_of(self._machine)
        text = "{} was asked {}, and its state went from {} to {}"
        keep(before == after, promise, text, self._node, shown(query), shown(before), shown(after))
        self._compare(query, answer, reference(query, self.applied))
        if answer is None:
            return None
        if answer.failed:
            raise CommandFailed(answer.data.decode())
        return answer.data

    def snapshot(self) -> Iterable[bytes]:
        """Pass on, and see that it is of this moment however late it is read."""
        reading = SlowReading(self._node, self._machine)
        return iter(reading.read, None)

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the state by that of a snapshot, and see that it is the same."""
        kept = list(chunks)
        machine = restored(self._factory, list(kept))
        before, after = b"".join(kept), state_of(machine)
        text = "{} was restored from the snapshot {}, and its own is {}"
        same = before == after
        keep(same, promises.SNAPSHOT_IS_ALL, text, self._node, shown(before), shown(after))
        self._machine = machine
        self._reading = None
        self._past = ", restored from its snapshot,"

    def renew(self) -> bytes:
        """Go on with a fresh machine, restored from this one's snapshot. Returns the snapshot."""
        chunks = chunks_of(self._machine)
        self.restore(chunks)
        return b"".join(chunks)


class HostedWatchable(Hosted):
    """The same, of a state machine that can be watched."""

    def watch(self, query: bytes) -> bytes | None:
        """Tell, and see that nothing changed."""
        machine = self._machine
        if not isinstance(machine, Watchable):
            raise CommandFailed("it cannot be watched any more")
        right, change = self._reference.watch, promises.WATCH_CHANGES_NOTHING
        return self._look(machine.watch, right, query, change)


def host(node: str, factory: Factory, reference: Reference) -> Hosted:
    """Return a state machine for a node, watchable if the user's is."""
    kind = HostedWatchable if reference.watchable else Hosted
    return kind(node, factory, reference)
