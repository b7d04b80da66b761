"""The mistakes a checker makes: for each a history that it would judge wrong.

A checker that always says yes passes every history that is linearizable, so each of these fails if
the mistake is made.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from benchmarks.checker import random_register_history
from jepsen_like.checkers.linearizability import MODELS, Budget, check
from jepsen_like.history import NEMESIS, Entry
from tests.checkers.hand import Hand


def verdict(hand: Hand, model: str) -> str:
    return check(hand.history, model).verdict


def test_write_of_unknown_outcome_seen_much_later_is_kept_open() -> None:
    hand = Hand().invoke(1, "write", 1).info(1).done(2, "write", 2).done(2, "read", None, 2)
    assert verdict(hand.done(2, "read", None, 1), "cas-register") == "yes"
    assert verdict(hand.done(2, "read", None, 2), "cas-register") == "no"


def test_write_of_unknown_outcome_never_seen_need_not_have_happened() -> None:
    hand = Hand().invoke(1, "write", 1).info(1).done(2, "read", None, None)
    assert verdict(hand, "cas-register") == "yes"


def test_invoke_without_answer_seen_later_counts_as_unknown_outcome() -> None:
    hand = Hand().invoke(1, "write", 1).done(2, "read", None, 1)
    result = check(hand.history, "cas-register")
    assert (result.verdict, result.operations, result.unknown_outcome) == ("yes", 2, 1)


def test_operation_of_unknown_outcome_before_its_invoke_has_no_effect() -> None:
    hand = Hand().done(2, "read", None, 1).invoke(1, "write", 1).info(1)
    assert verdict(hand, "cas-register") == "no"


def test_write_that_failed_seen_by_a_read_is_refuted() -> None:
    hand = Hand().invoke(1, "write", 1).fail(1, "not leader").done(2, "read", None, 1)
    assert verdict(hand, "cas-register") == "no"


def test_compare_and_set_answered_no_is_not_asked_for_its_reason() -> None:
    hand = Hand().done(1, "write", 1).invoke(1, "cas", [1, 2]).fail(1).done(1, "read", None, 1)
    assert verdict(hand, "cas-register") == "yes"


def test_read_that_timed_out_as_failed_is_dropped() -> None:
    hand = Hand().done(1, "write", 1).invoke(2, "read").fail(2, "timed out")
    assert verdict(hand.done(2, "read", None, 1), "cas-register") == "yes"


def test_intervals_that_touch_are_concurrent() -> None:
    """The read is invoked in the entry before the write's answer, and answered after it."""
    hand = Hand().invoke(1, "write", 1).invoke(2, "read").ok(1).ok(2, None)
    assert verdict(hand, "cas-register") == "yes"
    apart = Hand().invoke(1, "write", 1).ok(1).invoke(2, "read").ok(2, None)
    assert verdict(apart, "cas-register") == "no"


def test_intervals_that_touch_are_concurrent_to_a_search_too() -> None:
    """A value that is written twice keeps the answer from being given without a search."""
    hand = Hand().done(1, "write", 1).done(1, "write", 2)
    hand.invoke(1, "write", 1).invoke(2, "read").ok(1).ok(2, 2)
    assert verdict(hand, "cas-register") == "yes"
    apart = Hand().done(1, "write", 1).done(1, "write", 2)
    apart.invoke(1, "write", 1).ok(1).invoke(2, "read").ok(2, 2)
    assert verdict(apart, "cas-register") == "no"


@pytest.mark.parametrize(
    ("model", "f", "first"),
    [
        ("cas-register", "read", None),
        ("kv", "read", None),
        ("kv-append", "get", ""),
        ("append", "read", []),
        ("set", "read", []),
        ("counter", "read", 0),
        ("queue", "dequeue", None),
    ],
)
def test_first_read_of_each_model_sees_its_initial_value_and_no_other(
    model: str, f: str, first: Any
) -> None:
    values: tuple[Any, ...] = (None, "", [], 0, False)
    for value in values:
        expected = "yes" if value == first and type(value) is type(first) else "no"
        assert verdict(Hand().done(1, f, None, value), model) == expected


def test_value_that_python_takes_for_equal_is_another_one() -> None:
    hand = Hand().done(1, "write", 1)
    assert verdict(Hand().done(1, "write", 1).done(1, "read", None, True), "kv") == "no"
    assert verdict(hand.done(1, "read", None, 1.0), "kv") == "yes"


def hard_history() -> list[Entry]:
    """Return a queue's history that takes very long to decide: every value is there thrice."""
    hand = Hand()
    for process in range(60):
        hand.invoke(process, "enqueue", process % 20)
    for process in range(60):
        hand.ok(process)
    for number in range(58):
        hand.done(99, "dequeue", None, number * 7 % 20)
    return hand.done(99, "dequeue", None, 1).history


def test_hard_history_with_a_tiny_budget_of_time_is_unknown() -> None:
    result = check(hard_history(), "queue", Budget(seconds=0.0))
    assert result.verdict == "unknown"
    assert "time" in result.reason


def test_hard_history_with_a_tiny_budget_of_memory_is_unknown() -> None:
    result = check(hard_history(), "queue", Budget(memory_bytes=100_000))
    assert result.verdict == "unknown"
    assert "memory" in result.reason


def test_hard_key_beside_a_wrong_one_does_not_keep_it_from_being_refuted() -> None:
    hard = [entry._replace(key="hard") for entry in hard_history()]
    twice = Hand().done(1, "enqueue", 1).done(1, "enqueue", 1)  # so that it takes a search
    wrong = [
        entry._replace(key="wrong", process=99)
        for entry in twice.done(1, "dequeue", None, 2).history
    ]
    result = check([*hard, *wrong], "queue", Budget(seconds=3))
    assert (result.verdict, result.key) == ("no", "wrong")
    assert result.entry == len(hard) + 5


