"""Histories by hand, one word for each entry."""

from __future__ import annotations

from typing import Any

from jepsen_like.history import Entry, EntryType


class Hand:
    """Writes a history down: ``invoke``, ``ok``, ``fail`` and ``info`` of a process."""

    def __init__(self) -> None:
        self.history: list[Entry] = []
        self._asked: dict[int, tuple[str, Any, str | None]] = {}

    def invoke(self, process: int, f: str, value: Any = None, key: str | None = None) -> Hand:
        self._asked[process] = (f, value, key)
        return self._add(process, "invoke", value)

    def ok(self, process: int, value: Any = None) -> Hand:
        return self._add(process, "ok", value)

    def fail(self, process: int, error: str | None = None) -> Hand:
        return self._add(process, "fail", self._asked[process][1], error)

    def info(self, process: int) -> Hand:
        return self._add(process, "info", None, "timed out")

    def done(
        self, process: int, f: str, value: Any = None, result: Any = None, key: str | None = None
    ) -> Hand:
        """Ask and be answered at once."""
        return self.invoke(process, f, value, key).ok(process, result)

    def _add(self, process: int, type_: EntryType, value: Any, error: str | None = None) -> Hand:
        f, _, key = self._asked[process]
        self.history.append(Entry(process, type_, f, key, value, len(self.history), error))
        return self
