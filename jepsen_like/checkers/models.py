"""What a model is: an initial state, and what each operation does to a state.

A model is sequential and knows nothing of time or clients. Its states are hashable and immutable;
equal states are equal values, or the search visits them twice. An operation becomes an ``Action``
once, however often it was asked; the search only ever runs actions.

A result of a wrong type is an answer that no order explains, so it is an action that is never
possible. An argument of a wrong type is the recorder's fault: ``BadOperation``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol

from paxos.core.errors import PaxosError


class BadOperation(PaxosError):
    """The history asks for what the model does not have, or with an argument it cannot take."""


class Impossible:
    """The type of ``IMPOSSIBLE``."""

    __slots__ = ()


IMPOSSIBLE: Final = Impossible()
"""What an action returns where the recorded result could not have been given."""

Step = Callable[[Any], Any]
"""From a state to the next one, or to ``IMPOSSIBLE``. It must not change the state it is given."""


class Kind(Enum):
    """What the search may take for granted about an action.

    Each is a promise about *every* state; ``CONDITIONAL`` promises nothing and is always right.
    """

    CONDITIONAL = "conditional"
    """May be impossible in some states, or lead to a state that depends on the one before."""
    READ = "read"
    """Leaves the state as it is, wherever it is possible."""
    BLIND = "blind"
    """Possible in every state."""
    OVERWRITE = "overwrite"
    """Possible in every state, and leads to the same state from each."""


class Action(NamedTuple):
    """One operation with its result, as the search sees it.

    Attributes:
        step: What it does.
        kind: What holds in every state.
        within: Of a read: whether a state may still become the one it saw, by actions that are no
            overwrite. None where one cannot tell: then any state may.
    """

    step: Step
    kind: Kind = Kind.CONDITIONAL
    within: Callable[[Any], bool] | None = None


class Model(Protocol):
    """What the search asks of a model.

    Attributes:
        name: What the command line calls it.
        initial: The first state.
        split_by_key: Whether each key is an object of its own. Only then may a history be checked
            key by key.
        functions: The operations it has.
        told: Those of them whose result says something. Of the others no result is looked at: a
            write that was answered is a write, whatever the answer.
    """

    @property
    def name(self) -> str:
        """What the command line calls it."""

    @property
    def initial(self) -> Hashable:
        """The first state."""

    @property
    def split_by_key(self) -> bool:
        """Whether each key is an object of its own."""

    @property
    def functions(self) -> frozenset[str]:
        """The operations it has."""

    @property
    def told(self) -> frozenset[str]:
        """Those whose result says something."""

    def action(self, f: str, argument: Any, result: Any, known: bool) -> Action | None:
        """Return what the operation does.

        Args:
            f: One of ``functions``.
            argument: The value on ``invoke``.
            result: The value on ``ok``; None if the outcome is unknown or ``f`` not in ``told``.
            known: Whether there is a result. Otherwise the action is what happens if it happens,
                whatever was answered.

        Returns:
            The action, or None if its outcome is unknown and it could change nothing.

        Raises:
            BadOperation: If the model cannot take the argument.
        """


NEVER = Action(lambda _: IMPOSSIBLE)
"""Impossible in every state."""


def read_of(value: Hashable) -> Action:
    """Return a read that saw exactly the state ``value``."""
    return Action(lambda state: state if state == value else IMPOSSIBLE, Kind.READ)


def overwrite_by(value: Hashable) -> Action:
    """Return a write of the whole state."""
    return Action(lambda _: value, Kind.OVERWRITE)
