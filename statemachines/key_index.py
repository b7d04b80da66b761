"""An ordered set of keys: what makes prefix and range reads cost what they return.

It owns the order of keys and nothing else; it never knows what a key holds. It guards that a scan
sees every key once, in their order (of text: code points, which is also that of the UTF-8 bytes),
and that what was captured stays as it was: a block that a capture shares is copied before it
changes.

Why this and not something else: one sorted list costs a move of the whole list per new key (half a
millisecond at a million keys); a list that is sorted when it is first read makes the first read
after a write cost as much. Sorted blocks cost about a microsecond per new key, nothing per write to
a key that is there, and are too little code to be worth a dependency.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

Key = TypeVar("Key", str, int, tuple[int, int], tuple[int, str])

_BLOCK_KEYS_MAX = 1024
"""A block is split in two when it grows over this. Inserting moves at most so many references."""


class KeyIndex(Generic[Key]):
    """A sorted set of texts, numbers or tuples in blocks; blocks that run empty are dropped.

    Args:
        keys: What to start with, in ascending order, each once.
    """

    def __init__(self, keys: Sequence[Key] = ()) -> None:
        half = _BLOCK_KEYS_MAX // 2
        # Each block is sorted, none is empty, and they stand in ascending order.
        self._blocks: list[list[Key]] = [
            list(keys[start : start + half]) for start in range(0, len(keys), half)
        ]
        self._lasts: list[Key] = [block[-1] for block in self._blocks]  # the last key of each block
        self._shared = [False] * len(self._blocks)  # which blocks a capture may still read
        self._count = len(keys)

    def __len__(self) -> int:
        return self._count

    def add(self, key: Key) -> None:
        """Add a key that is not in the set."""
        self._count += 1
        if not self._blocks or key > self._lasts[-1]:
            self._append(key)
            return
        at = bisect_left(self._lasts, key)
        block = self._own_block(at)
        block.insert(bisect_left(block, key), key)
        if len(block) > _BLOCK_KEYS_MAX:
            middle = len(block) // 2
            self._blocks.insert(at + 1, block[middle:])
            del block[middle:]
            self._shared.insert(at, False)
            self._lasts.insert(at, block[-1])
            self._lasts[at + 1] = self._blocks[at + 1][-1]

    def _append(self, key: Key) -> None:
        """Add a key behind all others: keys that only rise fill block after block."""
        if self._blocks and len(self._blocks[-1]) < _BLOCK_KEYS_MAX:
            self._own_block(-1).append(key)
            self._lasts[-1] = key
            return
        self._blocks.append([key])
        self._lasts.append(key)
        self._shared.append(False)

    def remove(self, key: Key) -> None:
        """Remove a key that is in the set."""
        self._count -= 1
        at = bisect_left(self._lasts, key)
        block = self._own_block(at)
        del block[bisect_left(block, key)]
        if block:
            self._lasts[at] = block[-1]
        else:
            del self._blocks[at], self._lasts[at], self._shared[at]

    def capture(self) -> list[list[Key]]:
        """Return the keys of this moment, in order, in blocks that will not change. Only to read.

        Costs a reference per block, and later a copy of each block that gains or loses a key.
        """
        self._shared = [True] * len(self._blocks)
        return list(self._blocks)

    def _own_block(self, at: int) -> list[Key]:
        """Return a block to change."""
        if self._shared[at]:
            self._blocks[at] = list(self._blocks[at])
            self._shared[at] = False
        return self._blocks[at]

    def first(self) -> Key | None:
        """Return the least key; None if there is none."""
        return self._blocks[0][0] if self._blocks else None

    def scan(self, start: Key | None = None) -> Iterator[Key]:
        """Yield the keys from ``start`` on, in order. The set must not change meanwhile."""
        first = 0 if start is None else bisect_left(self._lasts, start)
        for at in range(first, len(self._blocks)):
            block = self._blocks[at]
            begin = bisect_left(block, start) if start is not None and at == first else 0
            for position in range(begin, len(block)):
                yield block[position]
