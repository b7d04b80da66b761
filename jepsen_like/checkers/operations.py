"""From entries to operations: what was asked, between when and when, and what is known of it.

An ``ok`` took effect between its invoke and its answer. A ``fail`` did not happen, and is dropped:
a read that timed out, a compare-and-set that was answered "no", a refusal. An ``info``, and an
invoke that was never answered, stays open to the end: it may have happened at any time since.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from jepsen_like.checkers.models import BadOperation, Kind, Model
from jepsen_like.checkers.table import Table
from jepsen_like.history import NEMESIS, Entry, HistoryError

Opened = tuple[int, str, str | None, Any]
"""Position of the invoke, function, key, argument."""


class Operations(NamedTuple):
    """The operations of one key; known ones in the order of their answers.

    Attributes:
        invoked: By known operation: position in the history of its invoke.
        answered: By known operation: position in the history of its answer; it rises.
        classes: By known operation: its number in the table.
        unknown: Of each operation of unknown outcome: position of its invoke, and number in the
            table; in the order of their invokes.
    """

    invoked: list[int]
    answered: list[int]
    classes: list[int]
    unknown: list[tuple[int, int]]


class Recorded:
    """The operations of a history, by key.

    Attributes:
        history: The entries.
        keys: The operations of each key, in the order in which the keys come up, also of those
            where nothing happened; a history whose model is one object has the single key None.
        operations: How many were begun, by clients.
        answered: How many were answered ``ok``.
        unknown_outcome: How many ended ``info`` or never.
    """

    def __init__(self, history: Sequence[Entry], model: Model, table: Table) -> None:
        self.keys: dict[str | None, Operations] = {}
        self.operations = 0
        self.answered = 0
        self.unknown_outcome = 0
        self._model = model
        self._table = table
        self.history = history
        self._pair()

    def _pair(self) -> None:
        """Put each answer to its invoke. This loop sees every entry: it is kept lean."""
        opened: dict[int | str, Opened] = {}
        unknown: list[Opened] = []
        functions, class_of, keys = self._model.functions, self._table.class_of, self.keys
        split = self._model.split_by_key
        begun = answered = position = -1
        try:
            for position, (process, type_, f, key, value, _, _) in enumerate(self.history):
                if type_ == "invoke":
                    if process == NEMESIS:
                        continue
                    begun += 1
                    if process in opened:
                        raise HistoryError(f"process {process} invokes twice", position)
                    if f not in functions:
                        raise BadOperation(self._no_function(f))
                    opened[process] = (position, f, key if split else None, value)
                elif process == NEMESIS:
                    continue
                else:
                    begin = opened.pop(process, None)
                    if begin is None:
                        raise HistoryError(f"{type_} of process {process} without invoke", position)
                    if type_ == "ok":
                        answered += 1
                        invoked, asked, place, argument = begin
                        found = keys.get(place)
                        if found is None:
                            found = keys[place] = Operations([], [], [], [])
                        found[0].append(invoked)
                        found[1].append(position)
                        found[2].append(class_of(asked, argument, value, True))
                    elif type_ == "info":
                        unknown.append(begin)
                    else:
                        keys.setdefault(begin[2], Operations([], [], [], []))
        except BadOperation as error:
            raise HistoryError(str(error), position) from None
        self.operations, self.answered = begun + 1, answered + 1
        self._keep_open(sorted([*unknown, *opened.values()], key=lambda begin: begin[0]))

    def _keep_open(self, unknown: list[Opened]) -> None:
        self.unknown_outcome = len(unknown)
        for position, f, key, argument in unknown:
            try:
                class_ = self._table.class_of(f, argument, None, False)
            except BadOperation as error:
                raise HistoryError(str(error), position) from None
            operations = self.keys.setdefault(key, Operations([], [], [], []))
            if class_ >= 0:
                operations.unknown.append((position, class_))

    def _no_function(self, f: str) -> str:
        has = ", ".join(sorted(self._model.functions))
        return f"{self._model.name} has no operation {f!r}, only {has}"


def beginning(operations: Operations, answers: int, table: Table) -> Operations:
    """Return the history up to its first answers; what has none by then is of unknown outcome."""
    end = operations.answered[answers - 1] if answers else -1
    unknown = [each for each in operations.unknown if each[0] < end]
    for number in range(answers, len(operations.answered)):
        if operations.invoked[number] < end:
            f, argument, _ = table.signatures[operations.classes[number]]
            class_ = table.class_of(f, argument, None, False)
            if class_ >= 0:
                unknown.append((operations.invoked[number], class_))
    return Operations(
        operations.invoked[:answers],
        operations.answered[:answers],
        operations.classes[:answers],
        sorted(unknown),
    )


def is_exact(operations: Operations, table: Table) -> bool:
    """Tell whether a search that went past an answer has looked at nothing that came later.

    It looks ahead where reads bound the states, and where something open has a result that says
    what it did.
    """
    return not any(
        table.bounds(class_)
        or (table.kinds[class_] is not Kind.READ and table.signatures[class_].result is not None)
        for class_ in set(operations.classes)
    )
