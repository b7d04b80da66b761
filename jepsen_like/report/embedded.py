"""All operations in few bytes, for the script of the page: every key's timeline, drawn when asked.

The form is one JSON object (see ``pack``), whose columns hold one number per operation. Its size is
bounded, whatever the history: the worst keys come first, and a key that does not fit in whole is
cut round the operation that matters, or to its end.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from jepsen_like.report import shown
from jepsen_like.report.keys import Key
from jepsen_like.report.operations import Operation

CHARS_MAX = 4_000_000
"""Of the whole object, about. A page of this size opens in a second or two."""
KEYS_MAX = 20_000
"""Keys in the index."""
OUTCOMES = ("ok", "fail", "info")


class _Texts:
    """Texts by number, each kept once."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self.chars = 0
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """Return the number of a text."""
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self.all)
            self.all.append(text)
            self.chars += len(text) + 3
        return number


def pack(keys: Sequence[Key], timed: bool = True) -> str:
    """Return the operations of ``keys``, which come the worst first, as JSON for a script element.

    ``{"texts": [...], "keys": [[name, operations, ok, fail, info, slowest, bad, skipped, columns],
    ...], "left_out": n, "timed": true}``: ``slowest`` in microseconds or -1, ``bad`` the number of
    the impossible operation or -1, ``skipped`` how many operations are missing before the first one
    given; columns are begin (microseconds since the one before), duration (or -1), process, name,
    outcome, argument, result (the last five as numbers of texts or outcomes), and how many
    operations of the key began between its own two ends, or -1 if it has no end: clocks are coarser
    than the order of entries.
    """
    texts = _Texts()
    rows: list[str] = []
    spent = 0
    for key in keys[:KEYS_MAX]:
        room = (CHARS_MAX - spent - texts.chars) // 44  # about what one operation takes
        row = json.dumps(_row(key, texts, max(0, room)), separators=(",", ":"), ensure_ascii=False)
        spent += len(row)
        rows.append(row)
    head = json.dumps(texts.all, separators=(",", ":"), ensure_ascii=False)
    left_out = max(0, len(keys) - KEYS_MAX)
    told = json.dumps(timed)
    return _inert(
        f'{{"texts":{head},"keys":[{",".join(rows)}],"left_out":{left_out},"timed":{told}}}'
    )


def _inert(text: str) -> str:
    """Return JSON that cannot end the element it stands in, nor begin another."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _row(key: Key, texts: _Texts, room: int) -> list[Any]:
    bad = -1
    if key.impossible is not None:
        bad = key.operations.index(key.impossible)
    first, last = _slice(len(key.operations), bad, room)
    name = "" if key.name is None else shown.visible(key.name, shown.CELL_CHARS)
    counts = key.counts
    slowest = -1 if key.slowest is None else round(key.slowest / 1000)
    return [
        name,
        counts["operations"],
        counts["ok"],
        counts["fail"],
        counts["info"],
        slowest,
        bad,
        first,
        _columns(key.operations, first, last, texts),
    ]


def _slice(total: int, bad: int, room: int) -> tuple[int, int]:
    """Return which operations are given: all, or some round the impossible one, or the last."""
    if total <= room:
        return 0, total
    if bad < 0:
        return total - room, total
    first = min(max(0, bad - room * 3 // 4), total - room)
    return first, first + room


def _columns(
    operations: Sequence[Operation], first: int, last: int, texts: _Texts
) -> list[list[int]]:
    columns: list[list[int]] = [[] for _ in range(8)]
    before = 0
    begun = [each.invoked_at for each in operations]
    for number in range(first, last):
        each = operations[number]
        start = round(each.start / 1000)
        latency = each.latency
        values = (
            start - before,
            -1 if latency is None else round(latency / 1000),
            texts.number(shown.visible(str(each.process), shown.LABEL_CHARS)),
            texts.number(shown.visible(each.f, shown.LABEL_CHARS)),
            OUTCOMES.index(each.outcome),
            texts.number(shown.argument_text(each)),
            texts.number(shown.result_text(each)),
            -1 if each.done_at is None else bisect_left(begun, each.done_at) - number - 1,
        )
        for column, value in zip(columns, values, strict=True):
            column.append(value)
        before = start
    return columns
