"""States and operations as small numbers, and every step of the model taken only once.

The search works on numbers alone: that is what makes it fast, and why every model runs in it. A
table is made for one check, shared by all its keys, and counts the memory that its states take.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from typing import Any, Final, NamedTuple

from jepsen_like.checkers.meter import Meter
from jepsen_like.checkers.models import IMPOSSIBLE, Action, Kind, Model
from jepsen_like.checkers.values import PLAIN, key_of

NOWHERE: Final = -1
"""The number of the state that an impossible operation leads to."""

UNSEEN: Final = 1
"""The number of a state that nobody will see before it is overwritten; see ``bounds``."""

STEP_BYTES = 100
"""What one remembered step costs: an entry in a dictionary of small numbers, and its slack."""


class Signature(NamedTuple):
    """What was asked and answered; the values are as recorded."""

    f: str
    argument: Any
    result: Any


def size_of(state: Hashable) -> int:
    """Return a careful guess of what a state takes, with the chunks of a snapshot.

    Other elements are those of the history: many states hold the same ones.
    """
    size = sys.getsizeof(state)
    if isinstance(state, tuple):
        size += sum(sys.getsizeof(each) for each in state if isinstance(each, bytes))
    return size


class Table:
    """One model's states and operations by number."""

    def __init__(self, model: Model, meter: Meter) -> None:
        self.model = model
        self._told = model.told
        self._states: list[Hashable] = [model.initial, None]  # the second stands for UNSEEN
        self._numbers: dict[Hashable, int] = {model.initial: 0}
        self._actions: list[Action] = []
        self._classes: dict[Hashable, int] = {}
        self.steps: list[dict[int, int]] = []
        """By class, then by state: the state after it. What is missing was not asked yet."""
        self.kinds: list[Kind] = []
        """By class."""
        self.reads: list[bool] = []
        self.blind: list[bool] = []
        self.overwrites: list[bool] = []
        """By class, what the kind says: changes nothing; possible in every state; and resets it."""
        self.signatures: list[Signature] = []
        """By class: what was asked and answered."""
        self._meter = meter

    def class_of(self, f: str, argument: Any, result: Any, known: bool) -> int:
        """Return the number of everything that was asked and answered so; -1 if it can be dropped.

        Raises:
            BadOperation: If the model has no such operation.
        """
        if f not in self._told:
            result = None
        plain = type(argument) in PLAIN and type(result) in PLAIN
        key = (
            (f, argument, result, known) if plain else (f, key_of(argument), key_of(result), known)
        )
        found = self._classes.get(key)
        if found is None:
            action = self.model.action(f, argument, result, known)
            found = -1 if action is None else self._add(action, Signature(f, argument, result))
            self._classes[key] = found
        return found

    def _add(self, action: Action, signature: Signature) -> int:
        self._actions.append(action)
        self.signatures.append(signature)
        self.steps.append({})
        kind = action.kind
        self.kinds.append(kind)
        self.reads.append(kind is Kind.READ)
        self.blind.append(kind is Kind.BLIND or kind is Kind.OVERWRITE)
        self.overwrites.append(kind is Kind.OVERWRITE)
        return len(self._actions) - 1

    def step(self, class_: int, state: int) -> int:
        """Return the state after it, or ``NOWHERE``; remember it in ``steps``."""
        if state == UNSEEN:
            return self._step_unseen(class_)
        after = self._actions[class_].step(self._states[state])
        number = NOWHERE if after is IMPOSSIBLE else self._number(after)
        self.steps[class_][state] = number
        self._meter.add(STEP_BYTES)
        return number

    def _step_unseen(self, class_: int) -> int:
        if self.overwrites[class_]:
            number = self.step(class_, 0)
        else:
            number = UNSEEN if self.blind[class_] else NOWHERE
        self.steps[class_][UNSEEN] = number
        return number

    def _number(self, state: Hashable) -> int:
        number = self._numbers.get(state)
        if number is None:
            number = self._numbers[state] = len(self._states)
            self._states.append(state)
            self._meter.add(STEP_BYTES + size_of(state))
        return number

    def bounds(self, class_: int) -> bool:
        """Tell whether a read says of states that they cannot become what it saw."""
        return self._actions[class_].within is not None

    def within(self, class_: int, state: int) -> bool:
        """Tell whether a state may still become what the read saw, without an overwrite."""
        within = self._actions[class_].within
        return within is None or within(self._states[state])
