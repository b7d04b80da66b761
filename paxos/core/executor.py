"""The executor: runs decided values on the state machines, in slot order, each exactly once.

It owns ``applied_through``, replicated time, the session table and what is counted over all that
was applied, and is the only place that decodes a command. It guards invariants 5 (no gap), 6 (equal
state at equal slots) and 9 (exactly once). It never knows who leads, when a snapshot is due or
where one goes, and it never lets a state machine's exception out: what fails, fails the same way on
every replica.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from itertools import chain, groupby
from operator import attrgetter, itemgetter
from typing import NoReturn

from paxos.core.config import Governing
from paxos.core.errors import ConfigurationInvalid, ensure
from paxos.core.ids import SessionId, Slot
from paxos.core.messages import Malformed, OpenSession, Result, Status, Submit
from paxos.core.sessions import SessionTable
from paxos.core.snapshot import SESSIONS, Snapshot, SnapshotHead, SnapshotPart
from paxos.core.state_machine import CommandFailed, Stamp, StateMachine, Watchable
from paxos.core.value import Value

Unpack = Callable[[bytes], Iterable[Submit | OpenSession | Malformed]]
"""Decodes a batch into submissions. Injected, because the core knows no encoding."""


Apply = Callable[[bytes, Stamp], object]
"""A state machine's ``apply``: it should return bytes, but is somebody else's code."""

# A tuple's own constructor: these two are made for every command.
_new_stamp: Callable[[tuple[int, int, int]], Stamp] = partial(tuple.__new__, Stamp)
_new_result: Callable[[tuple[int, int, int, bytes]], Result] = partial(tuple.__new__, Result)

# Looked up once: a member of an enumeration costs as much to find as a small call.
_DONE, _FAILED = Status.DONE, Status.FAILED


@dataclass(slots=True)
class Applied:
    """What executing one value gave, for the clients: results by session, and sessions by nonce."""

    results: dict[SessionId, list[Result]] = field(default_factory=dict)
    opened: list[tuple[int, SessionId]] = field(default_factory=list)


NOTHING_APPLIED = Applied()

RECURSION_ROOM = 899
"""Frames that may be on the stack from ``Executor.apply`` on: its own few, and a command's.

