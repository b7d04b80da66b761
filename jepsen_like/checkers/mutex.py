"""The model of a lock with fencing tokens.

Every acquire is granted with a token greater than all before it, and a release names the token that
it gives back. A holder that never learned its token cannot name it; but the token may be given back
by one who learned it otherwise, and this model lets it: no order is refused that a lock allows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from jepsen_like.checkers.models import IMPOSSIBLE, NEVER, Action, BadOperation


class Lock(NamedTuple):
    """What a lock knows.

    Attributes:
        held: Whether somebody has it.
        token: The holder's token; None while nobody has it, or nobody knows which it is.
        floor: Every later token is greater. None before the first.
    """

    held: bool = False
    token: int | None = None
    floor: int | None = None


class Mutex:
    """A lock; free at first."""

    name = "mutex"
    initial = Lock()
    split_by_key = True
    functions = frozenset({"acquire", "release"})
    told = frozenset({"acquire"})

    def action(self, f: str, argument: Any, result: Any, known: bool) -> Action | None:
        """Return what the operation does."""
        if f == "acquire":
            return _acquire(result) if known else Action(_acquire_unseen)
        if not _is_token(argument):
            raise BadOperation(f"release takes the token of its acquire, not {argument!r}")
        return _release(argument)


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _acquire(token: Any) -> Action:
    if not _is_token(token):
        return NEVER

    def step(lock: Lock) -> Any:
        if lock.held or (lock.floor is not None and token <= lock.floor):
            return IMPOSSIBLE
        return Lock(True, token, token)

    return Action(step)


def _acquire_unseen(lock: Lock) -> Any:
    """Take it with a token that nobody saw: a whole number above the floor."""
    if lock.held:
        return IMPOSSIBLE
    return Lock(True, None, None if lock.floor is None else lock.floor + 1)


def _release(token: int) -> Action:
    def step(lock: Lock) -> Any:
        if not lock.held:
            return IMPOSSIBLE
        if lock.token is None:
            possible = lock.floor is None or token >= lock.floor
        else:
            possible = token == lock.token
        return Lock(False, None, token) if possible else IMPOSSIBLE

    return Action(step)
