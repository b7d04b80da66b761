"""The nodes of the task log: who is registered, with what, and which tasks each one holds.

It owns registrations, and what is placed on and claimed under each of them. It knows neither
commands nor when a task changes, only what that means for a node. It guards three things: a node
has at most one registration that is not over; the demand of a registration's claimed tasks is what
its claims add up to; and whatever must still be taken from a node is found in ``vacating``.

A registration's tasks are its *seat*. When a node lapses, or registers anew, its old seat is void
at once, whatever number of tasks is still on it: they are taken off a few per command, in order.
Everything but the records of the nodes follows from the tasks, and is no part of a snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from statemachines import placement
from statemachines import task_log_format as form
from statemachines.key_index import KeyIndex
from statemachines.task_log_format import Node, NodeSpec, Task, TaskSpec

DRAINED = "it is drained"
LAPSED = "its lease has lapsed"

_JOBS_MAX = 4096
"""Requirements that are remembered as placement reads them; making one costs more than a look."""

_KINDS: dict[int, placement.Kind] = {form.ANY: "any", form.CLOUD: "cloud", form.EDGE: "edge"}
_POLICIES: dict[int, placement.Policy] = {
    form.BALANCED: "balanced",
    form.COST: "cost",
    form.LATENCY: "latency",
    form.ENERGY: "energy",
}


class NodeRecord(NamedTuple):
    """What is known of a node beside its tasks; fields as in ``Node``. Immutable."""

    spec: NodeSpec
    registration: int
    state: int
    drained: bool
    until: int
    load: int


class Seat:
    """The tasks of one registration.

    Attributes:
        registration: Its token.
        void: It is over: everything on it is to be taken off.
        queue: Tasks placed and not claimed, by ``queue_key``.
        claims: Claimed tasks, by their ``created``.
        committed: Demand of the claimed ones.
        place: How placement sees the node, with the load of all these tasks; nowhere if void.
    """

    __slots__ = ("claims", "committed", "place", "queue", "registration", "void")

    def __init__(self, registration: int, place: placement.Node, void: bool) -> None:
        self.registration = registration
        self.void = void
        self.queue: KeyIndex[tuple[int, int]] = KeyIndex()
        self.claims: KeyIndex[int] = KeyIndex()
        self.committed = 0
        self.place = place


class NodeTable:
    """All known nodes, and the seats.

    Attributes:
        places: How placement sees each known node, by name. Only to read.
        vacating: Registrations of seats from which tasks must be taken: void ones that hold any,
            and drained ones where any wait.
        timers: When the registrations end, by (time, name).
    """

    def __init__(self) -> None:
        self._records: dict[str, NodeRecord] = {}
        self._seats: dict[int, Seat] = {}
        self._jobs: dict[tuple[object, ...], placement.Job] = {}  # a cache
        self.places: dict[str, placement.Node] = {}
        self._labelled: dict[tuple[str, str], dict[str, placement.Node]] = {}
        self.vacating: KeyIndex[int] = KeyIndex()
        self.timers: KeyIndex[tuple[int, str]] = KeyIndex()
        self._open = 0  # how many places are open

    def __len__(self) -> int:
        return len(self._records)

    @property
    def open_count(self) -> int:
        """How many nodes may be given new work."""
        return self._open

    def record(self, name: str) -> NodeRecord | None:
        """Return what is known of a node."""
        return self._records.get(name)

    def seat(self, registration: int) -> Seat:
        """Return the seat of a registration that is not over, or that still holds tasks."""
        return self._seats[registration]

    def records(self) -> list[NodeRecord]:
        """Return the records in the order of their nodes' names."""
        return [self._records[name] for name in sorted(self._records)]

    # --- nodes ------------------------------------------------------------------------------------

    def put(self, record: NodeRecord) -> None:
        """Set what is known of a node. A new registration, or a lapse, makes its old seat void."""
        name = record.spec.name
        before = self._records.get(name)
        if before is not None:
            self._open -= not self.places[name].closed
        self._records[name] = record
        over = before is not None and (
            record.registration != before.registration or record.state == form.LAPSED
        )
        if before is not None and before.state == form.LIVE:
            self.timers.remove((before.until, name))
            if over:
                self._close_seat(before.registration)
        place = self._place_of(record, before)
        if place is not self.places.get(name):
            if before is not None:
                self._unlabel(before.spec)
            self.places[name] = place
            for label in record.spec.labels:
                self._labelled.setdefault(label, {})[name] = place
        self._open += not place.closed
        if record.state == form.LIVE:
            self.timers.add((record.until, name))
            seat = self._seats.get(record.registration)
            if seat is None:
                self._seats[record.registration] = Seat(record.registration, place, False)
            self._note_vacating(self._seats[record.registration])

    def forget(self, name: str) -> None:
        """Forget a lapsed node."""
        self._unlabel(self._records[name].spec)
        del self._records[name], self.places[name]

    def _unlabel(self, spec: NodeSpec) -> None:
        for label in spec.labels:
            names = self._labelled[label]
            del names[spec.name]
            if not names:
                del self._labelled[label]

    def could_run(self, spec: TaskSpec, able: dict[str, placement.Node]) -> bool:
        """Whether some known node has no ``obstacle`` to a task.

        In large fleets this is what a submission costs, so it looks first at ``able``, to which it
        adds: nodes that could run tasks before; and then only at those with the rarest label.
        """
        job = self.job(spec)
        if any(not placement.obstacle(job, node) for node in able.values()):
            return True
        nodes = self.places
        for label in spec.labels:
            nodes = min(nodes, self._labelled.get(label, {}), key=len)
        for name, node in nodes.items():
            if not placement.obstacle(job, node):
                able[name] = node
                return True
        return False

    def _place_of(self, record: NodeRecord, before: NodeRecord | None) -> placement.Node:
        """Return the view for placement, the one that is there while the registration lasts."""
        spec = record.spec
        same = before is not None and before.registration == record.registration
        if same and record.state == form.LIVE:
            place = self.places[spec.name]
            place.price, place.speed = spec.price, spec.speed
            place.delay, place.bandwidth = spec.delay, spec.bandwidth
            place.curve = placement.Curve(*spec.energy)
        else:
            place = _view(spec)
        place.reported = record.load
        place.closed = LAPSED if record.state == form.LAPSED else DRAINED if record.drained else ""
        return place

    # --- seats ------------------------------------------------------------------------------------

    def job(self, spec: TaskSpec) -> placement.Job:
        """Return what placement asks of a task. Equal ones are shared."""
        # Whatever decides the job, from ``node_kind`` on, and the deadline.
        key = (spec.deadline, *spec[9:])
        job = self._jobs.get(key)
        if job is None:
            if len(self._jobs) >= _JOBS_MAX:
                self._jobs.clear()
            job = self._jobs[key] = placement.Job(
                size=spec.size,
                demand=spec.demand,
                kind=_KINDS[spec.node_kind],
                labels=dict(spec.labels),
                deadline=spec.deadline,
                data=spec.data_node,
                transfer=spec.data_bytes,
                policy=_POLICIES[spec.policy],
            )
        return job

    def sit(self, task: Task) -> None:
        """Note a task that is placed on, or claimed under, ``task.registration``."""
        seat = self._seats.get(task.registration)
        if seat is None:
            # Only while a snapshot is restored: a registration that was over when it was taken.
            seat = self._seats[task.registration] = Seat(task.registration, _NOWHERE, True)
        if task.state == form.CLAIMED:
            seat.claims.add(task.created)
            seat.committed += task.spec.demand
        else:
            seat.queue.add(queue_key(task))
        if not seat.void:
            seat.place.take(self.job(task.spec))
        if seat.void or seat.place.closed:
            self._note_vacating(seat)

    def rise(self, task: Task) -> None:
        """Note that a task leaves its seat, or moves on it."""
        seat = self._seats[task.registration]
        if task.state == form.CLAIMED:
            seat.claims.remove(task.created)
            seat.committed -= task.spec.demand
        else:
            seat.queue.remove(queue_key(task))
        if not seat.void:
            seat.place.release(self.job(task.spec))
        if seat.void or seat.place.closed:
            self._note_vacating(seat)

    def _close_seat(self, registration: int) -> None:
        seat = self._seats[registration]
        seat.void, seat.place = True, _NOWHERE
        self._note_vacating(seat)

    def _note_vacating(self, seat: Seat) -> None:
        """Bring ``vacating`` up to date with one seat; a void one that is empty goes."""
        waiting = len(seat.queue) > 0
        if seat.void:
            must = waiting or len(seat.claims) > 0
        else:
            must = waiting and bool(seat.place.closed)
        is_there = next(self.vacating.scan(seat.registration), None) == seat.registration
        if must and not is_there:
            self.vacating.add(seat.registration)
        elif is_there and not must:
            self.vacating.remove(seat.registration)
        if seat.void and not must:
            del self._seats[seat.registration]

    # --- reading ----------------------------------------------------------------------------------

    def rows(self) -> Iterator[Node]:
        """Yield all known nodes in the order of their names, with what they hold."""
        for record in self.records():
            seat = self._seats.get(record.registration)
            if seat is None:
                yield Node(*record, 0, 0, 0, 0)
            else:
                backlog = 0 if seat.void else form.tellable(seat.place.backlog)
                yield Node(*record, len(seat.queue), len(seat.claims), seat.committed, backlog)


def queue_key(task: Task) -> tuple[int, int]:
    """Return a task's place in a queue: higher priorities first, then the order of submission."""
    return -task.spec.priority, task.created


def _view(spec: NodeSpec) -> placement.Node:
    return placement.Node(
        id=spec.name,
        kind=_KINDS[spec.kind],
        labels=dict(spec.labels),
        capacity=spec.capacity,
        speed=spec.speed,
        price=spec.price,
        curve=placement.Curve(*spec.energy),
        delay=spec.delay,
        bandwidth=spec.bandwidth,
    )


_NOWHERE = placement.Node(id="", kind="cloud", closed=LAPSED)
"""What placement sees of a registration that is over. Its load means nothing."""
