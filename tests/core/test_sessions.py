"""Sessions and the executor: exactly once, the same everywhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.core.errors import InvariantBroken
from paxos.core.executor import RECURSION_ROOM, Executor
from paxos.core.messages import Malformed, OpenSession, Result, Status, Submit
from paxos.core.sessions import SessionTable
from paxos.core.state_machine import CommandFailed, Stamp, StateMachine
from paxos.core.value import NOOP, Value

Batch = list[Submit | OpenSession | Malformed]


class Journal:
    """Appends what it is given; some commands make it misbehave."""

    def __init__(self) -> None:
        self.entries: list[tuple[bytes, Stamp]] = []

    def apply(self, command: bytes, at: Stamp) -> bytes:
        if command == b"refuse":
            raise CommandFailed("no, \udcff")
        if command == b"crash":
            raise KeyError(id(self))
        if command == b"out of memory":
            raise MemoryError
        if command == b"wrong type":
            return 5  # type: ignore[return-value]
        self.entries.append((command, at))
        return b"%d" % len(self.entries)

    def query(self, query: bytes) -> bytes:
        if query == b"refuse":
            raise CommandFailed("unknown")
        if query == b"out of memory":
            raise MemoryError
        return b",".join(command for command, _ in self.entries)

    def snapshot(self) -> Iterable[bytes]:
        return [repr(self.entries).encode()]

    def restore(self, chunks: Iterable[bytes]) -> None:
        raise NotImplementedError


class Watched(Journal):
    def watch(self, query: bytes) -> bytes | None:
        if query == b"refuse":
            raise CommandFailed("compacted")
        if query == b"out of memory":
            raise MemoryError
        return b"more" if len(self.entries) > int(query) else None


class Log:
    """An executor, and batches by number instead of by bytes."""

    def __init__(self, machine: StateMachine | None = None, sessions: int = 10, window: int = 5):
        self.batches: list[Batch] = []
        self.machine = machine or Journal()
        self.executor = Executor({"j": self.machine}, self._unpack, sessions, window)

    def _unpack(self, commands: bytes) -> Batch:
        return self.batches[int(commands)]

    def apply(self, *batch: Submit | OpenSession | Malformed, stamp: int = 1) -> list[Result]:
        self.batches.append(list(batch))
        value = Value(stamp, b"%d" % (len(self.batches) - 1))
        applied = self.executor.apply(self.executor.applied_through + 1, value)
        self.opened = [session for _, session in applied.opened]
        return [result for results in applied.results.values() for result in results]

    def open(self) -> int:
        self.apply(OpenSession(77))
        return self.opened[0]


def submit(session: int, first: int, *commands: bytes, acked: int = 0, to: str = "j") -> Submit:
    return Submit(session, first, acked, to, commands)


def outcome(results: list[Result]) -> list[tuple[int, int, bytes]]:
    return [(r.request, r.status, r.data) for r in results]


def test_request_applied_once_and_answered_again() -> None:
    """Invariant 9: a retry gets the stored result, slot included."""
    log = Log()
    session = log.open()
    first = log.apply(submit(session, 1, b"a"))
    again = log.apply(submit(session, 1, b"a"))
    assert first == again == [Result(1, Status.DONE, 2, b"1")]


def test_request_number_used_for_another_command_gets_the_first_ones_result() -> None:
    log = Log()
    session = log.open()
    log.apply(submit(session, 1, b"a", b"b"))
    assert outcome(log.apply(submit(session, 2, b"c"))) == [(2, Status.DONE, b"2")]


def test_acknowledged_request_is_never_applied_again_and_not_answered() -> None:
    log = Log()
    session = log.open()
    log.apply(submit(session, 1, b"a", b"b"))
    log.apply(submit(session, 3, b"c", acked=2))
    assert log.apply(submit(session, 1, b"a", b"b", b"c")) == [Result(3, Status.DONE, 3, b"3")]


def test_acknowledgement_never_goes_back() -> None:
    log = Log()
    session = log.open()
    log.apply(submit(session, 1, b"a", acked=0))
    log.apply(submit(session, 2, b"b", acked=1))
    assert log.apply(submit(session, 1, b"a", acked=0)) == []


def test_acknowledgement_far_beyond_everything_costs_nothing() -> None:
    log = Log()
    session = log.open()
    log.apply(submit(session, 1, b"a"))
    far = 2**62
    assert outcome(log.apply(submit(session, far + 1, b"b", acked=far))) == [
        (far + 1, Status.DONE, b"2")
    ]


def test_request_beyond_the_window_is_refused_and_not_applied() -> None:
    log = Log(window=2)
    session = log.open()
    results = log.apply(submit(session, 1, b"a", b"b", b"c"))
    assert [r.status for r in results] == [Status.DONE, Status.DONE, Status.REFUSED]
    assert outcome(log.apply(submit(session, 3, b"c", acked=2))) == [(3, Status.DONE, b"3")]


def test_unknown_session_is_expired_and_nothing_is_applied() -> None:
    log = Log()
    assert [r.status for r in log.apply(submit(5, 1, b"a", b"b"))] == [Status.EXPIRED] * 2
    assert log.executor.query("j", b"") == (Status.DONE, b"")


def test_least_recently_used_session_is_evicted_and_its_retry_is_never_applied() -> None:
    log = Log(sessions=2)
    old, young = log.open(), log.open()
    log.apply(submit(old, 1, b"a"))  # now the young one is the least recently used
    newest = log.open()
    assert outcome(log.apply(submit(young, 1, b"b")))[0][1] == Status.EXPIRED
    assert outcome(log.apply(submit(old, 1, b"a"))) == [(1, Status.DONE, b"1")]
    assert log.executor.sessions == 2
    assert newest == 3


def test_command_that_raises_fails_alike_everywhere_and_stops_nothing() -> None:
    """Only CommandFailed's text is told, because only it promises to be the same."""
    log = Log()
    session = log.open()
    results = log.apply(submit(session, 1, b"refuse", b"crash", b"wrong type", b"fine"))
    assert outcome(results) == [
        (1, Status.FAILED, b"no, \\udcff"),
        (2, Status.FAILED, b"KeyError"),
        (3, Status.FAILED, b"the state machine returned int, not bytes"),
        (4, Status.DONE, b"1"),
    ]


