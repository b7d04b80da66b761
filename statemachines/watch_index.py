"""Which waiting watches have something new, found once per change instead of once per watch.

A watch that found nothing is asked again, with the same bytes, after every applied batch. Looking
each time through all changes since its revision would cost (changes x watches). Here every change
is looked at once against a table of the watched keys and prefixes, so that asking a quiet watch
again is one dictionary lookup.

It owns what this node remembers about waiting watches: a cache, no part of the replicated state.
Forgetting any of it costs time only. It guards one claim: a waiting watch whose interest is
untouched had no matching change between its revision and ``through``; else ``touched_at`` is the
revision of the first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple, Protocol

WAITING_MAX = 65_536
"""Watches remembered; the one not asked about for longest is forgotten first."""


class Keyed(Protocol):
    """One thing that a change touched."""

    @property
    def key(self) -> str:
        """Which one."""


class Changes(Protocol):
    """What happened, by revision."""

    def __getitem__(self, revision: int, /) -> Iterable[Keyed]:
        """Return what a revision touched."""


class Interest:
    """One key or prefix that somebody waits for, until the first change that touches it."""

    __slots__ = ("exact", "pattern", "touched_at", "waiting")

    def __init__(self, pattern: str, exact: bool) -> None:
        self.pattern = pattern
        self.exact = exact
        self.touched_at = 0  # the first revision that touched it; 0: none yet
        self.waiting = 0  # watches that share it


class Waiting(NamedTuple):
    """A watch that found nothing: what it waits for, and the revision it knows."""

    interest: Interest
    after: int


class WatchIndex:
    """The watches that wait on this node, by what they wait for.

    Attributes:
        through: Changes up to this revision have been looked at. Read with every write and so a
            plain attribute; only ``advance`` moves it.
    """

    def __init__(self, waiting_max: int = WAITING_MAX) -> None:
        self._waiting_max = waiting_max
        self._waiting: OrderedDict[bytes, Waiting] = OrderedDict()  # by query, last asked last
        self._keys: dict[str, Interest] = {}  # untouched interests in one key
        self._prefixes: dict[str, Interest] = {}  # untouched interests in a prefix
        self._lengths: dict[int, int] = {}  # how many of those prefixes have which length
        self._ascending: tuple[int, ...] = ()  # the keys of _lengths, sorted
        self.through = 0

    def advance(self, changes: Changes, through: int) -> None:
        """Look at the changes up to revision ``through``, each once."""
        if self._keys or self._prefixes:
            for revision in range(self.through + 1, through + 1):
                for change in changes[revision]:
                    self._touch(change.key, revision)
        self.through = through

    def find(self, query: bytes) -> Waiting | None:
        """Return what is known of a watch that waits with exactly these bytes, if anything."""
        waiting = self._waiting.get(query)
        if waiting is not None:
            self._waiting.move_to_end(query)
        return waiting

    def wait(self, query: bytes, pattern: str, exact: bool, after: int) -> None:
        """Remember a watch that found nothing between ``after`` and ``through``."""
        self._drop(query)
        table = self._keys if exact else self._prefixes
        interest = table.get(pattern)
        if interest is None:
            interest = table[pattern] = Interest(pattern, exact)
            if not exact:
                self._count_length(len(pattern), 1)
        interest.waiting += 1
        self._waiting[query] = Waiting(interest, after)
        if len(self._waiting) > self._waiting_max:
            self._drop(next(iter(self._waiting)))

    def _touch(self, key: str, revision: int) -> None:
        interest = self._keys.pop(key, None)
        if interest is not None:
            interest.touched_at = revision
        for length in self._ascending:
            if length > len(key):
                break
            interest = self._prefixes.pop(key[:length], None)
            if interest is not None:
                interest.touched_at = revision
                self._count_length(length, -1)

    def _drop(self, query: bytes) -> None:
        waiting = self._waiting.pop(query, None)
        if waiting is None:
            return
        interest = waiting.interest
        interest.waiting -= 1
        if interest.waiting or interest.touched_at:
            return
        if interest.exact:
            del self._keys[interest.pattern]
        else:
            del self._prefixes[interest.pattern]
            self._count_length(len(interest.pattern), -1)

    def _count_length(self, length: int, change: int) -> None:
        count = self._lengths.get(length, 0) + change
        if count:
            self._lengths[length] = count
        else:
            del self._lengths[length]
        if len(self._lengths) != len(self._ascending):
            self._ascending = tuple(sorted(self._lengths))
