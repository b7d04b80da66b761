"""A recorded history: what was asked, when, and what came of it.

Owns the entry and its JSON Lines form (docs/testing.md), which other tools read too. It knows no
model and no cluster. The order of entries is the order of real time, on one monotonic clock.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

NEMESIS = "nemesis"
"""The ``process`` of entries that say what the nemesis did; checkers skip them."""

EntryType = Literal["invoke", "ok", "fail", "info"]
"""``fail`` did not happen. ``info`` may have happened, or may happen later, or never."""


class Entry(NamedTuple):
    """One line of a history.

    Attributes:
        process: Who asked: a number that asks one thing at a time, and is not used again after
            ``info``; or ``NEMESIS``.
        type: Begin or end of an operation.
        f: The operation's name, in the words of its model.
        key: Of what it asked, or None where the model has one object.
        value: Argument on ``invoke``, result on ``ok``; JSON's types only.
        time: Nanoseconds since the run began, on a monotonic clock.
        error: Why it did not happen, or why nobody knows. A refusal always has one; a
            compare-and-set that was answered "no" is ``fail`` without.
    """

    process: int | str
    type: EntryType
    f: str
    key: str | None
    value: Any
    time: int
    error: str | None = None
