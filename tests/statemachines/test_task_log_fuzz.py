"""Arbitrary bytes wherever bytes come into the task log: only the declared errors come out."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgpack import packb

from paxos.core.state_machine import CommandFailed, Stamp
from statemachines import task_log_answers as answers
from statemachines import task_log_format as form
from statemachines import task_log_requests as requests
from statemachines.snapshot_records import SnapshotDamaged
from statemachines.task_log import TaskLog
from tests.statemachines.task_log_driver import START, Driver, node_spec

AT = Stamp(1, 0, START)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.integers(-2, 12)
    | st.floats()
    | st.binary(max_size=8)
    | st.sampled_from(["", "a", "b", "n1", "k", " ", "ä", "/"])
    | st.text(max_size=4)
)
trees = st.recursive(scalars, lambda inner: st.lists(inner, max_size=5), max_leaves=20)

# Fields that are right for the most part, so that what is wrong is met behind the first checks.
ids = st.sampled_from(["a", "b", "c", "d"])
specs = st.tuples(
    ids,
    st.just("k"),
    st.binary(max_size=2),
    st.integers(-1, 1),
    st.sampled_from([0, START + 5]),
    st.sampled_from([0, START - 1, START + 9]),
    st.integers(1, 2),
    st.integers(0, 5),
    st.lists(ids, max_size=2),
    st.integers(0, 2),
    st.sampled_from([(), (("x", "y"),)]),
    st.integers(1, 3),
    st.integers(0, 3),
    st.sampled_from(["", "n1"]),
    st.integers(0, 3),
    st.integers(0, 3),
)
node_fields = st.just(tuple(node_spec("n1")))
right = st.one_of(
    st.tuples(st.just(form.SUBMIT), st.lists(specs, max_size=3)),
    st.tuples(st.just(form.REGISTER), node_fields, st.integers(0, 3)),
    st.tuples(st.just(form.REPORT), st.just("n1"), st.integers(1, 3), st.integers(0, 9)),
    st.tuples(st.just(form.LEAVE), st.just("n1"), st.integers(1, 3)),
    st.tuples(st.just(form.DRAIN), st.just("n1"), st.booleans()),
    st.tuples(
        st.just(form.CLAIM), st.just("n1"), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9)
    ),
    st.tuples(
        st.just(form.EXTEND),
        st.just("n1"),
        st.integers(1, 3),
        st.lists(st.tuples(ids, st.integers(1, 9)), max_size=2),
        st.integers(1, 9),
    ),
    st.tuples(st.just(form.PROGRESS), ids, st.integers(1, 9), st.binary(max_size=2)),
    st.tuples(st.just(form.COMPLETE), ids, st.integers(1, 9), st.binary(max_size=2)),
    st.tuples(st.just(form.FAIL), ids, st.integers(1, 9), st.just("no"), st.booleans()),
    st.tuples(st.just(form.CANCEL), ids),
    st.tuples(st.just(form.RETRY), ids),
    st.tuples(st.just(form.REPLAN), st.integers(0, 9), st.integers(1, 9)),
    st.tuples(st.just(form.TICK)),
    st.tuples(st.just(form.RETAIN), st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.just(form.GET), ids),
    st.tuples(
        st.just(form.LIST),
        st.integers(0, 7),
        st.sampled_from(["", "k"]),
        st.sampled_from(["", "n1"]),
        st.integers(0, 9),
        st.integers(1, 9),
    ),
    st.tuples(st.just(form.NODES)),
    st.tuples(st.just(form.STATS)),
    st.tuples(st.just(form.EXPLAIN), ids),
    st.tuples(
        st.just(form.WATCH), st.integers(0, 3), st.sampled_from(["", "a", "n1"]), st.integers(0, 9)
    ),
)


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """Return a right command or query with one field, at most, replaced by anything."""
    fields: list[object] = list(draw(right))
    path = fields
    while draw(st.booleans()):
        at = draw(st.integers(0, len(path) - 1))
        inner = path[at]
        if isinstance(inner, list | tuple) and inner and draw(st.booleans()):
            deeper = list(inner)
            path[at] = deeper
            path = deeper
            continue
        path[at] = draw(trees)
        break
    return bytes(packb((form.FORMAT, *fields)))


def small_log() -> Driver:
    driver = Driver()
    registration = driver.node("n1")
    driver.task("a")
    driver.task("b", depends_on=["a"])
    driver.token("n1", registration)
    driver.task("c", deadline=START + 5)
    return driver


@given(
    data=st.binary(max_size=64)
    | spoilt()
    | st.lists(trees, max_size=7).map(lambda fields: bytes(packb((1, *fields)))),
    late=st.sampled_from([0, 5, 10_000_000_000]),
)
def test_task_log_given_any_bytes_raises_nothing_but_command_failed(data: bytes, late: int) -> None:
    log = small_log().log
    before = list(log.snapshot())
    for ask in (log.query, log.watch):
        with contextlib.suppress(CommandFailed):
            ask(data)
        assert list(log.snapshot()) == before
    try:
        log.apply(data, Stamp(9, 0, START + late))
    except CommandFailed:
        assert list(log.snapshot()) == before
    copy = TaskLog()
    copy.restore(log.snapshot())
    assert list(copy.snapshot()) == list(log.snapshot())


DECODERS: list[Callable[[bytes], object]] = [
    getattr(answers, name) for name in dir(answers) if name.startswith("decode_")
]
DECODERS.remove(answers.decode_failure)  # type: ignore[arg-type]


@given(
    data=st.binary(max_size=40)
    | st.lists(trees, max_size=9).map(lambda fields: bytes(packb((1, *fields))))
)
def test_decoders_of_the_task_log_given_any_bytes_raise_nothing_but_answer_invalid(
    data: bytes,
) -> None:
    assert len(DECODERS) == 16
    for decode in DECODERS:
        with contextlib.suppress(answers.AnswerInvalid):
            decode(data)


@given(position=st.integers(0), change=st.integers(1, 255))
def test_restore_of_a_task_log_with_any_byte_changed_is_refused(position: int, change: int) -> None:
    (chunk,) = small_log().log.snapshot()
    damaged = bytearray(chunk)
    damaged[position % len(chunk)] ^= change
    with pytest.raises(SnapshotDamaged):
        TaskLog().restore([bytes(damaged)])


@given(chunks=st.lists(st.binary(max_size=30), max_size=4))
def test_restore_of_a_task_log_from_any_bytes_is_refused(chunks: list[bytes]) -> None:
    with pytest.raises(SnapshotDamaged):
        TaskLog().restore(chunks)


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdd\x00\x00\x40\x00" * 13_000,
        b"\x91" * 1_000_000,
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x93\x01\x01" + b"\xdc\x04\x00" * 300_000,
    ],
)
def test_task_log_given_absurd_lengths_refuses_without_reserving_memory(bomb: bytes) -> None:
    log = TaskLog()
    tracemalloc.start()
    try:
        with pytest.raises(CommandFailed):
            log.apply(bomb, AT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * 1024 * 1024


def test_micro_takes_decimals_exactly_and_nothing_else() -> None:
    assert requests.micro("0.1") == 100_000
    assert requests.micro(3) == 3_000_000
    assert requests.micro("-1.5000000000") == -1_500_000
    assert requests.micro("0e-999999999") == 0
    for bad in (0.1, True, "x", "1e-7", "1e-999999999", "1e999999999", "nan", "inf", None):
        with pytest.raises(requests.RequestInvalid):
            requests.micro(bad)  # type: ignore[arg-type]
