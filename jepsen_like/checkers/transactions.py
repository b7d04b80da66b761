"""Judges transactions over several keys by the revisions that the store gave them.

A check key by key would miss what transactions are for. But each write that happened has a revision
of its own, and each read names the one it reflects: so the order is told, and what is left is to
see that it is true. It is, if

- no two writes share a revision;
- the order of revisions keeps to real time: what was answered before something else was invoked
  has no higher revision, so a read is never of the past;
- writes played in that order give every read its values, and every guard its verdict;
- watches tell that same story.

A write of unknown outcome has no revision. A watch or a read that saw it pins it down; where none
did, and an answer could be right only with its help, the answer is "unknown".

The history has no keys. ``transact`` is invoked with ``{"put": {key: value}, "if": {key: value}}``,
where null deletes and stands for absent, and answered ``{"revision": R}``, or ``{"revision": R,
"done": false}`` if a guard did not hold at R. ``read`` is invoked with a list of keys and answered
``{"revision": R, "values": {key: value}}``. ``watch`` is invoked with ``{"from": R, "keys": list}``
(null for all keys), and answered ``{"events": [[revision, key, value], ...], "through": R,
"compacted": false}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from jepsen_like.checkers.direct import Ranked, out_of_rank
from jepsen_like.checkers.values import key_of
from jepsen_like.checkers.watches import (
    Delivery,
    Judgement,
    Write,
    check_watches,
    told_by,
    writer_of,
)
from jepsen_like.history import NEMESIS, Entry, HistoryError

Opened = tuple[int, str, Any]
"""Position of the invoke, function, argument."""


class Look(NamedTuple):
    """What was seen of several keys at one revision.

    Attributes:
        invoked: Position of the invoke.
        answered: Position of the answer.
        revision: What it reflects.
        values: By key.
        refused: Whether these are the guards of a write that did not happen: then at least one must
            differ, and not all be equal.
    """

    invoked: int
    answered: int
    revision: int
    values: Mapping[str, Any]
    refused: bool


class Recorded:
    """The operations of a history.

    Attributes:
        writes: Known writes, by revision.
        unknown: Writes of unknown outcome.
        looks: Reads, and writes whose guard did not hold.
        deliveries: Answers of watches.
        shared: A write whose revision another one has; None if all differ.
    """

    def __init__(self, history: Sequence[Entry]) -> None:
        self.writes: dict[int, Write] = {}
        self.unknown: list[Write] = []
        self.looks: list[Look] = []
        self.deliveries: list[Delivery] = []
        self.shared: int | None = None
        opened: dict[int | str, Opened] = {}
        for position, entry in enumerate(history):
            if entry.process == NEMESIS:
                continue
            if entry.type == "invoke":
                if entry.process in opened:
                    raise HistoryError(f"process {entry.process} invokes twice", position)
                opened[entry.process] = (position, entry.f, entry.value)
                continue
            begin = opened.pop(entry.process, None)
            if begin is None:
                raise HistoryError(f"{entry.type} of process {entry.process} unasked", position)
            try:
                if entry.type == "ok":
                    self._answered(begin, position, entry.value)
                elif entry.type == "info":
                    self._lost(begin)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                text = f"{entry.f} was asked {begin[2]!r} and answered {entry.value!r}: {error!r}"
                raise HistoryError(text, position) from None
        for begin in opened.values():
            self._lost(begin)

    def _lost(self, begin: Opened) -> None:
        invoked, f, argument = begin
        if f == "transact":
            self.unknown.append(Write(invoked, inf, argument["put"], argument.get("if", {})))

    def _answered(self, begin: Opened, position: int, value: Any) -> None:
        invoked, f, argument = begin
        if f == "read":
            values = {key: value["values"][key] for key in argument}
            self.looks.append(Look(invoked, position, value["revision"], values, refused=False))
        elif f == "watch":
            keys = argument["keys"]
            through = None if value["compacted"] else value["through"]
            events = [(revision, key, each) for revision, key, each in value["events"]]
            wanted = None if keys is None else frozenset(keys)
            self.deliveries.append(Delivery(position, argument["from"], through, wanted, events))
        elif f != "transact":
            raise ValueError(f"no operation {f!r}")
        elif value.get("done", True):
            write = Write(invoked, position, argument["put"], argument.get("if", {}))
            if self.writes.setdefault(value["revision"], write) is not write:
                self.shared = position if self.shared is None else self.shared
        else:
            guards = argument.get("if", {})
            self.looks.append(Look(invoked, position, value["revision"], guards, refused=True))


def check_transactions(history: Sequence[Entry]) -> Judgement:
    """Judge a history of transactions, reads of several keys, and watches.

    Args:
        history: Entries in the order of real time, as this module's text describes them.

    Returns:
        "no" with the entry of a wrong answer, "unknown" with the reason, or "yes".

    Raises:
        HistoryError: If no run can have recorded it.
    """
    recorded = Recorded(history)
    if not (recorded.writes or recorded.looks or recorded.deliveries):
        return Judgement("unknown", "nothing was answered: the history shows nothing")
    if recorded.shared is not None:
        return Judgement("no", "two writes have the same revision", recorded.shared)
    if recorded.deliveries:
        watched = check_watches(recorded.deliveries, recorded.writes, recorded.unknown)
        if watched.verdict == "no":
            return watched
    placed, left = _place_watched(recorded)
    late = out_of_rank(_ranked(placed, recorded.looks))
    if late is not None:
        reason = "it was answered before something of lower revision was invoked"
        return Judgement("no", reason, int(late.answered))
    guessed, left = _place_seen(recorded, placed, left)
    if out_of_rank(_ranked(guessed, recorded.looks)) is not None:
        guessed, left = placed, recorded.unknown
    return _replay(guessed, left, recorded.looks)


def _ranked(writes: Mapping[int, Write], looks: Sequence[Look]) -> list[Ranked]:
    """Rank by revision; what reflects a write comes after it."""
    ranked = [Ranked(2 * at, write.invoked, write.answered) for at, write in writes.items()]
    return ranked + [Ranked(2 * each.revision + 1, each.invoked, each.answered) for each in looks]


def _place_watched(recorded: Recorded) -> tuple[dict[int, Write], list[Write]]:
    """Give each write of unknown outcome that a watch told the revision that it told."""
    placed = dict(recorded.writes)
    left = list(recorded.unknown)
    for revision, changes in sorted(told_by(recorded.deliveries).items()):
        write = None if revision in placed else writer_of(changes, left)
        if write is not None:
            placed[revision] = write
            left.remove(write)
    return placed, left


def _place_seen(
    recorded: Recorded, placed: Mapping[int, Write], left: Sequence[Write]
) -> tuple[dict[int, Write], list[Write]]:
    """Guess the revision of each further write of unknown outcome whose values a read saw.

    It is the free revision next below the first such read. That may be wrong; ``_replay`` tries it.
    """
    guessed = dict(placed)
    unseen = []
    watched = max((each.through or 0 for each in recorded.deliveries), default=0)
    for write in left:
        revision = min((each.revision for each in recorded.looks if _shows(each, write)), default=0)
        while revision in guessed:
            revision -= 1
        if revision > watched:
            guessed[revision] = write
        else:
            unseen.append(write)
    return guessed, unseen


def _shows(look: Look, write: Write) -> bool:
    return not look.refused and any(
        value is not None and key in look.values and key_of(look.values[key]) == key_of(value)
        for key, value in write.puts.items()
    )


def _replay(placed: Mapping[int, Write], left: Sequence[Write], looks: Sequence[Look]) -> Judgement:
    """Play the writes in order, and compare what was seen with what was there."""
    state: dict[str, Any] = {}
    doubts = [*left, *(write for write in placed.values() if write.answered == inf)]
    upcoming = sorted(looks, key=lambda look: (look.revision, look.answered))
    position = 0
    unclear = False
    for revision, write in [*sorted(placed.items()), (None, None)]:
        while position < len(upcoming) and (
            revision is None or upcoming[position].revision < revision
        ):
            look = upcoming[position]
            position += 1
            wrong = _differs(look, state)
            if wrong is None:
                continue
            if not _could_differ(look, wrong, doubts):
                return _contradicted(look, wrong, state)
            unclear = True
        if revision is None or write is None:
            break
        for key, value in write.guards.items():
            if key_of(state.get(key)) != key_of(value):
                if write.answered == inf or _may_write(doubts, key, value):
                    unclear = True
                    continue
                reason = f"revision {revision} was written where {key!r} was {state.get(key)!r}"
                return Judgement("no", f"{reason}, not {value!r}", int(write.answered))
        state.update(write.puts)
    if unclear:
        return Judgement("unknown", "it depends on when writes of unknown outcome happened")
    return Judgement("yes", "the order of revisions explains every answer")


def _differs(look: Look, state: Mapping[str, Any]) -> str | None:
    """Return a key whose value was not there; for a refused write, any key if all were."""
    wrong = [key for key, value in look.values.items() if key_of(state.get(key)) != key_of(value)]
    if look.refused:
        return None if wrong else next(iter(look.values), "")
    return wrong[0] if wrong else None


def _could_differ(look: Look, key: str, doubts: Sequence[Write]) -> bool:
    if look.refused:
        return any(name in write.puts for write in doubts for name in look.values)
    return _may_write(doubts, key, look.values[key])


def _may_write(doubts: Sequence[Write], key: str, value: Any) -> bool:
    return any(key in each.puts and key_of(each.puts[key]) == key_of(value) for each in doubts)


def _contradicted(look: Look, key: str, state: Mapping[str, Any]) -> Judgement:
    if look.refused:
        reason = f"a write was refused at revision {look.revision}, and all its guards held"
    else:
        there, seen = state.get(key), look.values[key]
        reason = f"at revision {look.revision} {key!r} was {there!r}, and {seen!r} was read"
    return Judgement("no", reason, look.answered)