@pytest.mark.parametrize("model", MODELS)
def test_history_in_which_nothing_was_answered_is_unknown(model: str) -> None:
    assert check([], model).verdict == "unknown"
    f = min(MODELS[model]().functions)
    argument: Any = "x" if model == "kv-append" else [0, 1] if f == "cas" else 1
    hand = Hand().invoke(1, f, argument).fail(1, "overloaded").invoke(1, f, argument).info(1)
    assert verdict(hand, model) == "unknown"


def test_keys_whose_operations_failed_or_ended_unknown_are_counted() -> None:
    hand = Hand().done(1, "write", 1, None, "a").invoke(1, "write", 1, "b").fail(1, "overloaded")
    hand.invoke(1, "read", None, "c").fail(1, "timeout").invoke(1, "read", None, "d").info(1)
    assert check(hand.history, "kv").keys == 4


def test_history_of_the_nemesis_alone_is_unknown() -> None:
    result = check([Entry(NEMESIS, "info", "kill", None, "n1", 0)], "counter")
    assert (result.verdict, result.operations) == ("unknown", 0)


def test_set_read_with_an_element_twice_is_refuted() -> None:
    hand = Hand().done(1, "add", 1).done(1, "add", 2)
    assert verdict(hand, "set") == "yes"
    assert verdict(hand.done(1, "read", None, [2, 1]), "set") == "yes"
    assert verdict(hand.done(1, "read", None, [1, 2, 1]), "set") == "no"


def test_list_read_with_an_element_twice_is_refuted() -> None:
    hand = Hand().done(1, "append", 1).done(1, "append", 2)
    assert verdict(hand, "append") == "yes"
    assert verdict(hand.done(1, "read", None, [1, 2, 2]), "append") == "no"


def test_set_read_without_an_element_added_before_is_refuted() -> None:
    assert verdict(Hand().done(1, "add", 1).done(1, "read", None, []), "set") == "no"


def test_lock_granted_to_two_holders_is_refuted() -> None:
    hand = Hand().done(1, "acquire", None, 1)
    assert verdict(hand, "mutex") == "yes"
    assert verdict(hand.done(2, "acquire", None, 2), "mutex") == "no"


def test_lock_granted_with_a_token_that_does_not_rise_is_refuted() -> None:
    hand = Hand().done(1, "acquire", None, 5).done(1, "release", 5)
    assert verdict(hand, "mutex") == "yes"
    assert verdict(hand.done(2, "acquire", None, 5), "mutex") == "no"


def test_nemesis_between_operations_changes_nothing() -> None:
    hand = Hand().invoke(1, "write", 1)
    hand.history.append(Entry(NEMESIS, "invoke", "kill", None, "n1", 0))
    hand.history.append(Entry(NEMESIS, "info", "kill", None, "n1", 0))
    result = check(hand.ok(1).history, "cas-register")
    assert (result.verdict, result.operations, result.unknown_outcome) == ("yes", 1, 0)


def test_refuted_history_names_the_key_and_the_first_impossible_answer() -> None:
    hand = Hand().done(1, "write", 1, None, "a").done(1, "write", 2, None, "b")
    hand.done(1, "read", None, 2, "a").done(1, "read", None, 1, "b")
    result = check(hand.history, "kv")
    assert (result.verdict, result.key, result.entry) == ("no", "a", 5)
    assert "'a'" in result.reason
    assert "entry 6" in result.reason


def text_history(clients: int, seed: int) -> list[Entry]:
    """Return a linearizable history of one text that many clients append to, and few replace."""
    rng, hand, text = Random(seed), Hand(), ""
    waiting: dict[int, list[Any]] = {}
    for number in range(800):
        process = rng.randrange(clients)
        now = waiting.get(process)
        if now is None:
            f = rng.choices(("get", "put", "append"), (44, 5, 51))[0]
            argument = None if f == "get" else f"x {process} {number} y"
            hand.invoke(process, f, argument)
            waiting[process] = [f, argument, None]
        elif now[2] is None:
            f, argument, _ = now
            if f != "get":
                text = argument if f == "put" else text + argument
            now[2] = text
        else:
            del waiting[process]
            hand.ok(process, now[2] if now[0] == "get" else now[1])
    return hand.history


@pytest.mark.parametrize("clients", [5, 15])
def test_text_of_many_clients_is_explained_and_refuted_when_one_read_is_spoiled(
    clients: int,
) -> None:
    for seed in range(2):
        history = text_history(clients, seed)
        assert check(history, "kv-append", Budget(60)).verdict == "yes"
        reads = [n for n, each in enumerate(history) if each.type == "ok" and each.f == "get"]
        spoiled = reads[len(reads) // 2]
        history[spoiled] = history[spoiled]._replace(value=history[spoiled].value[:-1] + "z")
        result = check(history, "kv-append", Budget(60))
        assert (result.verdict, result.entry) == ("no", spoiled)


def test_large_concurrent_history_is_explained_and_refuted_when_one_read_is_spoiled() -> None:
    history = random_register_history(3000, clients=12, keys=2, seed=7)
    assert check(history, "cas-register").verdict == "yes"
    rng = Random(1)
    reads = [at for at, each in enumerate(history) if each.type == "ok" and each.f == "read"]
    spoiled = rng.choice(reads)
    history[spoiled] = history[spoiled]._replace(value="never written")
    result = check(history, "cas-register")
    assert (result.verdict, result.entry) == ("no", spoiled)
