"""What a write costs in calls of functions: no times, so the same on every machine and every run.

If a test here fails because something became dearer, find out what (``python -m benchmarks.growth``
tells how much by the clock, and a profile of ``benchmarks.hot_path`` by which function) and make it
as cheap as it was; only what is worth its price may raise a figure. If something became cheaper,
lower the figure to what is counted now, so that it stays so.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

import pytest

from benchmarks import hot_path
from benchmarks.call_counter import CallCounter
from benchmarks.hot_path import CONFIG, MINIMAL, Leading, Load
from paxos import codec
from paxos.core.client import Answered, Client, Connected, Ended, Transmit
from paxos.core.messages import (
    OpenSession,
    Result,
    Results,
    SessionOpened,
    Status,
    Submit,
)

# Calls of Python and of C functions for one slot, which holds one submission of so many commands.
# The leader: two passes of the node, one with the client's frame and its own write, one with the
# votes of two peers, which ends with the reply's frame. A follower: one pass, from the Accept's
# frame to the vote's, and the slot before is applied. Sockets, and waiting for them, are no part of
# it. The client: from the commands to the frame, and from the reply's frame to the outcomes.
# Counted on Python 3.11; on 3.12 and 3.13 it is one or two Python calls fewer (comprehensions are
# none there).
FIGURES = {
    # path, machine: {commands: (Python calls, C calls)}
    ("leader", MINIMAL): {1: (269, 157), 8: (276, 185), 40: (308, 314)},
    ("leader", CONFIG): {1: (276, 163), 8: (332, 233), 40: (588, 554)},
    ("follower", MINIMAL): {1: (139, 89), 8: (146, 117), 40: (178, 245)},
    ("follower", CONFIG): {1: (146, 95), 8: (202, 165), 40: (458, 485)},
    ("client", "any"): {1: (49, 44), 8: (77, 93), 40: (205, 318)},
}
DEARER, CHEAPER = 1.08, 0.92
GROWTH = 1.1

SLOTS = 20
KEYS = 10
WARM_UP = 10

Calls = tuple[float, float]
"""Of Python and of C functions, per slot."""


def counted(run: Callable[[], object], slots: int = SLOTS) -> Calls:
    with CallCounter(hot_path.__file__, __file__) as counter:
        run()
    return counter.python / slots, counter.c / slots


def leader_calls(machine: str, commands: int) -> Calls:
    leading = Leading(Load(machine, KEYS, 1, 1, commands))
    leading.run(leading.prepare(WARM_UP))
    return counted(partial(leading.run, leading.prepare(SLOTS)))


def follower_calls(machine: str, commands: int) -> Calls:
    leading = Leading(Load(machine, KEYS, 1, 1, commands))
    for accepts in leading.run(leading.prepare(WARM_UP)):
        leading.follow(accepts)
    taken = leading.run(leading.prepare(SLOTS))

    def follow() -> None:
        for accepts in taken:
            leading.follow(accepts)

    return counted(follow)


def client_calls(_machine: str, commands: int) -> Calls:
    client = Client(["here"], Random(0))
    asked = [b"x" * 80] * commands
    answers = [
        codec.encode(
            Results(1, tuple(Result(first + n, Status.DONE, slot, b"") for n in range(commands)))
        )
        for slot, first in enumerate(range(1, (WARM_UP + SLOTS) * commands + 1, commands), 1)
    ]

    def write(answer: bytes) -> list[Ended]:
        client.submit("machine", asked, 100.0)
        for effect in client.flush(1.0):
            assert isinstance(effect, Transmit)
            codec.encode(effect.message)
        effects = client.handle(Answered(codec.decode_answer(answer)), 1.0)
        return [each for each in effects if isinstance(each, Ended)]

    client.submit("machine", asked, 100.0)
    client.flush(1.0)
    (opening,) = client.handle(Connected("here"), 1.0)
    assert isinstance(opening, Transmit)
    assert isinstance(opening.message, OpenSession)
    (first,) = client.handle(Answered(SessionOpened(opening.message.nonce, 1)), 1.0)
    assert isinstance(first, Transmit)
    assert isinstance(first.message, Submit)
    client.handle(Answered(codec.decode_answer(answers[0])), 1.0)
    for answer in answers[1:WARM_UP]:
        assert len(write(answer)) == commands

    def write_all() -> None:
        for answer in answers[WARM_UP:]:
            write(answer)

    return counted(write_all)


PATHS = {"leader": leader_calls, "follower": follower_calls, "client": client_calls}


@pytest.mark.parametrize("commands", [1, 8, 40])
@pytest.mark.parametrize(("path", "machine"), FIGURES)
def test_slot_costs_the_calls_that_the_table_says(path: str, machine: str, commands: int) -> None:
    figures = FIGURES[path, machine][commands]
    for kind, figure, calls in zip(
        ("Python", "C"), figures, PATHS[path](machine, commands), strict=True
    ):
        text = f"{calls} {kind} calls for a slot of {commands}, not {figure}"
        assert calls <= figure * DEARER, f"dearer: {text}"
        assert calls >= figure * CHEAPER, f"cheaper, lower the figure: {text}"


def test_writes_whose_calls_are_counted_are_done_and_a_follower_applies_them_too() -> None:
    leading = Leading(Load(CONFIG, KEYS, 2, 3, 4))
    for accepts in leading.run(leading.prepare(SLOTS)):
        leading.follow(accepts)
    answers = [
        codec.decode_answer(frame)
        for frames in leading.node.to_clients.values()
        for frame in frames
    ]
    results = [each for answer in answers if isinstance(answer, Results) for each in answer.results]
    assert [each.status for each in results] == [Status.DONE] * 12
    leader, follower = leading.node.replica.executor, leading.follower.replica.executor
    assert follower.applied_through == leader.applied_through - 1 == SLOTS
    assert follower.results_digest[:8] == leader.results_digest_at(SLOTS)


# --- growth --------------------------------------------------------------------------------------


def assert_flat(few: Calls, many: Calls) -> None:
    for before, after in zip(few, many, strict=True):
        assert before / GROWTH <= after <= before * GROWTH, f"{few} before, {many} after"


@pytest.mark.parametrize("machine", [CONFIG, MINIMAL])
def test_write_costs_the_same_at_a_hundred_times_as_many_keys(machine: str) -> None:
    few, many = 1_000, 100_000

    def calls(keys: int) -> Calls:
        load = Load(machine, keys, 1, 1, 1_000)
        leading = Leading(load)
        # As many writes for few keys: then as much of what retention forgets is behind it.
        for _ in range(many // 1_000):
            leading.run(leading.prepare(1))
        load.commands = 8
        # What a snapshot costs a write is told by benchmarks.growth, over as many as it lasts for.
        while leading.node.saving:
            leading.run(leading.prepare(1))
        leading.run(leading.prepare(WARM_UP))
        return counted(partial(leading.run, leading.prepare(SLOTS)))

    assert_flat(calls(few), calls(many))


def test_write_costs_the_same_however_many_sessions_there_are() -> None:
    def calls(sessions: int) -> Calls:
        leading = Leading(Load(MINIMAL, KEYS, sessions, 1, 8))
        leading.run(leading.prepare(2 * sessions))  # a session's second write forgets its first
        return counted(partial(leading.run, leading.prepare(SLOTS)))

    assert_flat(calls(1), calls(1_000))


def test_write_costs_the_same_however_long_the_log() -> None:
    leading = Leading(Load(MINIMAL, KEYS, 1, 1, 8))
    leading.run(leading.prepare(WARM_UP))
    short = counted(partial(leading.run, leading.prepare(SLOTS)))
    leading.run(leading.prepare(2_000))
    assert_flat(short, counted(partial(leading.run, leading.prepare(SLOTS))))
