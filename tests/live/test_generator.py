"""Generators, asked by hand: no clock, no tasks, a context that the test makes up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Any

from jepsen_like.history import Entry, EntryType
from jepsen_like.live.generator import (
    DONE,
    Context,
    Done,
    Draws,
    Ended,
    Finally,
    Generator,
    Limit,
    Mix,
    Op,
    Pending,
    Phases,
    Rotation,
    Stagger,
    Step,
    TimeLimit,
)
from jepsen_like.workload.catalog import WORKLOADS

REGISTER = WORKLOADS["register"]
FREE = (0, 1, 2)


def context(
    now_s: float = 0.0,
    number: int = 1,
    free: tuple[int, ...] = FREE,
    busy: int = 0,
    ended: dict[str | None, dict[int, Ended]] | None = None,
) -> Context:
    return Context(now_s, number, free, busy, {}, ended or {})


@dataclass(frozen=True)
class Named:
    """An endless source of operations of one name; counts how often it was asked."""

    f: str
    asked: int = 0

    def next(self, rng: Random, context: Context) -> Step:
        if not context.free:
            return Pending(), self
        op = Op(context.number, context.free[0], self.f, None, self.asked)
        return op, Named(self.f, self.asked + 1)


@dataclass(frozen=True)
class Until:
    """Pending until a time, for ever."""

    until_s: float

    def next(self, rng: Random, context: Context) -> Step:
        return Pending(self.until_s), self


def ops(generator: Generator, count: int, seed: int = 1) -> tuple[list[Op], Generator]:
    """Take operations, as if each ended at once, waiting as long as is asked for."""
    rng, now = Random(seed), 0.0
    taken: list[Op] = []
    for _ in range(100 * count):
        step, generator = generator.next(rng, context(now, len(taken) + 1))
        if isinstance(step, Done):
            break
        if isinstance(step, Pending):
            assert now < step.until_s < math.inf
            now = step.until_s
            continue
        taken.append(step)
        if len(taken) == count:
            break
    return taken, generator


def entry(process: int, kind: EntryType, f: str, value: Any, error: str | None = None) -> Entry:
    return Entry(process, kind, f, "k", value, 0, error)


def test_draws_of_the_same_seed_and_contexts_are_the_same() -> None:
    first, _ = ops(Draws(REGISTER, "k"), 50, seed=7)
    assert first == ops(Draws(REGISTER, "k"), 50, seed=7)[0]
    assert first != ops(Draws(REGISTER, "k"), 50, seed=8)[0]


def test_draws_without_a_free_process_wait_for_one() -> None:
    draws = Draws(REGISTER, "k")
    assert draws.next(Random(1), context(free=())) == (Pending(), draws)


def test_limit_after_its_count_is_done_and_does_not_count_waiting() -> None:
    limited: Generator = Limit(2, Named("a"))
    step, limited = limited.next(Random(1), context(free=()))
    assert step == Pending()
    assert [op.value for op in ops(limited, 5)[0]] == [0, 1]


def test_time_limit_asked_first_late_counts_from_then() -> None:
    limited: Generator = TimeLimit(2.0, Named("a"))
    step, limited = limited.next(Random(1), context(now_s=10.0))
    assert isinstance(step, Op)
    assert isinstance(limited.next(Random(1), context(now_s=11.9))[0], Op)
    assert limited.next(Random(1), context(now_s=12.0))[0] == DONE


def test_time_limit_over_something_that_waits_longer_wakes_at_its_end() -> None:
    for until in (99.0, math.inf):
        assert TimeLimit(2.0, Until(until)).next(Random(1), context())[0] == Pending(2.0)
    assert TimeLimit(2.0, Until(1.5)).next(Random(1), context())[0] == Pending(1.5)


def test_stagger_over_a_long_time_keeps_its_rate() -> None:
    rng, now, taken = Random(3), 0.0, 0
    generator: Generator = Stagger(0.01, Named("a"))
    while now < 20.0:
        step, generator = generator.next(rng, context(now))
        if isinstance(step, Pending):
            now = step.until_s
        else:
            taken += 1
    assert 1_800 < taken < 2_200


def test_stagger_after_a_standstill_makes_up_for_nothing() -> None:
    generator: Generator = Stagger(0.01, Named("a"))
    rng, now, taken = Random(3), 100.0, 0
    while now < 100.1:
        step, generator = generator.next(rng, context(now))
        if isinstance(step, Pending):
            now = step.until_s
        else:
            taken += 1
    assert taken < 30


def test_mix_of_two_draws_both_and_goes_on_when_one_is_done() -> None:
    mixed = Mix((Limit(10, Named("a")), Limit(200, Named("b"))))
    taken = "".join(op.f for op in ops(mixed, 1000)[0])
    assert (taken.count("a"), taken.count("b")) == (10, 200)
    assert "a" in taken[1:40]
    assert "b" in taken[:5]


def test_mix_of_what_waits_waits_for_the_first() -> None:
    mixed = Mix((Until(5.0), Until(3.0), Limit(0, Named("a"))))
    assert mixed.next(Random(1), context())[0] == Pending(3.0)


def test_mix_with_one_that_waits_asks_the_other() -> None:
    for seed in range(10):
        step, _ = Mix((Until(5.0), Named("a"))).next(Random(seed), context())
        assert isinstance(step, Op)


def test_phases_after_the_first_wait_until_nothing_is_under_way() -> None:
    phases: Generator = Phases((Limit(1, Named("a")), Limit(1, Named("b"))))
    rng = Random(1)
    first, phases = phases.next(rng, context())
    waiting, phases = phases.next(rng, context(busy=1))
    second, phases = phases.next(rng, context(busy=0))
    last, phases = phases.next(rng, context(busy=1))
    assert isinstance(first, Op)
    assert isinstance(second, Op)
    assert (first.f, waiting, second.f, last) == ("a", Pending(), "b", DONE)


def test_rotation_of_limited_keys_begins_a_new_one_for_each_that_is_done() -> None:
    rotation = Rotation(3, lambda key: Limit(20, Draws(REGISTER, key)))
    taken, _ = ops(rotation, 600)
    by_key: dict[str, list[int]] = {}
    for position, op in enumerate(taken):
        by_key.setdefault(str(op.key), []).append(position)
    assert max(map(len, by_key.values())) == 20
    assert [f"k{number}" for number in range(len(by_key))] == sorted(
        by_key, key=lambda key: int(key[1:])
    )
    for position in range(600):
        assert sum(each[0] <= position <= each[-1] for each in by_key.values()) <= 3


def final(endings: list[Entry], workload: str = "register") -> list[Step]:
    """Ask a final operation, end it as given, ask again, and so on; return every step."""
    generator: Generator = Finally(WORKLOADS[workload], "k")
    rng, steps = Random(1), []
    ended: dict[str | None, dict[int, Ended]] = {}
    for number, ending in enumerate(endings, start=1):
        step, generator = generator.next(rng, context(number=number, ended=ended))
        steps.append((step, generator))
        assert isinstance(step, Op)
        before = {step.process: Ended(number - 1, entry(step.process, "ok", "read", 9))}
        assert generator.next(rng, context(ended={"k": before}))[0] == Pending()
        ended = {"k": {step.process: Ended(step.number, ending)}}
    return [*steps, generator.next(rng, context(number=len(endings) + 1, ended=ended))]


def test_final_read_that_is_not_done_is_asked_again_until_it_is() -> None:
    refused = entry(0, "fail", "read", None, "no leader")
    steps = final([refused, refused, entry(0, "ok", "read", 3)])
    assert [type(step) for step, _ in steps] == [Op, Op, Op, Done]


def test_final_dequeues_of_a_queue_go_on_until_it_is_empty() -> None:
    taken = [entry(0, "ok", "dequeue", value) for value in (4, 5, None)]
    assert [type(step) for step, _ in final(taken, "queue")] == [Op, Op, Op, Done]


def test_final_acquire_that_is_refused_by_the_mutex_settles_it() -> None:
    lost = entry(0, "fail", "acquire", None, "no leader")
    held = entry(0, "fail", "acquire", None, "answered: the mutex is held")
    assert [type(step) for step, _ in final([lost, held], "mutex")] == [Op, Op, Done]


def test_final_read_without_a_free_process_waits_for_one() -> None:
    step, _ = Finally(REGISTER, "k").next(Random(1), context(free=()))
    assert step == Pending()
