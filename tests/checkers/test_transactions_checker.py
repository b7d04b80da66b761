"""Transactions and watches: one story that is true, and each way in which it can be a lie."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from jepsen_like.checkers.transactions import check_transactions
from jepsen_like.checkers.watches import Delivery, Write, check_watches
from jepsen_like.history import NEMESIS, Entry, HistoryError
from tests.checkers.hand import Hand


def wrote(hand: Hand, process: int, revision: int, **puts: Any) -> Hand:
    return hand.done(process, "transact", {"put": puts, "if": {}}, {"revision": revision})


def read(hand: Hand, process: int, revision: int, **values: Any) -> Hand:
    answer = {"revision": revision, "values": values}
    return hand.done(process, "read", list(values), answer)


def watched(hand: Hand, process: int, after: int, through: int, *events: list[Any]) -> Hand:
    answer = {"events": list(events), "through": through, "compacted": False}
    return hand.done(process, "watch", {"from": after, "keys": None}, answer)


def story() -> Hand:
    """Return a true story of two writes, seen whole by a read and a watch."""
    hand = wrote(Hand(), 1, 1, a=1, b=1)
    wrote(hand, 2, 3, a=2, b=None)
    read(hand, 3, 3, a=2, b=None)
    return watched(hand, 3, 0, 3, [1, "a", 1], [1, "b", 1], [3, "a", 2], [3, "b", None])


def test_story_that_is_true_is_explained() -> None:
    assert check_transactions(story().history).verdict == "yes"


@pytest.mark.parametrize(
    "lie",
    [
        lambda hand: read(hand, 1, 3, a=2, b=1),
        lambda hand: read(hand, 1, 3, a=1),
        lambda hand: read(hand, 1, 3, a=7),
        lambda hand: read(hand, 1, 1, a=1, b=1),
        lambda hand: wrote(hand, 1, 3, c=1),
        lambda hand: wrote(hand, 1, 2, c=1),
        lambda hand: hand.done(1, "transact", {"put": {}, "if": {"a": 1}}, {"revision": 4}),
        lambda hand: hand.done(
            1, "transact", {"put": {}, "if": {"a": 2}}, {"revision": 4, "done": False}
        ),
        lambda hand: watched(hand, 1, 0, 3, [1, "a", 1], [1, "b", 1]),
        lambda hand: watched(hand, 1, 1, 3, [3, "a", 2], [3, "a", 2]),
        lambda hand: watched(hand, 1, 1, 3, [1, "a", 1], [3, "a", 2]),
        lambda hand: watched(hand, 1, 0, 3, [3, "a", 2], [1, "a", 1], [1, "b", 1]),
        lambda hand: watched(hand, 1, 1, 3, [3, "a", 9]),
        lambda hand: watched(hand, 1, 3, 4, [4, "c", 9]),
        lambda hand: watched(hand, 1, 1, 2, [3, "a", 2]),
        lambda hand: watched(hand, 1, 3, 1),
    ],
    ids=[
        "torn read",
        "stale value",
        "value of nobody",
        "read of the past",
        "revision of another write",
        "revision of the past",
        "guard that did not hold",
        "guard that held and refused",
        "watch with a gap",
        "watch that repeats",
        "watch that repeats what it came from",
        "watch out of order",
        "watch with another value",
        "watch of what nobody wrote",
        "watch beyond its end",
        "watch that goes back",
    ],
)
def test_story_with_one_lie_at_its_end_is_refuted_there(lie: Callable[[Hand], Hand]) -> None:
    hand = lie(story())
    judged = check_transactions(hand.history)
    assert judged.verdict == "no", judged
    assert judged.reason


def test_refuted_read_is_named_by_its_entry() -> None:
    hand = read(story(), 1, 3, a=7)
    assert check_transactions(hand.history).entry == len(hand.history) - 1


def test_write_of_unknown_outcome_told_by_a_watch_is_in_every_later_read() -> None:
    def half(seen: int) -> Hand:
        hand = wrote(Hand(), 1, 1, a=1)
        hand.invoke(2, "transact", {"put": {"a": 2}, "if": {"a": 1}}).info(2)
        watched(hand, 3, 0, 2, [1, "a", 1], [2, "a", 2])
        return read(hand, 3, 2, a=seen)

    assert check_transactions(half(2).history).verdict == "yes"
    assert check_transactions(half(1).history).verdict != "yes"


def test_write_of_unknown_outcome_seen_by_a_read_alone_explains_it() -> None:
    hand = wrote(Hand(), 1, 1, a=1).invoke(2, "transact", {"put": {"a": 2}, "if": {}}).info(2)
    read(hand, 3, 2, a=2)
    assert check_transactions(hand.history).verdict == "yes"


def test_write_of_unknown_outcome_that_would_have_to_be_in_two_places_is_unknown() -> None:
    hand = wrote(Hand(), 1, 5, a=1).invoke(2, "transact", {"put": {"a": 2}, "if": {}}).info(2)
    read(hand, 3, 6, a=2)
    wrote(hand, 1, 7, a=3)
    read(hand, 3, 8, a=2)
    assert check_transactions(hand.history).verdict == "unknown"


def test_watch_that_says_it_cannot_go_on_is_believed() -> None:
    answer: dict[str, Any] = {"events": [], "through": None, "compacted": True}
    hand = story().done(4, "watch", {"from": 0, "keys": None}, answer)
    assert check_transactions(hand.history).verdict == "yes"


def test_watch_of_some_keys_is_not_asked_for_others() -> None:
    answer = {"events": [[1, "b", 1], [3, "b", None]], "through": 3, "compacted": False}
    hand = story().done(4, "watch", {"from": 0, "keys": ["b"]}, answer)
    assert check_transactions(hand.history).verdict == "yes"
    hand.done(4, "watch", {"from": 0, "keys": ["c"]}, answer)
    assert check_transactions(hand.history).verdict == "no"


def test_delete_of_an_absent_key_need_not_be_told() -> None:
    hand = wrote(Hand(), 1, 1, a=1, b=None)
    assert check_transactions(watched(hand, 2, 0, 1, [1, "a", 1]).history).verdict == "yes"


def test_history_without_answers_is_unknown() -> None:
    hand = Hand().invoke(1, "transact", {"put": {"a": 1}, "if": {}})
    hand.history.append(Entry(NEMESIS, "info", "kill", None, None, 1))
    assert check_transactions(hand.history).verdict == "unknown"


@pytest.mark.parametrize(
    "hand",
    [
        Hand().done(1, "read", ["a"], {"revision": 1, "values": {}}),
        Hand().done(1, "read", ["a"], None),
        Hand().done(1, "watch", {"from": 0, "keys": None}, {"events": [[1]], "compacted": False}),
        Hand().done(1, "fly", None, {"revision": 1}),
    ],
)
def test_history_that_is_no_history_of_transactions_is_refused(hand: Hand) -> None:
    with pytest.raises(HistoryError) as caught:
        check_transactions(hand.history)
    assert caught.value.position == 1


def test_watches_that_contradict_each_other_are_refuted() -> None:
    unknown = [Write(0, float("inf"), {"a": 1}, {}), Write(0, float("inf"), {"a": 2}, {})]
    one = Delivery(5, 0, 4, None, [(4, "a", 1)])
    other = Delivery(6, 0, 4, None, [(4, "a", 2)])
    silent = Delivery(7, 3, 4, None, [])
    assert check_watches([one], {}, unknown).verdict == "yes"
    assert check_watches([one, other], {}, unknown).entry == 6
    assert check_watches([one, silent], {}, unknown).entry == 7


def test_watch_that_tells_a_write_before_it_was_asked_for_is_refuted() -> None:
    delivery = Delivery(5, 0, 4, None, [(4, "a", 1)])
    assert check_watches([delivery], {4: Write(1, 9, {"a": 1}, {})}).verdict == "yes"
    assert check_watches([delivery], {4: Write(6, 9, {"a": 1}, {})}).verdict == "no"


def test_watches_that_told_nothing_show_nothing() -> None:
    assert check_watches([Delivery(5, 0, 4, None, [])], {}).verdict == "unknown"


def simulated(rng: Random, stale: bool) -> list[Entry]:
    """Return a history of a real store of several keys, asked by clients that overlap."""
    hand, state, past = Hand(), dict[str, int](), dict[int, dict[str, int]]()
    revision, free, waiting = 0, [1, 2, 3, 4], dict[int, Any]()
    for number in range(1, 60):
        if free and rng.random() < 0.5:
            process = free.pop(rng.randrange(len(free)))
            if rng.random() < 0.5:
                keys = rng.sample("abc", rng.randint(1, 2))
                hand.invoke(process, "transact", {"put": dict.fromkeys(keys, number), "if": {}})
                revision += rng.randint(1, 2)
                state |= dict.fromkeys(keys, number)
                past[revision] = dict(state)
                waiting[process] = {"revision": revision}
            else:
                hand.invoke(process, "read", ["a", "b", "c"])
                seen = max((at for at in past if not stale or at < revision), default=0)
                values = {key: past.get(seen, {}).get(key) for key in "abc"}
                waiting[process] = {"revision": seen if stale else revision, "values": values}
        elif waiting:
            process = rng.choice(sorted(waiting))
            answer = waiting.pop(process)
            if rng.random() < 0.1:
                hand.info(process)
            else:
                hand.ok(process, answer)
                free.append(process)
    return hand.history


def test_simulated_store_is_never_refuted_and_one_that_lags_mostly() -> None:
    """One that lags may have been lucky: then its history has an explanation."""
    sound = [check_transactions(simulated(Random(n), stale=False)).verdict for n in range(40)]
    stale = [check_transactions(simulated(Random(n), stale=True)).verdict for n in range(40)]
    assert sound.count("no") == 0
    assert sound.count("yes") > 30
    assert stale.count("no") > 30
