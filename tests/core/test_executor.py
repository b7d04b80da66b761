"""The executor's snapshots: of one moment, whole, and all that a node needs to go on alike."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.core.config import Configuration, Governing
from paxos.core.errors import ConfigurationInvalid, InvariantBroken
from paxos.core.executor import RESULTS_WINDOW_SLOTS, SLOT_OVERHEAD_BYTES, Executor
from paxos.core.ids import Voter
from paxos.core.messages import Malformed, OpenSession, Result, Submit
from paxos.core.quorum import Quorums
from paxos.core.sessions import CHUNK_BYTES, SessionTable
from paxos.core.snapshot import SESSIONS, Snapshot, SnapshotHead, SnapshotPart
from paxos.core.state_machine import Stamp
from paxos.core.value import NOOP, Value

GOVERNING = (Governing(1, Configuration(1, Quorums.majority([Voter(1, 1)]))),)

Batch = list[Submit | OpenSession | Malformed]


class Tally:
    """Adds up; its snapshot is of the moment it was asked for, however late it is read."""

    def __init__(self) -> None:
        self.total = 0

    def apply(self, command: bytes, at: Stamp) -> bytes:
        self.total += int(command)
        return b"%d" % self.total

    def query(self, query: bytes) -> bytes:
        return b"%d" % self.total

    def snapshot(self) -> Iterable[bytes]:
        total = self.total
        return (b"%d" % digit for digit in [total] if total)

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.total = int(b"".join(chunks) or b"0")


class Log:
    """An executor, and batches by number instead of by bytes."""

    def __init__(self, sessions: int = 10) -> None:
        self.batches: list[Batch] = []
        self.machines = {"b": Tally(), "a": Tally()}
        self.executor = Executor(self.machines, self._unpack, sessions, 100)

    def _unpack(self, commands: bytes) -> Batch:
        return self.batches[int(commands)]

    def apply(self, *batch: Submit | OpenSession | Malformed, stamp: int = 1) -> None:
        self.batches.append(list(batch))
        value = Value(stamp, b"%d" % (len(self.batches) - 1))
        self.executor.apply(self.executor.applied_through + 1, value)


def put(session: int, request: int, amount: int, machine: str = "a") -> Submit:
    return Submit(session, request, 0, machine, (b"%d" % amount,))


def snapshot(executor: Executor) -> Snapshot:
    """Take one and read it now, so that it can be read again."""
    taken = executor.snapshot(GOVERNING)
    parts = list(taken.parts())
    return Snapshot(taken.head, lambda: parts)


def test_snapshot_restored_elsewhere_goes_on_alike() -> None:
    log, other = Log(), Log()
    log.apply(OpenSession(1), OpenSession(2), stamp=5)
    log.apply(put(1, 1, 7), put(2, 1, 8, "b"), stamp=9)
    log.executor.apply(3, NOOP)
    assert other.executor.restore(snapshot(log.executor))
    other.batches = log.batches
    for each in (log, other):
        each.apply(put(1, 1, 7), put(1, 2, 1, "b"), OpenSession(3))
    assert log.executor.digest() == other.executor.digest()
    for name in ("applied_through", "time", "log_bytes", "results_digest", "sessions"):
        assert getattr(log.executor, name) == getattr(other.executor, name)
    assert [tally.total for tally in other.machines.values()] == [9, 7]


def test_snapshot_lists_sessions_first_and_machines_by_name() -> None:
    log = Log()
    log.apply(OpenSession(1))
    log.apply(put(1, 1, 1), put(1, 2, 2, "b"))
    taken = snapshot(log.executor)
    assert [part.section for part in taken.parts()] == [SESSIONS, "a", "b"]
    assert taken.head == SnapshotHead(2, 1, 130, log.executor.results_digest, GOVERNING)


def test_log_bytes_count_every_slot_and_its_value() -> None:
    log = Log()
    log.executor.apply(1, NOOP)
    log.apply(OpenSession(1))
    assert log.executor.log_bytes == 2 * SLOT_OVERHEAD_BYTES + 1


def test_snapshot_read_late_shows_the_moment_it_was_taken() -> None:
    log, twin, restored = Log(), Log(), Log()
    for each in (log, twin):
        each.apply(OpenSession(1), OpenSession(2))
        each.apply(put(1, 1, 7), put(2, 1, 8, "b"))
    late = log.executor.snapshot(GOVERNING)
    parts = iter(late.parts())
    log.apply(put(1, 2, 100), put(2, 2, 100, "b"), OpenSession(3))
    first = next(parts)
    log.apply(put(1, 3, 100), Submit(2, 3, 2, "a", (b"1",)))
    rest = [first, *parts]
    assert rest == list(snapshot(twin.executor).parts())
    assert restored.executor.restore(Snapshot(late.head, lambda: rest))
    assert restored.executor.digest() == twin.executor.digest()


def test_snapshot_before_the_latest_is_not_read_in_silence() -> None:
    log = Log()
    log.apply(OpenSession(1))
    early = log.executor.snapshot(GOVERNING)
    log.executor.snapshot(GOVERNING)
    with pytest.raises(InvariantBroken, match="earlier capture"):
        list(early.parts())
    late = log.executor.snapshot(GOVERNING)
    log.executor.release_snapshot()
    assert list(late.parts())


def test_head_without_state_is_not_restored() -> None:
    log = Log()
    log.apply(OpenSession(1))
    before = log.executor.digest()
    assert not log.executor.restore(Snapshot(SnapshotHead(9, 0, 0, b"", GOVERNING), tuple))
    assert log.executor.digest() == before


def test_machine_without_chunks_is_restored_to_nothing() -> None:
    log, other = Log(), Log()
    log.apply(OpenSession(1))
    other.machines["b"].total = 5
    other.executor.restore(snapshot(log.executor))
    assert other.machines["b"].total == 0


@pytest.mark.parametrize(
    ("parts", "error", "text"),
    [
        ([SnapshotPart("c", b"1")], ConfigurationInvalid, "'c', which this node does not run"),
        ([SnapshotPart("a", b"1")], InvariantBroken, "no sessions"),
        (
            [SnapshotPart("a", b"1"), SnapshotPart("b", b"1"), SnapshotPart("a", b"1")],
            InvariantBroken,
            "'a' twice",
        ),
    ],
)
def test_snapshot_of_other_machines_stops_the_node(
    parts: list[SnapshotPart], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        Log().executor.restore(Snapshot(SnapshotHead(9, 0, 0, b"", GOVERNING), lambda: parts))


class Wary(Tally):
    """Its state is never no chunks at all."""

    def snapshot(self) -> Iterable[bytes]:
        return iter((b"%d" % self.total,))

    def restore(self, chunks: Iterable[bytes]) -> None:
        (chunk,) = chunks
        self.total = int(chunk)


def test_snapshot_without_a_machine_that_this_node_runs_stops_it() -> None:
    log = Log()
    log.apply(OpenSession(1))
    wider = Executor({"a": Tally(), "b": Tally(), "c": Wary()}, lambda _: [], 10, 100)
    with pytest.raises(ConfigurationInvalid, match="no state of 'c', which this node runs"):
        wider.restore(snapshot(log.executor))


class Hungry(Tally):
    """There is no memory for its state."""

    def restore(self, chunks: Iterable[bytes]) -> None:
        raise MemoryError


def test_restore_of_nothing_without_memory_says_so_and_blames_no_configuration() -> None:
    log = Log()
    log.apply(OpenSession(1))
    wider = Executor({"a": Tally(), "b": Tally(), "c": Hungry()}, lambda _: [], 10, 100)
    with pytest.raises(MemoryError):
        wider.restore(snapshot(log.executor))


def test_machine_without_a_name_is_refused() -> None:
    with pytest.raises(InvariantBroken, match="needs a name"):
        Executor({"": Tally()}, lambda _: [], 1, 1)


# --- results ---


def test_digest_of_a_state_that_is_too_large_is_empty_and_comes_when_asked_for_all() -> None:
    log, twin = Log(), Log()
    for each in (log, twin):
        each.apply(OpenSession(1))
        each.apply(put(1, 1, 7))
    sizes = {SESSIONS: 0, "a": 0, "b": 0}
    for part in snapshot(log.executor).parts():
        sizes[part.section] += len(part.chunk)
    whole = twin.executor.digest()
    too_few = (0, sizes[SESSIONS])
    assert [log.executor.digest(bytes_max) for bytes_max in too_few] == [b"", b""]
    assert log.executor.digest(sum(sizes.values())) == whole
    assert log.executor.digest(0) == whole  # it is known by now


def test_results_digest_depends_on_every_result_and_on_where_it_stands() -> None:
    digests = set()
    for batches in (
        [[put(1, 1, 1)]],
        [[put(1, 1, 2)]],
        [[put(2, 1, 1)]],
        [[put(1, 1, 1), put(1, 2, 1)]],
        [[put(1, 1, 1)], [put(1, 2, 1)]],
        [[put(1, 1, 1), OpenSession(9)]],
        [[], [put(1, 1, 1)]],
    ):
        log = Log()
        log.apply(OpenSession(1), OpenSession(2))
        for batch in batches:
            log.apply(*batch)
        digests.add(log.executor.results_digest)
    assert len(digests) == 7


def test_results_digest_is_known_for_the_slots_of_the_window_only() -> None:
    log = Log()
    executor = log.executor
    assert executor.results_digest_at(0) is None
    assert executor.results_digest_at(1) is None
    log.apply(OpenSession(1))
    first = executor.results_digest
    executor.apply(2, NOOP)
    assert executor.results_digest_at(1) == executor.results_digest_at(2) == first[:8]
    for slot in range(3, 2 * RESULTS_WINDOW_SLOTS + 1):
        executor.apply(slot, NOOP)
    assert executor.results_digest_at(RESULTS_WINDOW_SLOTS) is None
    assert executor.results_digest_at(RESULTS_WINDOW_SLOTS + 1) == first[:8]
    other = Log().executor
    other.restore(snapshot(executor))
    last = executor.applied_through
    assert other.results_digest_at(last) == first[:8]
    assert other.results_digest_at(last - 1) is None


# --- the session table ---


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["open", "use", "acknowledge", "read"]), st.integers(0, 6)),
    max_size=40,
)


def change(table: SessionTable, action: str, number: int) -> None:
    if action == "open":
        table.open()
        return
    session = table.use(number)
    if session is not None and action == "acknowledge":
        session.acknowledge(number)
    elif session is not None:
        from_number = len(session.results) + session.acked_through + 1
        session.results[from_number] = Result(
            from_number, 0, number, b"x" * (number * CHUNK_BYTES // 4)
        )


def test_table_whose_last_result_fills_a_chunk_ends_with_that_chunk() -> None:
    table = SessionTable(4)
    session = table.use(table.open())
    assert session is not None
    session.results[1] = Result(1, 0, 1, b"x" * CHUNK_BYTES)
    (chunk,) = table.chunks()
    restored = SessionTable(4)
    restored.restore([chunk])
    assert list(restored.chunks()) == [chunk]


@given(ACTIONS, ACTIONS)
def test_capture_of_sessions_is_of_its_moment_whatever_happens_while_it_is_read(
    before: list[tuple[str, int]], during: list[tuple[str, int]]
) -> None:
    table = SessionTable(4)
    for action, number in before:
        change(table, action, number)
    expected = list(table.chunks())
    capture = iter(table.capture())
    seen: list[bytes] = []
    for action, number in during:
        if action == "read":
            seen += [chunk for chunk in [next(capture, b"")] if chunk]
        else:
            change(table, action, number)
    seen += list(capture)
    assert seen == expected
    restored = SessionTable(4)
    restored.restore(seen)
    assert list(restored.chunks()) == expected


@given(ACTIONS, st.integers(1, 100))
def test_sessions_are_restored_wherever_their_chunks_are_cut(
    actions: list[tuple[str, int]], width: int
) -> None:
    table = SessionTable(4)
    for action, number in actions:
        change(table, action, min(number, 1))
    whole = b"".join(table.chunks())
    restored = SessionTable(4)
    restored.restore(whole[at : at + width] for at in range(0, len(whole), width))
    assert b"".join(restored.chunks()) == whole
    for spoilt in (whole[:-1], whole + b"x"):
        with pytest.raises(InvariantBroken):
            SessionTable(4).restore([spoilt])


def test_sessions_that_stand_twice_in_a_snapshot_stop_the_node() -> None:
    table = SessionTable(4)
    table.open()
    whole = b"".join(table.chunks())
    with pytest.raises(InvariantBroken, match="repeats a session"):
        SessionTable(4).restore([whole[:8] + bytes(7) + b"\2" + whole[16:] * 2])


def test_sessions_of_an_old_cluster_are_forgotten_and_their_ids_passed_over() -> None:
    table = SessionTable(4)
    assert table.open() == 1
    table.forget_all(100)
    assert (len(table), table.use(1), table.open()) == (0, None, 102)


def test_capture_lets_go_of_the_table_once_it_is_read_and_only_of_its_own() -> None:
    table = SessionTable(4)
    table.open()
    first = iter(table.capture())
    next(first)
    table.restore([b"".join(table.chunks())])
    expected = list(table.chunks())
    second = table.capture()
    assert next(first, None) is None  # read to its end, behind the restore
    used = table.use(1)
    assert used is not None
    used.acknowledge(5)
    assert list(second) == expected
    assert table._capture is None
