"""Waiting watches: who is touched by what, and that asking a quiet one costs next to nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statemachines.versioned_store import Version
from statemachines.watch_index import WatchIndex

KEYS = ("a", "a/1", "a/1/x", "ab", "b")
PATTERNS = ("", "a", "a/", "a/1", "ab", "c")


def change(key: str, revision: int) -> tuple[Version, ...]:
    return (Version(key, b"", "t", revision, revision, 1, 0, None),)


class CountingChanges(Mapping[int, tuple[Version, ...]]):
    """Changes that count how often they are looked at."""

    def __init__(self, keys: list[str]) -> None:
        self._changes = {number: change(key, number) for number, key in enumerate(keys, 1)}
        self.looks = 0

    def __getitem__(self, revision: int) -> tuple[Version, ...]:
        self.looks += 1
        return self._changes[revision]

    def __len__(self) -> int:
        return len(self._changes)

    def __iter__(self) -> Iterator[int]:
        return iter(self._changes)


def test_watch_index_with_thousands_of_watches_looks_at_each_change_once() -> None:
    changes = CountingChanges([f"site-{number}/fps" for number in range(500)])
    index = WatchIndex()
    for number in range(5000):
        index.wait(b"query %d" % number, f"quiet-{number}/", False, 0)
    for through in range(1, 501):
        index.advance(changes, through)
        for number in range(0, 5000, 100):
            waiting = index.find(b"query %d" % number)
            assert waiting is not None
            assert waiting.interest.touched_at == 0
    assert changes.looks == 500


def test_watch_index_without_watches_looks_at_nothing() -> None:
    changes = CountingChanges(["a"] * 10)
    index = WatchIndex()
    index.advance(changes, 10)
    assert (changes.looks, index.through) == (0, 10)


def test_watch_index_over_its_bound_forgets_the_one_not_asked_for_longest() -> None:
    index = WatchIndex(waiting_max=2)
    index.wait(b"1", "a", False, 0)
    index.wait(b"2", "a", False, 0)
    assert index.find(b"1") is not None
    index.wait(b"3", "b", True, 0)
    assert [index.find(query) is None for query in (b"1", b"2", b"3")] == [False, True, False]
    index.wait(b"4", "c", False, 0)
    index.wait(b"5", "d", False, 0)
    # Nothing is kept for those that were forgotten.
    assert set(index._prefixes) == {"c", "d"}
    assert (index._keys, index._lengths, index._ascending) == ({}, {1: 2}, (1,))


def test_watch_index_touched_by_shared_interest_tells_all_of_them() -> None:
    index = WatchIndex()
    index.wait(b"1", "a/", False, 0)
    index.wait(b"2", "a/", False, 0)
    index.advance({1: change("b", 1), 2: change("a/1", 2), 3: change("a/1", 3)}, 3)
    for query in (b"1", b"2"):
        waiting = index.find(query)
        assert waiting is not None
        assert waiting.interest.touched_at == 2
    # A later watch of the same prefix knows revision 3 and waits for what comes after it.
    index.wait(b"3", "a/", False, 3)
    waiting = index.find(b"3")
    assert waiting is not None
    assert waiting.interest.touched_at == 0


@given(
    steps=st.lists(
        st.one_of(
            st.sampled_from(KEYS),
            st.tuples(st.sampled_from(PATTERNS), st.booleans()),
        ),
        max_size=40,
    ),
    waiting_max=st.sampled_from([2, 100]),
)
def test_watch_index_after_any_steps_knows_the_first_touch_of_each_watch(
    steps: list[str | tuple[str, bool]], waiting_max: int
) -> None:
    index = WatchIndex(waiting_max)
    log: list[str] = []
    watches: list[tuple[bytes, str, bool, int]] = []
    for number, step in enumerate(steps):
        if isinstance(step, str):
            log.append(step)
            continue
        changes = {revision: change(key, revision) for revision, key in enumerate(log, 1)}
        index.advance(changes, len(log))
        watches.append((b"%d" % number, *step, len(log)))
        index.wait(b"%d" % number, *step, len(log))
    index.advance(
        {revision: change(key, revision) for revision, key in enumerate(log, 1)}, len(log)
    )
    found = 0
    for query, pattern, exact, after in watches:
        waiting = index.find(query)
        if waiting is None:
            continue
        found += 1
        touches = [
            revision
            for revision, key in enumerate(log, 1)
            if revision > after and (key == pattern if exact else key.startswith(pattern))
        ]
        assert waiting.interest.touched_at == (touches[0] if touches else 0)
    assert found == min(waiting_max, len(watches))


@pytest.mark.parametrize("exact", [True, False])
def test_watch_index_asked_again_with_the_same_bytes_waits_once(exact: bool) -> None:
    index = WatchIndex()
    for _ in range(3):
        index.wait(b"1", "a", exact, 0)
    waiting = index.find(b"1")
    assert waiting is not None
    assert waiting.interest.waiting == 1
