"""Registers: one value that is read, written, and exchanged if it is the expected one."""

from __future__ import annotations

from typing import Any

from jepsen_like.checkers.models import (
    IMPOSSIBLE,
    NEVER,
    Action,
    BadOperation,
    Kind,
    overwrite_by,
    read_of,
)
from jepsen_like.checkers.values import key_of


class CasRegister:
    """A register with compare-and-set, null at first."""

    name = "cas-register"
    initial = None
    split_by_key = True
    functions = frozenset({"read", "write", "cas"})
    told = frozenset({"read"})

    def action(self, f: str, argument: Any, result: Any, known: bool) -> Action | None:
        """Return what the operation does."""
        if f == "read":
            return read_of(key_of(result)) if known else None
        if f == "write":
            return overwrite_by(key_of(argument))
        return exchange(argument)


class KeyValue(CasRegister):
    """A register with compare-and-set under each key; an absent one is null."""

    name = "kv"
    functions = frozenset({"read", "write", "cas", "delete"})

    def action(self, f: str, argument: Any, result: Any, known: bool) -> Action | None:
        """Return what the operation does."""
        if f == "delete":
            return overwrite_by(None)
        return super().action(f, argument, result, known)


def exchange(argument: Any) -> Action:
    """Return a compare-and-set that was done; one that was answered "no" did not happen."""
    if not isinstance(argument, list | tuple) or len(argument) != 2:
        raise BadOperation(f"cas takes [old, new], not {argument!r}")
    old, new = map(key_of, argument)
    return Action(lambda state: new if state == old else IMPOSSIBLE)


class TextRegister:
    """A text that is replaced or grows at the end, empty at first."""

    name = "kv-append"
    initial = ""
    split_by_key = True
    functions = frozenset({"get", "put", "append"})
    told = frozenset({"get"})

    def action(self, f: str, argument: Any, result: Any, known: bool) -> Action | None:
        """Return what the operation does."""
        if f == "get":
            if not known:
                return None
            if not isinstance(result, str):
                return NEVER
            text: str = result
            read = read_of(text)
            return Action(read.step, Kind.READ, text.startswith)
        if not isinstance(argument, str):
            raise BadOperation(f"{f} takes a text, not {argument!r}")
        if f == "put":
            return overwrite_by(argument)
        return Action(lambda state: state + argument, Kind.BLIND)
