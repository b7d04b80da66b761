"""What a history says of a task log, as typed records: who asked what when, and what was answered.

It owns the words of such a history (below) and reads them; it judges nothing. A history has no
keys, for one operation may touch many tasks. Times are microseconds of replicated time.

    f         invoked with                                answered with
    register  {node, lease, registration}                 {registration, until}
    report    {node, registration}                        {until}
    leave     {node, registration}                        {}
    drain     {node, drained}                             {}
    submit    {tasks: [{id, priority, after, node,        {created: {id: revision}}
               attempts, not_before, deadline}]}
    claim     {node, registration, count, lease}          {claims: [[id, token, attempt, until]]}
    extend    {node, registration, claims: [[id, token]]} {kept: [id], lost: [id], until}
    complete  {id, token, result}                         {revision}
    fail      {id, token}                                 {revision}
    cancel    {id}                                        {}
    retry     {id}                                        {}
    show      {id}                                        {revision, task: null or [state, token,
                                                          attempt, result]}
    list      {after}                                     {revision, tasks: [[id, created, state,
                                                          token, attempt]], next}
    watch     {from}                                      {events: [[revision, id, state, token]],
                                                          through}
    tick      {}                                          {}

``after`` of a task lists those it depends on; its ``node`` is the only one that can run it, or
null. Of a task everything but its id may be left out; so may the present ``registration`` of a node
that registers, and of answers whatever is a revision or a time (``until``: the end of a lease). In
a watch, a change of a node has null for id and state. An operation that the task log refused is
answered ``{"refused": reason}``. Of ``fail`` and ``info`` see ``history``; neither has a value that
is looked at.

There is one counter, the revision: every change takes the next one. A claim's token is its
revision, and so is a registration; what created a task says where it stands in the order of
submission.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, Final, NamedTuple

from jepsen_like.history import NEMESIS, Entry, HistoryError


class Spell(NamedTuple):
    """When an operation was open, as positions in the history.

    Attributes:
        invoked: Of its invoke.
        answered: Of its answer; infinite where the outcome is unknown.
    """

    invoked: int
    answered: float


Wrong = tuple[str, Spell]
"""What is wrong, and the operation that shows it."""


class Submitted(NamedTuple):
    """A task as one submission asked for it.

    Attributes:
        spell: Of the submission.
        place: Of the task in it, from 0.
        priority: Higher goes first.
        after: The tasks that must be done before it.
        node: The only node that can run it; None if several can.
        attempts: How often it may be claimed; None if that was not written down.
        not_before: Not to be claimed before this time.
        deadline: Not to be claimed from this time on; 0: none.
        created: The revision that made it, if told.
    """

    spell: Spell
    place: int
    priority: int
    after: tuple[str, ...]
    node: str | None
    attempts: int | None
    not_before: int
    deadline: int
    created: int | None


class Claimed(NamedTuple):
    """A task that a claim was answered with.

    Attributes:
        spell: Of the claim.
        token: Its fencing token.
        attempt: Which one this is, from 1.
        node: For which node it was claimed.
        registration: By which registration of the node.
        lease: For how long.
        until: When that ends; None if it was not told.
    """

    spell: Spell
    token: int
    attempt: int
    node: str
    registration: int
    lease: int
    until: int | None


class Told(NamedTuple):
    """What became of an operation on a task, mostly with a token.

    Attributes:
        spell: When.
        token: Of the claim that it speaks for; 0 where it names none.
        taken: Whether it was accepted; None if nobody knows.
        result: Of a completion.
        until: Of an extension: the new end of the lease, if told.
        revision: That it made, if told.
        node: Of an extension: for which node it was asked.
    """

    spell: Spell
    token: int
    taken: bool | None
    result: Any = None
    until: int | None = None
    revision: int | None = None
    node: str | None = None


UNTOLD: Final = ("untold",)
"""The result of a task in a list, which does not tell it."""


class Shown(NamedTuple):
    """A task as a query showed it; ``state`` is None if there was none of that id."""

    spell: Spell
    state: str | None
    token: int = 0
    attempt: int = 0
    result: Any = None
    revision: int | None = None  # that it reflects, if told


class Page(NamedTuple):
    """A page of a list, which is in the order of submission.

    It shows every task that a revision in ``after`` < r <= ``through`` (None: any later one)
    created; ``revision`` is what it reflects. Its tasks stand among ``Task.shows`` too.
    """

    spell: Spell
    after: int
    through: int | None
    ids: dict[str, int]  # with what created each
    revision: int | None


class Registered(NamedTuple):
    """A registration of a node, or a report (an extension) of one.

    Attributes:
        spell: When.
        node: The node.
        registration: Its token; None if nobody knows whether there is one.
        until: When it ends, if told.
        renews: Whether it extends a registration.
    """

    spell: Spell
    node: str
    registration: int | None
    until: int | None
    renews: bool


class Delivery(NamedTuple):
    """What a watch of everything told: each change with ``after`` < revision <= ``through``.

    ``events`` are revision, id, state and token; id and state are None for a change of a node.
    """

    spell: Spell
    after: int
    through: int
    events: list[tuple[int, str | None, str | None, int]]


class Task:
    """Everything that a history says of one task, each list in the order of answers."""

    __slots__ = ("cancels", "claims", "completes", "fails", "holds", "retries", "shows", "submits")

    def __init__(self) -> None:
        self.submits: list[Submitted] = []
        self.claims: list[Claimed] = []
        self.holds: list[Told] = []  # extensions
        self.completes: list[Told] = []
        self.fails: list[Told] = []
        self.cancels: list[Told] = []
        self.retries: list[Told] = []
        self.shows: list[Shown] = []


class Records:
    """The operations of a history.

    Attributes:
        tasks: By id, in the order in which they are first named.
        registrations: Of nodes, reports among them.
        unsteady: Nodes that were told to take no more work, or left; asked for is enough.
        pages: Of lists.
        deliveries: Of watches.
        lost_claims: Claims of unknown outcome.
        answered: How many operations were answered.

    Args:
        history: Entries in the order of real time.

    Raises:
        HistoryError: No run can have recorded it, or it is not in these words.
    """

    def __init__(self, history: Sequence[Entry]) -> None:
        self.tasks: dict[str, Task] = {}
        self.registrations: list[Registered] = []
        self.unsteady: set[str] = set()
        self.pages: list[Page] = []
        self.deliveries: list[Delivery] = []
        self.lost_claims: list[Spell] = []
        self.answered = 0
        opened: dict[int | str, tuple[int, Entry]] = {}
        for position, entry in enumerate(history):
            if entry.process == NEMESIS:
                continue
            if entry.type == "invoke":
                if entry.process in opened:
                    raise HistoryError(f"process {entry.process} invokes twice", position)
                opened[entry.process] = (position, entry)
                continue
            begin = opened.pop(entry.process, None)
            if begin is None:
                raise HistoryError(f"{entry.type} of process {entry.process} unasked", position)
            if entry.type == "ok":
                self.answered += 1
                self._read(Spell(begin[0], position), begin[1], entry.value)
            elif entry.type == "info":
                self._read(Spell(begin[0], inf), begin[1], None)
        for begin in opened.values():
            self._read(Spell(begin[0], inf), begin[1], None)

    def task(self, id_: str) -> Task:
        """Return what is known of a task."""
        if type(id_) is not str:
            raise TypeError(f"{id_!r} is no id")
        found = self.tasks.get(id_)
        if found is None:
            found = self.tasks[id_] = Task()
        return found

    def _read(self, spell: Spell, asked: Entry, answer: Mapping[str, Any] | None) -> None:
        read = _READERS.get(asked.f)
        try:
            if read is None:
                raise ValueError(f"no operation {asked.f!r}")
            read(self, spell, asked.value, answer)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            text = f"{asked.f} was asked {asked.value!r} and answered {answer!r}: {error!r}"
            raise HistoryError(text, spell.invoked) from None


# --- one reader for each operation; the answer is None where nobody knows it ----------------------

Argument = Mapping[str, Any]
Answer = Mapping[str, Any] | None


def _taken(answer: Answer) -> bool | None:
    return None if answer is None else "refused" not in answer


def _register(records: Records, spell: Spell, asked: Argument, answer: Answer) -> None:
    taken = _taken(answer)
    if taken is False:
        return
    token, until = (None, None) if answer is None else (answer["registration"], answer.get("until"))
    renews = bool(asked.get("registration"))
    records.registrations.append(Registered(spell, asked["node"], token, until, renews))


def _report(records: Records, spell: Spell, asked: Argument, answer: Answer) -> None:
    if answer is not None and "refused" not in answer:
        told = (asked["node"], asked["registration"], answer.get("until"))
        records.registrations.append(Registered(spell, *told, renews=True))


def _unsettle(records: Records, _spell: Spell, asked: Argument, _answer: Answer) -> None:
    records.unsteady.add(asked["node"])


def _submit(records: Records, spell: Spell, asked: Argument, answer: Answer) -> None:
    if _taken(answer) is False:
        return
    created = {} if answer is None else answer.get("created", {})
    for place, each in enumerate(asked["tasks"]):
        task = Submitted(
            spell=spell,
            place=place,
            priority=each.get("priority", 0),
            after=tuple(each.get("after", ())),
            node=each.get("node"),
            attempts=each.get("attempts"),
            not_before=each.get("not_before", 0),
            deadline=each.get("deadline", 0),
            created=created.get(each["id"]),
        )
        records.task(each["id"]).submits.append(task)


def _claim(records: Records, spell: Spell, asked: Argument, answer: Answer) -> None:
    if answer is None:
        records.lost_claims.append(spell)
    elif "refused" not in answer:
        common = (asked["node"], asked["registration"], asked["lease"])
        for id_, token, attempt, *until in answer["claims"]:
            claimed = Claimed(spell, token, attempt, *common, *(until or [None]))
            records.task(id_).claims.append(claimed)


def _extend(records: Records, spell: Spell, asked: Argument, answer: Answer) -> None:
    if answer is None:
        for id_, token in asked["claims"]:
            records.task(id_).holds.append(Told(spell, token, None, node=asked["node"]))
    if answer is None or "refused" in answer:
        return
    kept, lost, until = answer["kept"], answer["lost"], answer.get("until")
    for id_, token in asked["claims"]:
        if id_ not in kept and id_ not in lost:
            raise ValueError(f"nothing is said of {id_!r}")
        held = Told(spell, token, id_ in kept, until=until, node=asked["node"])
        records.task(id_).holds.append(held)


def _complete(records: Records, spell: Spell, asked: Argument, answer: Answer) -> None:
    told = Told(spell, asked["token"], _taken(answer), asked["result"])
    records.task(asked["id"]).completes.append(_dated(told, answer))


def _fail(records: Records, spell: Spell, asked: Argument, answer: Answer) -> None:
    told = Told(spell, asked["token"], _taken(answer))
    records.task(asked["id"]).fails.append(_dated(told, answer))


def _dated(told: Told, answer: Answer) -> Told:
    return told if answer is None else told._replace(revision=answer.get("revision"))


def _cancel(records: Records, spell: Spell, asked: Argument, answer: Answer) -> None:
    records.task(asked["id"]).cancels.append(Told(spell, 0, _taken(answer)))


def _retry(records: Records, spell: Spell, asked: Argument, answer: Answer) -> None:
    records.task(asked["id"]).retries.append(Told(spell, 0, _taken(answer)))


def _show(records: Records, spell: Spell, asked: Argument, answer: Answer) -> None:
    if answer is not None:
        state, token, attempt, result = answer["task"] or (None, 0, 0, None)
        shown = Shown(spell, state, token, attempt, result, answer.get("revision"))
        records.task(asked["id"]).shows.append(shown)


def _list(records: Records, spell: Spell, asked: Argument, answer: Answer) -> None:
    if answer is None:
        return
    revision = answer.get("revision")
    for id_, _, state, token, attempt in answer["tasks"]:
        records.task(id_).shows.append(Shown(spell, state, token, attempt, UNTOLD, revision))
    ids = {id_: created for id_, created, *_ in answer["tasks"]}
    records.pages.append(Page(spell, asked["after"], answer["next"], ids, revision))


def _watch(records: Records, spell: Spell, asked: Argument, answer: Answer) -> None:
    if answer is not None and "refused" not in answer:
        events = [(revision, id_, state, token) for revision, id_, state, token in answer["events"]]
        records.deliveries.append(Delivery(spell, asked["from"], answer["through"], events))


def _pass_over(_records: Records, _spell: Spell, _asked: Argument, _answer: Answer) -> None:
    pass


_READERS = {
    "register": _register,
    "report": _report,
    "leave": _unsettle,
    "drain": _unsettle,
    "submit": _submit,
    "claim": _claim,
    "extend": _extend,
    "complete": _complete,
    "fail": _fail,
    "cancel": _cancel,
    "retry": _retry,
    "show": _show,
    "list": _list,
    "watch": _watch,
    "tick": _pass_over,
}
