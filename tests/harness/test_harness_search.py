"""The search: what a seed and a budget decide, when nothing is proved, and what is made small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from jepsen_like.harness import FAULTS, ClusterTest, PromiseBroken, ProvedNothing, Scenario
from jepsen_like.harness.options import Budget, Options, read_budget
from jepsen_like.harness.scenario import Ask, Cut, Kill, Pause, Read, Snapshot, Wait
from jepsen_like.harness.shrinking import shrink
from tests.harness import planted

ADD = st.just(b"add")


def counter_test(commands: st.SearchStrategy[bytes] = ADD, **changes: Any) -> ClusterTest:
    given = {"queries": st.just(b"total"), "elsewhere": False, **changes}
    return ClusterTest(planted.Counter, commands, **given)


def test_search_with_one_seed_twice_does_the_same_and_with_another_something_else() -> None:
    tallies = []
    for seed in (1, 1, 2):
        test = counter_test()
        test.options = Options(seed=seed, budget=Budget(examples=8))
        test.run()
        tallies.append(test.tally)
    assert tallies[0] == tallies[1] != tallies[2]


def test_search_with_a_budget_of_examples_tries_no_more() -> None:
    test = counter_test(examples=500)
    test.options = Options(seed=1, budget=Budget(examples=5))
    test.run()
    assert test.tally.runs <= 5


def test_search_with_a_budget_of_time_ends_in_time() -> None:
    test = counter_test()
    test.options = Options(seed=1, budget=read_budget("0.4s"))
    try:
        test.run()
    except ProvedNothing:
        pass  # on a slow machine that is right, and what is asked here is only that it ends
    assert test.tally.runs < 400


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("200", Budget(examples=200)),
        ("200 examples", Budget(examples=200)),
        ("1.5s", Budget(examples=1_000_000, seconds=1.5)),
        ("30 s", Budget(examples=1_000_000, seconds=30.0)),
    ],
)
def test_budget_in_examples_or_seconds_is_read(text: str, budget: Budget) -> None:
    assert read_budget(text) == budget


@pytest.mark.parametrize("text", ["", "0", "0s", "1.5", "-3", "many", "3 minutes"])
def test_budget_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"budget|number of examples"):
        read_budget(text)


@pytest.mark.parametrize(
    ("test", "why"),
    [
        (counter_test(st.just(b"fail")), "the state machine refused every one"),
        (counter_test(faults=("clock jump",), clients_max=1), "no fault struck while"),
        (counter_test(faults=("partition",), nodes_max=1), "no fault had an effect"),
    ],
    ids=["only refusals", "no load", "no effect"],
)
def test_run_that_proves_nothing_fails_as_unknown(test: ClusterTest, why: str) -> None:
    test.options = Options(seed=3, budget=Budget(examples=6))
    with pytest.raises(ProvedNothing) as failed:
        test.run()
    assert str(failed.value).startswith("unknown: the test of Counter proves nothing")
    assert why in str(failed.value)


def test_run_without_faults_asks_for_none() -> None:
    test = counter_test(faults=())
    test.options = Options(seed=3, budget=Budget(examples=6))
    test.run()
    assert not test.tally.effects


def test_faults_that_are_known_can_each_strike() -> None:
    test = counter_test(nodes_max=3)
    test.options = Options(seed=5, budget=Budget(examples=40))
    test.run()
    assert set(test.tally.effects) == set(FAULTS)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"faults": ("earthquake",)}, "no such fault: 'earthquake'"),
        ({"nodes_max": 0}, "nodes_max is 1 to 7"),
        ({"nodes_max": 8}, "nodes_max is 1 to 7"),
        ({"clients_max": 0}, "clients_max is 1 to 9"),
    ],
)
def test_bound_that_makes_no_sense_is_refused_at_once(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        counter_test(**changes)


def test_watches_for_a_machine_that_has_none_are_a_type_error() -> None:
    with pytest.raises(TypeError, match="Counter has no watch"):
        counter_test(watches=st.just(b"1")).run()


def test_replay_of_a_scenario_that_breaks_nothing_tells_its_story(
    capsys: pytest.CaptureFixture[str],
) -> None:
    test = counter_test()
    test.options = Options(replay=Scenario(1, 1, (Ask(1, b"add"), Snapshot(1))).token())
    test.run()
    assert capsys.readouterr().out == (
        "Counter keeps every promise in this story, 1 node, 1 client, n1 leads:\n"
        "   1. c1 has b'add' applied: b'1', in slot 2\n"
        "   2. n1's state machine is replaced by a fresh one, restored from its snapshot: b'1'\n"
    )


def test_failure_outside_pytest_is_an_assertion_error_with_the_story() -> None:
    test = ClusterTest(planted.QueryCounts, ADD, st.just(b"total"), elsewhere=False)
    test.options = Options(seed=1)
    with pytest.raises(AssertionError, match="a query leaves the state as it was") as failed:
        test.run()
    assert isinstance(failed.value, PromiseBroken)
    assert [line.wrong for line in failed.value.run.lines] == [False, True]


# --- making small ---------------------------------------------------------------------------------

LARGE = Scenario(
    5,
    3,
    (
        *(Ask(2, b"ccc", "goes on"), Wait(400), Kill(3), Ask(3, b"bbb"), Cut(4, "ring", "hold")),
        *(Read(3, b"q", "local", "gives up"), Pause(2), Ask(1, b"ddd"), Snapshot(5), Wait(10)),
    ),
    ("loss", "delay"),
    99,
)


def shrunk(breaks: Callable[[Scenario], bool]) -> Scenario:
    commands = st.sampled_from([b"aaa", b"bbb", b"ccc", b"ddd"])
    return shrink(LARGE, breaks, {Ask: commands, Read: st.just(b"q")})


def kinds(scenario: Scenario) -> list[type]:
    return [type(step) for step in scenario.steps]


def test_shrinking_what_any_scenario_breaks_leaves_nothing() -> None:
    assert shrunk(lambda _: True) == Scenario(1, 1, ())


def test_shrinking_what_needs_two_steps_leaves_them_at_their_simplest() -> None:
    smallest = shrunk(lambda scenario: {Ask, Cut} <= set(kinds(scenario)))
    assert smallest == Scenario(1, 1, (Ask(1, b"aaa"), Cut(1)))


def test_shrinking_what_needs_a_certain_text_keeps_it() -> None:
    smallest = shrunk(lambda scenario: any(Ask(1, b"bbb") == step for step in scenario.steps))
    assert smallest == Scenario(1, 1, (Ask(1, b"bbb"),))


def test_shrinking_what_needs_several_nodes_leaves_as_many() -> None:
    smallest = shrunk(lambda scenario: scenario.nodes >= 3 and Kill in kinds(scenario))
    assert smallest == Scenario(3, 1, (Kill(1),))


def test_shrinking_what_needs_an_even_number_of_steps_takes_two_at_a_time() -> None:
    smallest = shrunk(lambda scenario: len(scenario.steps) % 2 == 0 and Ask in kinds(scenario))
    assert len(smallest.steps) == 2