def test_command_out_of_memory_stops_the_node() -> None:
    """Not the command's doing and not alike on every replica: no result may come of it."""
    log = Log()
    session = log.open()
    with pytest.raises(MemoryError):
        log.apply(submit(session, 1, b"out of memory"))


class Nested(Journal):
    """Its commands say how deep to recurse."""

    def apply(self, command: bytes, at: Stamp) -> bytes:
        def depth(left: int) -> int:
            return 0 if left == 0 else 1 + depth(left - 1)

        return b"%d" % depth(int(command))


@pytest.fixture
def _untraced() -> Iterator[None]:
    """Stop what looks at every call, as a measurement of coverage: it takes a frame of its own."""
    trace = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(trace)


@pytest.mark.usefixtures("_untraced")
def test_command_may_recurse_exactly_as_deep_as_in_every_release() -> None:
    """A release that gave it another frame would make replicas differ while both run."""
    commands = [b"%d" % deep for deep in range(890, 905)]
    log = Log(Nested(), window=100)
    results = log.apply(submit(log.open(), 1, *commands))
    assert [r.data for r in results if r.status == Status.DONE] == commands[:8]


@pytest.mark.parametrize("above", [0, 40, 200])
def test_command_may_recurse_as_deep_whatever_called_it(above: int) -> None:
    """A leader, a follower and a start have different stacks; the result must be the same."""

    def deeper(frames: int) -> list[Result]:
        if frames:
            return deeper(frames - 1)
        commands = [b"%d" % deep for deep in range(RECURSION_ROOM - 60, RECURSION_ROOM + 10)]
        log = Log(Nested(), window=100)
        return log.apply(submit(log.open(), 1, *commands))

    limit = sys.getrecursionlimit()
    failed = [r.request for r in deeper(above) if r.status == Status.FAILED]
    assert sys.getrecursionlimit() == limit
    assert failed == [r.request for r in deeper(0) if r.status == Status.FAILED]


def test_command_for_an_unknown_machine_fails_and_names_the_known_ones() -> None:
    log = Log()
    session = log.open()
    ((_, status, data),) = outcome(log.apply(submit(session, 1, b"a", to="x")))
    assert status == Status.FAILED
    assert b"'x'" in data
    assert b"this cluster has: j" in data


def test_malformed_submission_is_refused_and_harms_no_other() -> None:
    log = Log()
    session = log.open()
    results = log.apply(Malformed(9, 4), submit(session, 1, b"a"))
    assert outcome(results) == [(4, Status.REFUSED, b"malformed submission"), (1, 0, b"1")]