A command's result depends on how many are left for it, which no release may change: whoever puts
a call more or less between the two must add or take one here.
"""

SLOT_OVERHEAD_BYTES = 64
"""What a slot counts for in ``log_bytes`` beside its value. Replicated: never change it."""

RESULTS_WINDOW_SLOTS = 65_536
"""For so many slots back, at least, it is known which results had been given by then."""

ANY_SIZE = sys.maxsize
"""A bound that no state reaches."""

_FOUNDED_WITH = (
    "every node runs the state machines that the cluster was founded with; to add one, found a new"
    " cluster from a backup, with `paxos restore --like`"
)

_RESULTS_BYTES = 8  # of a results digest that the window keeps per slot
_data_of = itemgetter(3)  # of a Result


class Executor:
    """The state machines of one node, and where in the log they are.

    Args:
        machines: State machines by the name that commands carry. Must be equal on every node.
        unpack: Decodes a batch.
        sessions_max: See ``Limits``.
        session_requests_max: See ``Limits``.
    """

    def __init__(
        self,
        machines: Mapping[str, StateMachine],
        unpack: Unpack,
        sessions_max: int,
        session_requests_max: int,
    ) -> None:
        ensure(SESSIONS not in machines, "a state machine needs a name")
        self._machines = dict(sorted(machines.items()))
        self._watchable = {n: m for n, m in self._machines.items() if isinstance(m, Watchable)}
        self._unpack = unpack
        self._session_requests_max = session_requests_max
        self._sessions = SessionTable(sessions_max)
        self._applied_through: Slot = 0
        self._time = 0  # the latest stamp applied, in microseconds; never goes back
        self._log_bytes = 0  # of everything applied
        self._results_digest = b""  # of every result given
        # The beginning of that, as it was after each slot above ``_window_after``.
        self._window_after: Slot = 0
        self._window = bytearray()
        self._digest = (-1, b"")  # the last digest and the slot it was taken at

    @property
    def applied_through(self) -> Slot:
        """The state reflects exactly the slots up to and including this one."""
        return self._applied_through

    @property
    def time(self) -> int:
        """Replicated time in microseconds: the highest stamp applied so far."""
        return self._time

    @property
    def sessions(self) -> int:
        """How many sessions the table holds."""
        return len(self._sessions)

    @property
    def log_bytes(self) -> int:
        """Size of all values applied so far, ``SLOT_OVERHEAD_BYTES`` for each slot included."""
        return self._log_bytes

    @property
    def results_digest(self) -> bytes:
        """Digest of every result so far: each batch's chained to all before. Empty for none."""
        return self._results_digest

    def results_digest_at(self, slot: Slot) -> bytes | None:
        """Return the beginning of what ``results_digest`` was after ``slot``, if still known.

        That is for the last ``RESULTS_WINDOW_SLOTS`` slots, unless a snapshot was restored since.
        """
        at = (slot - self._window_after - 1) * _RESULTS_BYTES
        if not 0 <= at < len(self._window):
            return None
        return bytes(self._window[at : at + _RESULTS_BYTES])

    def apply(self, slot: Slot, value: Value) -> Applied:
        """Run one decided value. Slots must come in order, each once."""
        ensure(slot == self._applied_through + 1, f"slot {slot} after {self._applied_through}")
        self._applied_through = slot
        self._log_bytes += value.size + SLOT_OVERHEAD_BYTES
        applied = NOTHING_APPLIED
        if value.stamp is not None:
            self._time = max(self._time, value.stamp)
            limit = even_recursion_limit()
            try:
                applied = self._apply_batch(slot, value)
            finally:
                sys.setrecursionlimit(limit)
            self._results_digest = chain_results(self._results_digest, slot, applied)
        self._note_results()
        return applied

    def _note_results(self) -> None:
        self._window += self._results_digest[:_RESULTS_BYTES].ljust(_RESULTS_BYTES, b"\0")
        if len(self._window) >= 2 * RESULTS_WINDOW_SLOTS * _RESULTS_BYTES:
            self._window_after += RESULTS_WINDOW_SLOTS
            del self._window[: RESULTS_WINDOW_SLOTS * _RESULTS_BYTES]

    def _apply_batch(self, slot: Slot, value: Value) -> Applied:
        applied = Applied()
        position = 0
        for submission in self._unpack(value.commands):
            if isinstance(submission, Submit):
                position = self._apply_submit(submission, position, applied)
            elif isinstance(submission, OpenSession):
                applied.opened.append((submission.nonce, self._sessions.open()))
            else:
                failed = Result(submission.first, Status.REFUSED, slot, b"malformed submission")
                applied.results.setdefault(submission.session, []).append(failed)
        return applied

    def query(self, machine: str, query: bytes) -> tuple[Status, bytes]:
        """Ask a state machine. An exception of its code is a FAILED answer."""
        if machine not in self._machines:
            return Status.FAILED, self._unknown_machine(machine)
        try:
            return Status.DONE, only_bytes(self._machines[machine].query(query))
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - the result, alike on every replica
            return Status.FAILED, describe_failure(error)

    def watch(self, machine: str, query: bytes) -> tuple[Status, bytes] | None:
        """Ask a state machine whether there is something to tell; None means not yet."""
        if machine not in self._machines:
            return Status.FAILED, self._unknown_machine(machine)
        watched = self._watchable.get(machine)
        if watched is None:
            return Status.FAILED, f"state machine {machine!r} cannot be watched".encode()
        try:
            answer = watched.watch(query)
            return None if answer is None else (Status.DONE, only_bytes(answer))
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - the result, alike on every replica
            return Status.FAILED, describe_failure(error)

    def snapshot(self, governing: tuple[Governing, ...]) -> Snapshot:
        """Return a snapshot at ``applied_through``, whose parts are of this moment.

        They may be read later, a little at a time, and once; only those of the latest snapshot.

        Args:
            governing: What governs the slots above; see ``Configurations.governing``.
        """
        head = SnapshotHead(
            self._applied_through, self._time, self._log_bytes, self._results_digest, governing
        )
        sections = [(SESSIONS, iter(self._sessions.capture()))]
        sections += [(name, iter(machine.snapshot())) for name, machine in self._machines.items()]

        def parts() -> Iterator[SnapshotPart]:
            for section, chunks in sections:
                for chunk in chunks:
                    yield SnapshotPart(section, chunk)

        return Snapshot(head, parts)

    def release_snapshot(self) -> None:
        """The latest snapshot will not be read to its end: keep nothing more for it."""
        self._sessions.release()

    def restore(self, snapshot: Snapshot) -> bool:
        """Replace the whole state by what ``snapshot`` of an equal executor gave.

        Returns:
            False, and nothing has changed, if it has a head and no state (a node that runs no state
            machine made it).

        Raises:
            ConfigurationInvalid: It is of other state machines. The state is spoilt.
            InvariantBroken: It is no snapshot of an executor. The state is spoilt.
        """
        parts = iter(snapshot.parts())
        first = next(parts, None)
        if first is None:
            return False
        head = snapshot.head
        missing = {SESSIONS: None, **dict.fromkeys(self._machines)}
        for section, of_section in groupby(chain((first,), parts), key=attrgetter("section")):
            if section != SESSIONS and section not in self._machines:
                raise ConfigurationInvalid(
                    f"the snapshot at slot {head.through} holds state of {section!r}, which this"
                    f" node does not run (it runs: {', '.join(self._machines) or 'nothing'}):"
                    f" {_FOUNDED_WITH}"
                )
            text = f"the snapshot at slot {head.through} holds {section!r} twice"
            ensure(section in missing, text)
            del missing[section]
            self._restore_section(section, (part.chunk for part in of_section))
        ensure(SESSIONS not in missing, f"the snapshot at slot {head.through} has no sessions")
        for name in missing:
            self._restore_nothing(name, head.through)
        self._applied_through, self._time = head.through, head.time
        self._log_bytes, self._results_digest = head.log_bytes, head.results_digest
        self._window_after, self._window = head.through - 1, bytearray()
        self._note_results()
        return True

    def _restore_nothing(self, name: str, through: Slot) -> None:
        """Restore a machine whose state was no chunks at all, or that was not there.

        Where a machine tells the two apart the node stops here. It must not begin with an empty
        machine by itself: commands that others refused would be applied, or the other way round.
        """
        try:
            self._restore_section(name, ())
        except MemoryError:
            raise
        except Exception as error:
            raise ConfigurationInvalid(
                f"the snapshot at slot {through} holds no state of {name!r}, which this node runs:"
                f" {_FOUNDED_WITH}"
            ) from error

    def _restore_section(self, section: str, chunks: Iterable[bytes]) -> None:
        restored = self._sessions if section == SESSIONS else self._machines[section]
        restored.restore(chunks)

    def digest(self, bytes_max: int = ANY_SIZE) -> bytes:
        """Return a digest of the whole replicated state at ``applied_through``.

        Equal slots give equal digests on every replica. Reads the whole state: not for hot paths.

        Args:
            bytes_max: A larger state is not read much further than so, and has an empty digest.
        """
        slot, digest = self._digest
        if slot != self._applied_through:
            digest = self._take_digest(bytes_max)
            if digest:
                self._digest = (self._applied_through, digest)
        return digest

    def _take_digest(self, bytes_max: int) -> bytes:
        total, room = blake2b(digest_size=16), bytes_max
        total.update(f"{self._applied_through} {self._time}".encode())
        for chunk in self._sessions.chunks():
            room -= len(chunk)
            if room < 0:
                return b""
            total.update(chunk)
        for name, machine in self._machines.items():
            # Not the chunks' borders: how a state is cut is not part of the state.
            part = blake2b(digest_size=16)
            for chunk in machine.snapshot():
                room -= len(chunk)
                if room < 0:
                    return b""
                part.update(chunk)
            total.update(name.encode() + b"\0" + part.digest())
        return total.digest()

    def _apply_submit(self, submit: Submit, position: int, applied: Applied) -> int:
        out = applied.results.setdefault(submit.session, [])
        slot = self._applied_through
        session = self._sessions.use(submit.session)
        if session is None:
            numbers = range(submit.first, submit.first + len(submit.commands))
            out.extend(Result(n, Status.EXPIRED, slot, b"session expired") for n in numbers)
            return position
        session.acknowledge(submit.acked_through)
        acked_through, results = session.acked_through, session.results
        highest = acked_through + self._session_requests_max
        apply, time = self._apply_of(submit.machine), self._time
        for request, command in enumerate(submit.commands, submit.first):
            if request <= acked_through:
                continue
            result = results.get(request)
            if result is None:
                if request > highest:
                    out.append(Result(request, Status.REFUSED, slot, b"too many requests open"))
                    continue
                # What goes wrong in a command is its result, alike on every replica.
                try:
                    given = apply(command, _new_stamp((slot, position, time)))
                    data = given if isinstance(given, bytes) else refuse_result(given)
                    status = _DONE
                except MemoryError:
                    # Not the command's doing and not alike everywhere: this node must stop.
                    raise
                except Exception as error:  # noqa: BLE001 - the result, alike on every replica
                    status, data = _FAILED, describe_failure(error)
                result = results[request] = _new_result((request, status, slot, data))
                position += 1
            out.append(result)
        return position

    def _apply_of(self, machine: str) -> Apply:
        if machine in self._machines:
            return self._machines[machine].apply
        text = self._unknown_machine(machine).decode()

        def refuse(_command: bytes, _at: Stamp) -> bytes:
            raise CommandFailed(text)

        return refuse

    def _unknown_machine(self, machine: str) -> bytes:
        known = ", ".join(self._machines) or "none"
        return f"no state machine is named {machine!r}; this cluster has: {known}".encode()


