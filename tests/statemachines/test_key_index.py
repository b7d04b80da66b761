"""The ordered set of keys against its naive twin, a sorted list."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statemachines import key_index
from statemachines.key_index import KeyIndex


def test_key_index_of_given_keys_scans_them_in_order() -> None:
    keys = [f"{number:05}" for number in range(5000)]
    index = KeyIndex(keys)
    assert list(index.scan()) == keys
    assert list(index.scan("02500")) == keys[2500:]
    assert list(index.scan("0249999")) == keys[2500:]
    assert list(index.scan("9")) == []


@given(
    before=st.sets(st.integers(0, 40)),
    moves=st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=100),
)
def test_key_index_captured_keeps_the_keys_of_that_moment(
    before: set[int], moves: list[tuple[bool, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_index, "_BLOCK_KEYS_MAX", 4)
        index = KeyIndex([f"{number:02}" for number in sorted(before)])
        twin = {f"{number:02}" for number in before}
        captures: list[tuple[list[list[str]], list[str]]] = []
        for add, number in moves:
            captures.append((index.capture(), sorted(twin)))
            key = f"{number:02}"
            if add and key not in twin:
                index.add(key)
                twin.add(key)
            elif not add and key in twin:
                index.remove(key)
                twin.remove(key)
        assert list(index.scan()) == sorted(twin)
        assert (len(index), index.first()) == (len(twin), min(twin, default=None))
        for blocks, keys in captures:
            assert [key for block in blocks for key in block] == keys


def test_key_index_emptied_holds_nothing_and_fills_again() -> None:
    index = KeyIndex(["a", "b"])
    for key in ("b", "a"):
        index.remove(key)
    assert list(index.scan()) == []
    index.add("c")
    assert list(index.scan()) == ["c"]


def test_key_index_of_rising_keys_fills_block_after_block() -> None:
    index: KeyIndex[tuple[int, int]] = KeyIndex()
    for number in range(2500):
        index.add((number // 7, number))
    assert [len(block) for block in index.capture()] == [1024, 1024, 452]
    assert list(index.scan((100, 0))) == [(n // 7, n) for n in range(700, 2500)]


def test_key_index_orders_by_code_points_as_utf8_does() -> None:
    keys = ["z", "é", "\uffff", "\U00010000", "a/b", "a", "a-b"]
    index = KeyIndex()
    for key in keys:
        index.add(key)
    assert list(index.scan()) == sorted(keys, key=str.encode)


@given(
    moves=st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=200),
    start=st.integers(0, 40),
)
def test_key_index_after_any_moves_equals_a_sorted_list(
    moves: list[tuple[bool, int]], start: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_index, "_BLOCK_KEYS_MAX", 4)
        index = KeyIndex()
        twin: set[str] = set()
        for add, number in moves:
            key = f"{number:02}"
            if add and key not in twin:
                index.add(key)
                twin.add(key)
            elif not add and key in twin:
                index.remove(key)
                twin.remove(key)
        assert list(index.scan()) == sorted(twin)
        assert list(index.scan(f"{start:02}")) == sorted(k for k in twin if k >= f"{start:02}")


def test_key_index_with_many_keys_in_random_order_stays_sorted() -> None:
    rng = random.Random(7)
    keys = [f"site-{number}" for number in range(20_000)]
    rng.shuffle(keys)
    index = KeyIndex()
    for key in keys:
        index.add(key)
    for key in keys[:15_000]:
        index.remove(key)
    assert list(index.scan()) == sorted(keys[15_000:])
