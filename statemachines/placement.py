"""Placement: which node a task goes to, and why.

It owns what a node costs a task (``terms``), which nodes are out of the question (``obstacle``),
and the choice for one task (``place_one``) with its reasons (``explain``). Many tasks at once are
the business of ``placement_batch``, divisible loads that of ``placement_shares``. It knows no task
log, no clock and no chance.

It guards: a choice follows from its arguments alone, in integers, and not from the order in which
nodes are given, so that every replica makes the same one. What cannot be exact is rounded up, in
one place (``terms``): nothing is promised cheaper or sooner than it is.

Times are microseconds. Sizes, capacities, loads, prices, speeds and weights are micro-units: a
million stands for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, assert_never

UNIT: Final = 1_000_000
"""One, in micro-units; a second, in microseconds."""

CLOUD: Final = "cloud"
EDGE: Final = "edge"
ANY: Final = "any"
"""Kinds of nodes; a task may also ask for any."""

COST: Final = "cost"
LATENCY: Final = "latency"
ENERGY: Final = "energy"
BALANCED: Final = "balanced"
POLICIES: Final = (BALANCED, COST, LATENCY, ENERGY)
"""What a task wants little of. ``balanced`` is a weighted sum of time, delay and price."""

Kind = Literal["cloud", "edge", "any"]
Policy = Literal["balanced", "cost", "latency", "energy"]

_PICO: Final = UNIT * UNIT
_REASONS_MAX: Final = 3
"""As many nodes are named where a task is refused: a refusal stays short with any fleet."""

_NO_LABELS: Final[Mapping[str, str]] = {}


class Weights(NamedTuple):
    """What a second of time, a second of delay and a unit of money count in ``balanced``."""

    time_weight: int = UNIT
    delay_weight: int = UNIT
    price_weight: int = UNIT


EQUAL_WEIGHTS: Final = Weights()


class Curve(NamedTuple):
    """Energy per second at load l: ``square``·l² + ``slope``·l + ``idle``, micro-units."""

    square: int = 0
    slope: int = 0
    idle: int = 0


FLAT: Final = Curve()
"""A node whose energy nobody knows."""


@dataclass(slots=True)
class Node:
    """A node that may be given work: what it registered, and what it has to do by now.

    Attributes:
        id: Its name; among equals the lexicographically first is taken.
        kind: ``cloud`` or ``edge``.
        labels: What it says of itself.
        capacity: The demand of the tasks that it can run at once, micro-units, at least 1.
        speed: Size that one task gets done per second, micro-units, at least 1.
        price: Money per second and unit of demand, micro-units.
        curve: The energy it takes.
        delay: One way over its link, microseconds.
        bandwidth: Of its link, bytes per second, at least 1.
        closed: Why nothing may be placed on it now (``draining``), or nothing.
        placed: The demand of the tasks placed on it and not finished, claimed ones included.
        backlog: Their ``Job.work``.
        reported: The load that the node itself reports, micro-units of its capacity.
    """

    id: str
    kind: Kind
    labels: Mapping[str, str] = field(default_factory=dict)
    capacity: int = UNIT
    speed: int = UNIT
    price: int = 0
    curve: Curve = FLAT
    delay: int = 0
    bandwidth: int = 125_000_000
    closed: str = ""
    placed: int = 0
    backlog: int = 0
    reported: int = 0

    @property
    def room(self) -> int:
        """The demand that could begin now; negative where tasks that are placed have to wait."""
        return self.capacity - max(self.placed, self.reported)

    def take(self, job: Job) -> None:
        """Note that a task was placed here."""
        self.placed += job.demand
        self.backlog += job.work

    def release(self, job: Job) -> None:
        """Note that a task that was placed here is finished, or was taken away."""
        self.placed -= job.demand
        self.backlog -= job.work


@dataclass(frozen=True, slots=True)
class Job:
    """What placement asks of a task.

    Attributes:
        size: Work, micro-units: a node of speed 1.0 does 1.0 in a second.
        demand: The part of a node's capacity it takes while it runs, micro-units, at least 1.
        kind: The kind of node it must run on, or ``any``.
        labels: Labels that its node must have, with these values.
        deadline: When it must be done, microseconds of replicated time; 0 is no deadline.
        data: The node that holds its input, or nothing: then every node gets it over its link.
        transfer: Bytes of input that a node which does not hold it must be sent.
        policy: What it wants little of.
    """

    size: int = UNIT
    demand: int = UNIT
    kind: Kind = "any"
    labels: Mapping[str, str] = field(default_factory=lambda: _NO_LABELS)
    deadline: int = 0
    data: str = ""
    transfer: int = 0
    policy: Policy = "balanced"

    @property
    def work(self) -> int:
        """Size times demand, micro-units: how much of a node's time it takes."""
        return -(-self.size * self.demand // UNIT)


class Terms(NamedTuple):
    """What a node would cost a task.

    Attributes:
        wait: Until the work that is there before it leaves room, microseconds.
        delay: Transfer of its input, microseconds.
        compute: Of the task itself, microseconds.
        price: Money, micro-units.
        energy: What it adds to the node's energy, micro-units.
    """

    wait: int
    delay: int
    compute: int
    price: int
    energy: int


def obstacle(job: Job, node: Node) -> str:
    """Return why a node could never run a task, whatever its load; nothing if it could."""
    if job.kind not in (ANY, node.kind):
        return f"it is a node of kind {node.kind}, not {job.kind}"
    if job.demand > node.capacity:
        return f"its capacity {decimal(node.capacity)} is below the demand {decimal(job.demand)}"
    if job.labels:
        for name, value in job.labels.items():
            if node.labels.get(name) != value:
                return f"it lacks the label {name}={value}"
    return ""


def terms(job: Job, node: Node, holder: Node | None) -> Terms:
    """Return what a node would cost a task, each term rounded up.

    Args:
        job: The task. It is not among what is placed on the node.
        node: Where it would run.
        holder: The node that holds the task's input, if that is registered: the input passes the
            links of both.

    Where its input is, a task has no delay; elsewhere the links' own, and the transfer. It waits
    only where there is no room for it now; then for all the work that is there. What a node reports
    beyond what was placed on it counts as work of this task's size. The energy is that of the
    node's curve between its load without the task and with it, for as long as the task computes;
    the idle part is there anyway.
    """
    return Terms(*_terms(job, node, holder))


def _terms(job: Job, node: Node, holder: Node | None) -> tuple[int, int, int, int, int]:
    size, demand, capacity, speed = job.size, job.demand, node.capacity, node.speed
    compute = -(-size * UNIT // speed)
    load = node.placed
    foreign = node.reported - load
    if foreign > 0:
        load = node.reported
    wait = 0
    if load + demand > capacity:
        backlog = node.backlog
        if foreign > 0:
            backlog += foreign * size // UNIT
        wait = -(-backlog * UNIT * UNIT // (capacity * speed))
        load = capacity - demand  # it runs in the room that others leave
    delay = 0
    if job.data != node.id:
        delay, bandwidth = node.delay, node.bandwidth
        if holder is not None:
            delay += holder.delay
            bandwidth = min(bandwidth, holder.bandwidth)
        if job.transfer:
            delay += -(-job.transfer * UNIT // bandwidth)
    taken = demand * compute
    energy = 0
    square, slope, _ = node.curve
    if square or slope:
        energy = -(-(square * (2 * load + demand) + slope * UNIT) * taken // (_PICO * UNIT))
    return wait, delay, compute, -(-node.price * taken // _PICO), energy


Rank = tuple[bool, bool, int, int, str]


class Candidate(NamedTuple):
    """A node that could run a task, and what it would cost there.

    Attributes:
        id: The node.
        terms: Of the cost.
        cost: What the task's policy wants little of: money (``cost``), energy, microseconds
            (``latency``), or their weighted sum (``balanced``); micro-units.
        finish: When the result would be there, microseconds of replicated time.
        late: That is after the task's deadline.
        preferred: The policy takes such a node before any other, whatever the cost: under ``cost``
            and ``energy`` one that has room now, under ``latency`` the edge that holds the data for
            a task with a deadline and the cloud for one without.
        rank: Its place among the candidates, the least first. Of equal costs the first id, but
            under ``cost`` and ``energy``, where equals are many, first who finishes first. Who
            comes too late comes last, in the order of finishing: a deadline that the estimate says
            is lost is still tried for.
    """

    id: str
    terms: Terms
    cost: int
    finish: int
    late: bool
    preferred: bool
    rank: Rank


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a task goes where it goes.

    Attributes:
        chosen: The node; None if there is none that could run it now.
        candidates: Nodes that could, the chosen first, each better than the next.
        refused: The other nodes by id, each with its reason.
    """

    chosen: str | None
    candidates: tuple[Candidate, ...]
    refused: tuple[tuple[str, str], ...]


def candidate(
    job: Job, node: Node, holder: Node | None, now: int, weights: Weights = EQUAL_WEIGHTS
) -> Candidate:
    """Weigh a node that is open and has no ``obstacle``; see ``terms`` for the arguments."""
    found = _terms(job, node, holder)
    finish = now + found[0] + found[1] + found[2]
    cost, preferred = _weigh(job, node, found, weights)
    rank = _rank(job, node, cost, preferred, finish)
    return Candidate(node.id, Terms(*found), cost, finish, rank[0], preferred, rank)


def _weigh(
    job: Job, node: Node, found: tuple[int, int, int, int, int], weights: Weights
) -> tuple[int, bool]:
    """Return the cost under the task's policy, and whether the node is preferred."""
    wait, delay, compute, price, energy = found
    match job.policy:
        case "balanced":
            time_weight, delay_weight, price_weight = weights
            total = time_weight * (wait + compute) + delay_weight * delay + price_weight * price
            return -(-total // UNIT), True
        case "cost":
            return price, job.demand <= node.room
        case "energy":
            return energy, job.demand <= node.room
        case "latency":
            return wait + delay + compute, at_best(job, node)
        case _:
            assert_never(job.policy)


def _rank(job: Job, node: Node, cost: int, preferred: bool, finish: int) -> Rank:
    if 0 < job.deadline < finish:
        return True, False, finish, 0, node.id
    policy = job.policy
    among_equals = finish if policy in (COST, ENERGY) else 0
    return False, not preferred, cost, among_equals, node.id


def at_best(job: Job, node: Node) -> bool:
    """Tell whether ``latency`` takes such a node before any other: see ``Candidate.preferred``."""
    if job.deadline:
        return node.kind == EDGE and node.id == job.data
    return node.kind == CLOUD


def place_one(
    job: Job, nodes: Mapping[str, Node], now: int, weights: Weights = EQUAL_WEIGHTS
) -> str | None:
    """Choose the node for one task.

    Args:
        job: The task, not placed anywhere now.
        nodes: All that are registered, by id, closed ones too; their order means nothing.
        now: Replicated time, microseconds.
        weights: Of the policy ``balanced``.

    Returns:
        The id of an open node that can run the task; None if there is none. Takes time in
        proportion to the number of nodes.
    """
    # The one loop that every task goes through: nothing is made here that is not asked for.
    holder = nodes.get(job.data)
    best: Rank | None = None
    for node in nodes.values():
        if not node.closed and not obstacle(job, node):
            found = _terms(job, node, holder)
            finish = now + found[0] + found[1] + found[2]
            cost, preferred = _weigh(job, node, found, weights)
            rank = _rank(job, node, cost, preferred, finish)
            if best is None or rank < best:
                best = rank
    return None if best is None else best[-1]


def explain(
    job: Job, nodes: Mapping[str, Node], now: int, weights: Weights = EQUAL_WEIGHTS
) -> Explanation:
    """Return what ``place_one`` would choose, and why each other node comes after it or not at all.

    For a task that is placed already, ask without what it takes itself: ``Node.release`` on a copy.
    """
    holder = nodes.get(job.data)
    candidates = []
    refused = []
    for id_, node in sorted(nodes.items()):
        reason = obstacle(job, node) or node.closed
        if reason:
            refused.append((id_, reason))
        else:
            candidates.append(candidate(job, node, holder, now, weights))
    candidates.sort(key=lambda each: each.rank)
    chosen = candidates[0].id if candidates else None
    return Explanation(chosen, tuple(candidates), tuple(refused))


def impossible(job: Job, nodes: Mapping[str, Node]) -> str:
    """Return why no registered node could ever run a task; nothing if one could, or none is there.

    Whether a node is open, and what it has to do by now, does not matter here.
    """
    reasons = []
    for id_ in sorted(nodes):
        reason = obstacle(job, nodes[id_])
        if not reason:
            return ""
        reasons.append(f"{id_}: {reason}")
    if not reasons:
        return ""
    shown = "; ".join(reasons[:_REASONS_MAX])
    more = len(reasons) - _REASONS_MAX
    return f"no node could run it: {shown}{f'; and {more} more' if more > 0 else ''}"


def decimal(number: int) -> str:
    """Return micro-units as people write them: 1500000 is 1.5."""
    sign = "-" if number < 0 else ""
    whole, rest = divmod(abs(number), UNIT)
    return f"{sign}{whole}.{rest:06}".rstrip("0").rstrip(".")