def chain_results(before: bytes, slot: Slot, applied: Applied) -> bytes:
    """Return the digest of all results before and those of one more batch.

    Per batch: what is done for each result is done by the interpreter's own loops, 0.05 us of it.
    So the bytes of results are compared here, and their statuses only in snapshots.
    """
    pieces = [before, b"%d %r" % (slot, applied.opened)]
    for session, results in applied.results.items():
        pieces.append(b"%d %d" % (session, len(results)))
        pieces.extend(map(_data_of, results))
    return blake2b(b"\0".join(pieces), digest_size=16).digest()


def even_recursion_limit() -> int:
    """Leave ``RECURSION_ROOM`` frames from here on, on every replica; return the old limit.

    The stack above differs between a leader, a follower and a start, so with one limit for it all
    a command could recurse too deep on one replica only, and leave them different.
    """
    before = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(1)
    except RecursionError as error:
        # The one exact and cheap way to learn the depth: the interpreter refuses, and names it.
        depth = int(str(error).partition("recursion depth ")[2].partition(":")[0])
        sys.setrecursionlimit(depth + RECURSION_ROOM)
    return before


def only_bytes(result: object) -> bytes:
    """Return a state machine's answer, or raise if it is not what the port asks for."""
    return result if isinstance(result, bytes) else refuse_result(result)


def refuse_result(result: object) -> NoReturn:
    """Say that a state machine gave something else than the port asks for."""
    raise CommandFailed(f"the state machine returned {type(result).__qualname__}, not bytes")


def describe_failure(error: Exception) -> bytes:
    """Return the text that every replica gives for an exception of a state machine.

    Only CommandFailed promises a deterministic text; of others only the class is told.
    """
    if isinstance(error, CommandFailed):
        return str(error).encode(errors="backslashreplace")
    return type(error).__qualname__.encode()
