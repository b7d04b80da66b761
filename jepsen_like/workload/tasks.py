"""The load on the task log: few nodes, many small tasks, and all that can go wrong with them.

The history has no keys; its words are those of ``jepsen_like.checkers.task_records``. Whoever asks
plays client, worker and administrator in turn: any process may complete what another one claimed,
and now and then one does with a token that is long over. Leases are short and reports rare, so that
nodes are lost and come back all the time. At the end everything is drained: claimed, completed and
listed until no task is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, NamedTuple

from jepsen_like.history import Entry
from jepsen_like.workload import task_words
from jepsen_like.workload.base import Draw, View, Workload
from jepsen_like.workload.task_words import NODES
from statemachines.task_log_format import MICRO

MACHINE = "statemachines.task_log:TaskLog"

UNSTEADY = "n3"
"""The only node that is drained, or leaves: of the others the order of claims is judged."""

LEASES = (MICRO // 5, MICRO, 3 * MICRO)
NODE_LEASES = (MICRO // 2, 2 * MICRO, 6 * MICRO)
BACKOFFS = (MICRO // 100, MICRO // 5)
"""Short, so that many of each end in a run of seconds."""

OPEN_MAX = 80
"""Tasks that are known and not at their end: with more, none are submitted."""

HELD_MAX = 40
STALE_MAX = 30
ASKED_MAX = 10
"""Claims, claims that are over, and submissions, which are kept in mind."""

PAGE_TASKS = 40
"""Tasks in a list among other operations; the last lists are as long as the task log gives them."""

ENDED = frozenset({"done", "dead", "cancelled"})


class Known(NamedTuple):
    """What was learnt.

    Attributes:
        registrations: By node: its present one, as far as is known.
        open: Tasks that are not known to be at their end, with what created each.
        held: Claims by task: token and node.
        stale: Claims that are over: task, token and node.
        now: Replicated time, as last told.
        asked: Submissions that were answered lately.
        watched: The revision through which a watch told everything.
        listed: Where the last lists go on.
        idle: How many operations the end took since its last list.
        rounds: How many last lists there were.
        completed: The last completion that was accepted.
    """

    registrations: Mapping[str, int] = {}
    open: Mapping[str, int] = {}
    held: Mapping[str, tuple[int, str]] = {}
    stale: tuple[tuple[str, int, str], ...] = ()
    now: int = 0
    asked: tuple[Any, ...] = ()
    watched: int = 0
    listed: int = 0
    idle: int = 0
    rounds: int = 0
    completed: Mapping[str, Any] | None = None


NOTHING = Known()


# --- what is asked -------------------------------------------------------------------------------

WEIGHTS = {
    "submit": 5,
    "claim": 6,
    "complete": 8,
    "fail": 2,
    "extend": 3,
    "report": 3,
    "show": 3,
    "list": 1,
    "watch": 2,
    "cancel": 0.5,
    "retry": 1,
    "tick": 0.5,
    "drain": 0.2,
    "leave": 0.1,
    "register": 0.1,
}
REGISTER_SHARE = 0.3
"""Of draws while some node is not registered: some time goes by without it."""

REPEAT_SHARE = 0.1
"""Of submissions and completions: one that was accepted before, once more."""

STALE_SHARE = 0.15
"""Of completions, failures and extensions: with a token that is over."""


def _draw(rng: Random, view: View) -> Draw:
    known: Known = view.known or NOTHING
    process = rng.choice(view.free)
    missing = [node for node in NODES if node not in known.registrations]
    if missing and (len(missing) == len(NODES) or rng.random() < REGISTER_SHARE):
        return Draw(process, "register", _registration(rng, rng.choice(missing)))
    f = rng.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]
    return Draw(process, *_made(rng, f, view.number, known))


def _made(rng: Random, f: str, number: int, known: Known) -> tuple[str, Any]:
    """Return an operation of that name; where nothing is known to ask it of, another one."""
    node = rng.choice(sorted(known.registrations))
    asked: dict[str, Any] = {"node": node, "registration": known.registrations[node]}
    if f == "submit" and known.asked and rng.random() < REPEAT_SHARE:
        return f, rng.choice(known.asked)
    if f == "submit" and len(known.open) < OPEN_MAX:
        return f, {"tasks": _tasks(rng, number, known)}
    if f == "complete" and known.completed and rng.random() < REPEAT_SHARE:
        return f, known.completed
    if f in ("complete", "fail", "extend") and (known.held or known.stale):
        return f, _with_token(rng, f, number, known, asked)
    if f in ("show", "cancel", "retry") and (known.open or known.stale):
        ended = [id_ for id_, _, _ in known.stale]
        ids = ended if f == "retry" and ended else [*known.open, *ended]
        return f, {"id": rng.choice(ids)}
    if f == "list":
        after = rng.choice([0, *known.open.values()])
        return f, {"after": after, "limit": PAGE_TASKS}
    if f == "watch":
        return f, {"from": 0 if rng.random() < STALE_SHARE else known.watched}
    if f == "drain":
        return f, {"node": UNSTEADY, "drained": rng.random() < 0.5}
    if f == "leave" and UNSTEADY in known.registrations:
        return f, {"node": UNSTEADY, "registration": known.registrations[UNSTEADY]}
    if f in ("tick", "report"):
        return f, {} if f == "tick" else asked
    if f == "register":
        return f, _registration(rng, node)
    return "claim", asked | {"count": rng.randint(1, 4), "lease": rng.choice(LEASES)}


def _registration(rng: Random, node: str) -> dict[str, Any]:
    return {"node": node, "lease": rng.choice(NODE_LEASES)}


def _tasks(rng: Random, number: int, known: Known) -> list[dict[str, Any]]:
    """Draw one to three tasks: most for one node, some that wait for a time or another task."""
    tasks = []
    for place in range(rng.randint(1, 3)):
        task: dict[str, Any] = {
            "id": f"t{number}-{place}",
            "priority": rng.randint(0, 2),
            "node": rng.choice((*NODES, *NODES, None)),
            "attempts": rng.choice((1, 3, 100)),
            "backoff": rng.choice(BACKOFFS),
        }
        chance = rng.random()
        if chance < 0.15 and known.open:
            task["after"] = [rng.choice(sorted(known.open))]
        elif chance < 0.25:
            task["not_before"] = known.now + MICRO // 2
        elif chance < 0.3:
            task["deadline"] = known.now + 2 * MICRO
        tasks.append(task)
    return tasks


def _with_token(
    rng: Random, f: str, number: int, known: Known, asked: dict[str, Any]
) -> dict[str, Any]:
    """Speak for a claim: mostly one that is held, now and then one that is over."""
    if known.stale and (not known.held or rng.random() < STALE_SHARE):
        id_, token, node = rng.choice(known.stale)
    else:
        id_ = rng.choice(sorted(known.held))
        token, node = known.held[id_]
    if f == "extend":
        registration = known.registrations.get(node, asked["registration"])
        claims = [[id_, token]]
        return {
            "node": node,
            "registration": registration,
            "claims": claims,
            "lease": rng.choice(LEASES),
        }
    told = {"id": id_, "token": token}
    return told | ({"result": number} if f == "complete" else {"retry": rng.random() < 0.8})


# --- the end -------------------------------------------------------------------------------------

DRAIN_OPERATIONS = 30
"""Between two lists at the end, unless there is nothing to do."""


IMPATIENT_ROUNDS = 200
"""Lists at the end after which everything that is not at its end is cancelled: replicated time may
stand still for hours, after a clock that was hours ahead, and what waits for it would wait too."""


def closing(impatient_rounds: int) -> Callable[[Random, View], Draw]:
    """Return who asks what at the very end; see ``IMPATIENT_ROUNDS``."""
    return partial(_close, impatient_rounds)


def _close(impatient_rounds: int, rng: Random, view: View) -> Draw:
    """Register every node, complete what is held, claim what waits; then list, page by page."""
    known: Known = view.known or NOTHING
    process = view.free[0]
    missing = [node for node in NODES if node not in known.registrations]
    if missing:
        return Draw(process, "register", {"node": missing[0], "lease": NODE_LEASES[-1]})
    if known.idle == 0:
        return Draw(process, "drain", {"node": UNSTEADY, "drained": False})
    if known.held:
        id_, (token, _) = next(iter(sorted(known.held.items())))
        return Draw(process, "complete", {"id": id_, "token": token, "result": view.number})
    if known.rounds >= impatient_rounds and known.open and not known.listed:
        return Draw(process, "cancel", {"id": next(iter(known.open))})
    if known.listed or known.idle >= DRAIN_OPERATIONS:
        return Draw(process, "list", {"after": known.listed, "limit": None})
    node = rng.choice(sorted(known.registrations))
    asked = {"node": node, "registration": known.registrations[node]}
    if known.idle % 5 == 1:
        return Draw(process, "report", asked)
    return Draw(process, "claim", asked | {"count": 64, "lease": LEASES[-1]})


def _settled(entry: Any) -> bool:
    """Whether the last page shows that nothing is left. Pages before it did: it was gone on."""
    return (
        entry.type == "ok"
        and entry.f == "list"
        and entry.value["next"] is None
        and not _unfinished(entry.value)
    )


def _unfinished(page: Mapping[str, Any]) -> bool:
    return any(state not in ENDED for _, _, state, _, _ in page["tasks"])


# --- what is learnt ------------------------------------------------------------------------------


def _learn(known: Any, f: str, argument: Any, value: Any) -> Known:
    learnt: Known = known or NOTHING
    learnt = learnt._replace(idle=0 if f == "list" else learnt.idle + 1)
    if "refused" in value:
        return _learn_refused(learnt, f, argument)
    if f == "submit":
        asked = (*learnt.asked, argument)[-ASKED_MAX:]
        return learnt._replace(open={**learnt.open, **value["created"]}, asked=asked)
    if f == "register":
        now = value["until"] - argument["lease"]
        registrations = {**learnt.registrations, argument["node"]: value["registration"]}
        return learnt._replace(registrations=registrations, now=max(now, learnt.now))
    if f == "leave":
        return _without_node(learnt, argument["node"])
    if f == "claim":
        return _learn_claims(learnt, argument, value["claims"])
    if f == "extend":
        return _let_go(learnt, value["lost"])
    if f == "complete":
        learnt = learnt._replace(completed=argument)
    if f in ("complete", "fail", "cancel"):
        learnt = _let_go(learnt, [argument["id"]])
        return learnt if f == "fail" else _close_task(learnt, argument["id"])
    if f == "watch":
        return learnt._replace(watched=max(learnt.watched, value["through"]))
    if f == "list":
        return _learn_list(learnt, argument, value)
    return learnt


def _learn_list(known: Known, argument: Any, value: Any) -> Known:
    still = {id_: created for id_, created, state, _, _ in value["tasks"] if state not in ENDED}
    listed = {id_ for id_, *_ in value["tasks"]}
    rest = {id_: created for id_, created in known.open.items() if id_ not in listed}
    sound = not still and value["next"] is not None
    return known._replace(
        open={**rest, **still},
        listed=value["next"] if sound else 0,
        rounds=known.rounds + (argument["limit"] is None),
    )


def _learn_refused(known: Known, f: str, argument: Any) -> Known:
    if f in ("report", "claim", "extend", "leave"):
        node = argument["node"]
        same = known.registrations.get(node) == argument["registration"]
        return _without_node(known, node) if same else known
    if f in ("complete", "fail"):
        return _let_go(known, [argument["id"]], argument["token"])
    if f == "cancel":  # it is at its end; or it is not, and a list will say so
        return _close_task(known, argument["id"])
    return known


def _without_node(known: Known, node: str) -> Known:
    registrations = {name: each for name, each in known.registrations.items() if name != node}
    return known._replace(registrations=registrations)


def _learn_claims(known: Known, argument: Any, claims: Any) -> Known:
    held = dict(known.held)
    now = known.now
    for id_, token, _, until in claims:
        held[id_] = (token, argument["node"])
        now = max(now, until - argument["lease"])
    over = list(held)[: max(0, len(held) - HELD_MAX)]
    return _let_go(known._replace(held=held, now=now), over)


def _let_go(known: Known, ids: Any, token: int | None = None) -> Known:
    """Keep claims that are over in mind for a while, to be tried again."""
    over = [
        (id_, *known.held[id_])
        for id_ in ids
        if id_ in known.held and token in (None, known.held[id_][0])
    ]
    gone = {id_ for id_, _, _ in over}
    held = {id_: each for id_, each in known.held.items() if id_ not in gone}
    return known._replace(held=held, stale=(*known.stale, *over)[-STALE_MAX:])


def _close_task(known: Known, ended: str) -> Known:
    if ended not in known.open:
        return known
    return known._replace(open={id_: at for id_, at in known.open.items() if id_ != ended})


def _observed(f: str, value: Any) -> bool:
    return bool(
        (f == "claim" and value.get("claims"))
        or (f == "show" and value.get("task"))
        or (f == "watch" and value.get("events"))
    )


def _lacking(history: Sequence[Entry]) -> list[str]:
    """Say which of the rare things, for which a task log is there, did not happen."""
    seen = dict.fromkeys(
        (
            "no completion was refused",
            "no task was claimed a second time",
            "no node registered a second time",
        ),
        True,
    )
    nodes: set[str] = set()
    for asked, entry in _answered(history):
        if asked.f == "complete" and "refused" in entry.value:
            seen["no completion was refused"] = False
        elif asked.f == "claim" and any(each[2] > 1 for each in entry.value.get("claims", ())):
            seen["no task was claimed a second time"] = False
        elif asked.f == "register" and "registration" in entry.value:
            if asked.value["node"] in nodes:
                seen["no node registered a second time"] = False
            nodes.add(asked.value["node"])
    return [text for text, missing in seen.items() if missing]


def _answered(history: Sequence[Entry]) -> Iterator[tuple[Entry, Entry]]:
    asked: dict[int | str, Entry] = {}
    for entry in history:
        if entry.type == "invoke":
            asked[entry.process] = entry
        elif entry.type == "ok":
            yield asked[entry.process], entry


TASKS = Workload(
    name="tasks",
    summary="the task log that ships: leases, fencing tokens, nodes that are lost",
    model="tasks",
    machine=MACHINE,
    draw=_draw,
    request=task_words.request,
    reply=task_words.reply,
    refusal=task_words.refusal,
    observed=_observed,
    learn=_learn,
    final=("list", {"after": 0, "limit": None}),
    settled=_settled,
    keyed=False,
    closing=closing(IMPATIENT_ROUNDS),
    lacking=_lacking,
)
