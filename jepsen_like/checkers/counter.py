"""The model of a counter."""

from __future__ import annotations

from typing import Any

from jepsen_like.checkers.models import NEVER, Action, BadOperation, Kind, read_of


def is_number(value: Any) -> bool:
    """Tell whether it is a number of JSON."""
    return isinstance(value, int | float) and not isinstance(value, bool)


class Counter:
    """A number that is added to and read; 0 at first."""

    name = "counter"
    initial = 0
    split_by_key = True
    functions = frozenset({"add", "read"})
    told = frozenset({"read"})

    def __init__(self) -> None:
        self._falls = False  # whether something negative is added anywhere

    def action(self, f: str, argument: Any, result: Any, known: bool) -> Action | None:
        """Return what the operation does."""
        if f == "add":
            if not is_number(argument):
                raise BadOperation(f"add takes a number, not {argument!r}")
            self._falls = self._falls or argument < 0
            return Action(lambda state: state + argument, Kind.BLIND)
        if not known:
            return None
        if not is_number(result):
            return NEVER
        return Action(read_of(result).step, Kind.READ, lambda state: self._falls or state <= result)
