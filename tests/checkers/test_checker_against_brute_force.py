"""The checker beside a naive twin that tries every order, on thousands of small histories."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepsen_like.checkers.depth_first import depth_first
from jepsen_like.checkers.direct import DECIDERS, spans_of
from jepsen_like.checkers.frames import Frames
from jepsen_like.checkers.just_in_time import just_in_time
from jepsen_like.checkers.linearizability import MODELS, check
from jepsen_like.checkers.meter import Account, Meter
from jepsen_like.checkers.operations import Recorded
from jepsen_like.checkers.table import Table
from jepsen_like.history import Entry
from tests.checkers.brute_force import TWINS, is_linearizable
from tests.checkers.random_histories import random_history

SEEDS = range(250)
EXACT = ("cas-register", "kv")
"""Models whose searches never look ahead: each finds by itself where a history goes wrong."""


def recorded(history: list[Entry], model: str) -> tuple[Recorded, Table, Meter]:
    meter = Meter(10**9)
    made = MODELS[model]()
    table = Table(made, meter)
    return Recorded(history, made, table), table, meter


def searched(history: list[Entry], model: str, search: object) -> int | None:
    """Return where one search alone refutes a history, None if it explains it."""
    operations, table, meter = recorded(history, model)
    refuted = []
    for each in operations.keys.values():
        ground = Frames(each, table, Account(meter))
        steps = search(ground, Account(meter))  # type: ignore[operator]
        try:
            while True:
                next(steps)
        except StopIteration as stop:
            if not stop.value.possible:
                refuted.append(each.answered[stop.value.answer])
    return min(refuted, default=None)


def decided(history: list[Entry], model: str) -> bool | None:
    """Return what is said without a search."""
    operations, table, _ = recorded(history, model)
    decide = DECIDERS[type(table.model)]
    answers = [decide(spans_of(each, table)) for each in operations.keys.values()]
    return False if False in answers else None if None in answers else True


def first_impossible(history: list[Entry], model: str) -> int | None:
    """Return the last entry of the shortest beginning that is refuted, if one is.

    What failed is known not to have happened, and left out from the start.
    """
    asked: dict[int | str, int] = {}
    failed = set()
    for position, entry in enumerate(history):
        if entry.type == "invoke":
            asked[entry.process] = position
        elif entry.type == "fail":
            failed |= {position, asked[entry.process]}
    for end in range(1, len(history) + 1):
        kept = [entry for at, entry in enumerate(history[:end]) if at not in failed]
        if not is_linearizable(kept, model):
            return end - 1
    return None


@pytest.mark.parametrize("model", TWINS)
def test_checker_on_random_histories_agrees_with_trying_every_order(model: str) -> None:
    verdicts = set()
    for seed in SEEDS:
        history = random_history(model, Random(seed))
        expected = first_impossible(history, model)
        result = check(history, model)
        if result.verdict == "unknown":
            assert result.reason == "no operation was answered: the history shows nothing"
            continue
        assert (result.verdict, result.entry) == ("yes" if expected is None else "no", expected)
        verdicts.add(result.verdict)
    assert verdicts == {"yes", "no"}


@pytest.mark.parametrize("search", [depth_first, just_in_time])
@pytest.mark.parametrize("model", TWINS)
def test_search_alone_on_random_histories_agrees_with_trying_every_order(
    model: str, search: object
) -> None:
    for seed in SEEDS:
        history = random_history(model, Random(seed))
        found = searched(history, model, search)
        assert (found is None) == is_linearizable(history, model)
        if model in EXACT:
            assert found == first_impossible(history, model)


@pytest.mark.parametrize("model", [name for name, make in MODELS.items() if make in DECIDERS])
def test_answer_without_search_on_random_histories_agrees_with_trying_every_order(
    model: str,
) -> None:
    answers = set()
    for seed in SEEDS:
        history = random_history(model, Random(seed))
        answer = decided(history, model)
        assert answer in (None, is_linearizable(history, model))
        answers.add(answer)
    assert answers >= {True, False}


@given(st.sampled_from(sorted(TWINS)), st.integers(0, 2**64))
def test_checker_on_drawn_histories_agrees_with_trying_every_order(model: str, seed: int) -> None:
    history = random_history(model, Random(seed))
    result = check(history, model)
    if result.verdict != "unknown":
        assert (result.verdict == "yes") == is_linearizable(history, model)
