"""Models that hold many elements: a list that only grows, a set, a queue."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from jepsen_like.checkers.models import (
    IMPOSSIBLE,
    NEVER,
    Action,
    BadOperation,
    Kind,
    read_of,
)
from jepsen_like.checkers.values import key_of


class Chain:
    """A list as its last element and the list before it.

    A list of n elements costs as much as the one before it and a pair. There is only one object for
    each list that grew from the same empty one, so two lists are equal when they are the same.
    """

    __slots__ = ("_before", "_longer", "length")

    def __init__(self, before: Chain | None = None) -> None:
        self._before = before
        self._longer: dict[Hashable, Chain] = {}
        self.length: int = 0 if before is None else before.length + 1

    def and_then(self, element: Hashable) -> Chain:
        """Return this list with one more element."""
        longer = self._longer.get(element)
        if longer is None:
            longer = self._longer[element] = Chain(self)
        return longer

    def begins(self, other: Chain) -> bool:
        """Tell whether the other list is this one, or begins with it."""
        while other.length > self.length and other._before is not None:
            other = other._before
        return other is self


class AppendList:
    """A list that is appended to and read whole; empty at first."""

    name = "append"
    split_by_key = True
    functions = frozenset({"append", "read"})
    told = frozenset({"read"})

    def __init__(self) -> None:
        self.initial = Chain()

    def action(self, f: str, argument: Any, result: Any, known: bool) -> Action | None:
        """Return what the operation does."""
        if f == "append":
            element = key_of(argument)
            return Action(lambda state: state.and_then(element), Kind.BLIND)
        if not known:
            return None
        if not isinstance(result, list | tuple):
            return NEVER
        seen = self.initial
        for each in result:
            seen = seen.and_then(key_of(each))
        return Action(read_of(seen).step, Kind.READ, lambda state: state.begins(seen))


class GrowingSet:
    """A set that is added to and read whole, as a list in any order; empty at first."""

    name = "set"
    initial: frozenset[Hashable] = frozenset()
    split_by_key = True
    functions = frozenset({"add", "read"})
    told = frozenset({"read"})

    def action(self, f: str, argument: Any, result: Any, known: bool) -> Action | None:
        """Return what the operation does. A read that saw an element twice saw no set."""
        if f == "add":
            added = frozenset({key_of(argument)})
            return Action(lambda state: state | added, Kind.BLIND)
        if not known:
            return None
        if not isinstance(result, list | tuple):
            return NEVER
        seen = frozenset(map(key_of, result))
        if len(seen) < len(result):
            return NEVER
        return Action(read_of(seen).step, Kind.READ, seen.issuperset)


class Queue:
    """A queue, first in, first out; empty at first."""

    name = "queue"
    initial: tuple[Hashable, ...] = ()
    split_by_key = True
    functions = frozenset({"enqueue", "dequeue"})
    told = frozenset({"dequeue"})

    def action(self, f: str, argument: Any, result: Any, known: bool) -> Action | None:
        """Return what the operation does."""
        if f == "enqueue":
            if argument is None:
                raise BadOperation("null cannot be enqueued: it is the answer of an empty queue")
            last = (key_of(argument),)
            return Action(lambda state: state + last, Kind.BLIND)
        if not known:
            return Action(lambda state: state[1:] if state else IMPOSSIBLE)
        if result is None:
            return read_of(())
        first = key_of(result)
        return Action(lambda state: state[1:] if state and state[0] == first else IMPOSSIBLE)