def test_stamp_tells_slot_position_and_a_time_that_never_goes_back() -> None:
    log = Log()
    session = log.open()
    log.apply(submit(session, 1, b"a", b"b"), stamp=50)
    log.apply(submit(session, 3, b"c"), stamp=40)
    assert isinstance(log.machine, Journal)
    assert [stamp for _, stamp in log.machine.entries] == [(2, 0, 50), (2, 1, 50), (3, 0, 50)]
    assert log.executor.time == 50


def test_position_counts_what_is_applied_over_all_submissions_of_a_batch() -> None:
    log = Log()
    session = log.open()
    log.apply(submit(session, 1, b"a"))
    log.apply(submit(session, 1, b"a"), submit(session, 2, b"b"), submit(session, 3, b"c"))
    assert isinstance(log.machine, Journal)
    assert [stamp.position for _, stamp in log.machine.entries] == [0, 0, 1]


def test_noop_is_applied_as_nothing() -> None:
    log = Log()
    applied = log.executor.apply(1, NOOP)
    assert (applied.results, applied.opened, log.executor.applied_through) == ({}, [], 1)


def test_executor_refuses_a_gap_and_a_repetition() -> None:
    """Invariant 5."""
    executor = Log().executor
    executor.apply(1, NOOP)
    for slot in (1, 3):
        with pytest.raises(InvariantBroken):
            executor.apply(slot, NOOP)


def test_query_failures_are_answers() -> None:
    executor = Log().executor
    assert executor.query("j", b"refuse") == (Status.FAILED, b"unknown")
    assert executor.query("x", b"")[0] == Status.FAILED
    with pytest.raises(MemoryError):
        executor.query("j", b"out of memory")


def test_watch_answers_once_there_is_something() -> None:
    log = Log(Watched())
    session = log.open()
    assert log.executor.watch("j", b"0") is None
    log.apply(submit(session, 1, b"a"))
    assert log.executor.watch("j", b"0") == (Status.DONE, b"more")
    assert log.executor.watch("j", b"refuse") == (Status.FAILED, b"compacted")
    with pytest.raises(MemoryError):
        log.executor.watch("j", b"out of memory")


def test_watch_of_what_cannot_be_watched_fails() -> None:
    executor = Log().executor
    assert executor.watch("j", b"0") == (Status.FAILED, b"state machine 'j' cannot be watched")
    assert executor.watch("x", b"0") is not None


def test_digest_differs_by_state_by_results_and_by_time_and_is_kept_per_slot() -> None:
    def after(*commands: bytes, stamp: int = 1) -> bytes:
        log = Log()
        session = log.open()
        log.apply(submit(session, 1, *commands), stamp=stamp)
        assert log.executor.digest() == log.executor.digest()
        return log.executor.digest()

    assert after(b"a") == after(b"a")
    assert len({after(b"a"), after(b"b"), after(b"refuse"), after(b"a", stamp=2)}) == 4


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(0, 3)), max_size=40))
def test_sessions_against_a_naive_twin(steps: list[tuple[int, int, int]]) -> None:
    """Random retries and acknowledgements: each request is applied at most once, ever."""
    log = Log(sessions=3, window=100)
    for _ in range(3):
        log.open()
    applied: set[tuple[int, int]] = set()
    acked: dict[int, int] = {}
    for session, request, ack in steps:
        acked[session] = max(acked.get(session, 0), ack)
        if request > acked[session]:
            applied.add((session, request))
        log.apply(submit(session, request, b"%d/%d" % (session, request), acked=ack))
    assert isinstance(log.machine, Journal)
    assert len(log.machine.entries) == len(applied)


def test_table_chunks_are_equal_exactly_for_equal_tables() -> None:
    def table(*steps: tuple[int, int]) -> bytes:
        made = SessionTable(5)
        for _ in range(2):
            made.open()
        for session, request in steps:
            used = made.use(session)
            assert used is not None
            used.results[request] = Result(request, 0, 1, b"r")
        return b"".join(made.chunks())

    assert table((1, 1), (1, 2)) == table((1, 2), (1, 1))
    assert table((1, 1), (2, 1)) != table((2, 1), (1, 1))  # the order of use is part of it
    assert SessionTable(5).use(1) is None
    assert len(SessionTable(5)) == 0
