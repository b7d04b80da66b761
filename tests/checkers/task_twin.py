"""A naive twin of the checker of task logs, and random histories for both.

``explains`` tries every order of a small history on a task log written anew, in which leases end
and tasks die whenever that helps. It shares no line with the product. ``random_log_history`` lets
several processes ask such a log at once, and then perhaps changes an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, NamedTuple

from jepsen_like.history import Entry

IDS = ("a", "b")
RUNNING = ("open", "held", "over")
SHOWN = {
    "open": "ready",
    "held": "claimed",
    "over": "claimed",
    "done": "done",
    "dead": "dead",
    "gone": "cancelled",
}


class One(NamedTuple):
    """A task: ``phase`` is a key of SHOWN, or "absent"."""

    phase: str = "absent"
    token: int = 0
    attempt: int = 0
    result: Any = None


class Log(NamedTuple):
    """A task log: its counter and its tasks, in the order of IDS."""

    revision: int = 0
    tasks: tuple[One, ...] = (One(), One())

    def of(self, id_: str) -> One:
        return self.tasks[IDS.index(id_)]

    def put(self, id_: str, task: One, revision: int | None = None) -> Log:
        at = IDS.index(id_)
        tasks = (*self.tasks[:at], task, *self.tasks[at + 1 :])
        return Log(self.revision if revision is None else revision, tasks)


class Asked(NamedTuple):
    """An operation; ``end`` and ``answer`` are None where its outcome is unknown."""

    begin: int
    end: int | None
    f: str
    value: Any
    answer: Any


# --- trying every order ---------------------------------------------------------------------------


def explains(history: Sequence[Entry]) -> bool:
    """Tell whether some order that keeps to real time gives every answer."""
    return _extends(frozenset(_operations(history)), Log(), {})


def _operations(history: Sequence[Entry]) -> Iterator[Asked]:
    for position, entry in enumerate(history):
        if entry.type == "invoke":
            later = range(position + 1, len(history))
            end = next((at for at in later if history[at].process == entry.process), None)
            if end is None or history[end].type == "info":
                yield Asked(position, None, entry.f, _frozen(entry.value), None)
            else:
                answer = _frozen(history[end].value)
                yield Asked(position, end, entry.f, _frozen(entry.value), answer)


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((name, _frozen(each)) for name, each in sorted(value.items()))
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _extends(left: frozenset[Asked], log: Log, known: dict[Any, bool]) -> bool:
    if all(each.end is None for each in left):
        return True
    if (left, log) not in known:
        known[left, log] = False
        first_end = min(each.end for each in left if each.end is not None)
        known[left, log] = any(
            _extends(left - {each}, after, known)
            for each in left
            if each.begin < first_end
            for before in _by_itself(log)
            for after in _answers(each, before)
        )
    return known[left, log]


def _by_itself(log: Log) -> Iterator[Log]:
    """What may become of it unasked: each task is as it was, let go of, or dead."""
    firsts, seconds = (
        [task]
        + ([task._replace(phase="open")] if task.phase in ("held", "over") else [])
        + ([task._replace(phase="dead")] if task.phase in RUNNING else [])
        for task in log.tasks
    )
    for first in firsts:
        for second in seconds:
            changed = sum(
                one != other for one, other in zip((first, second), log.tasks, strict=True)
            )
            yield Log(log.revision + changed, (first, second))


def _answers(asked: Asked, log: Log) -> list[Log]:
    """Return what the log may be after the operation was answered so; nothing if it cannot be."""
    value = dict(asked.value)
    answer = None if asked.answer is None else dict(asked.answer)
    if asked.f == "submit":
        return _submit(dict(value["tasks"][0])["id"], answer, log)
    if asked.f == "claim":
        return _claim(answer, log)
    task = log.of(value["id"])
    if asked.f == "show":
        return _show(value["id"], task, answer, log)
    refused = answer is not None and "refused" in answer
    revision = (answer or {}).get("revision")
    if asked.f == "complete":
        same = (task.phase, task.token, task.result) == ("done", value["token"], value["result"])
        mine = task.phase == "held" and task.token == value["token"]
        if refused:
            after = task._replace(phase="over") if mine else task
            return [] if same else [log.put(value["id"], after)]
        if same:
            return [log]
        after = One("done", task.token, task.attempt, value["result"])
        return _after(mine, value["id"], after, revision, log)
    if asked.f == "fail":
        mine = task.phase == "held" and task.token == value["token"]
        if refused:
            after = task._replace(phase="over") if mine else task
            return [log.put(value["id"], after)]
        return _after(mine, value["id"], task._replace(phase="open"), revision, log)
    may = task.phase not in ("absent", "done")
    if refused:
        return [log]
    if asked.f == "cancel":
        return _after(may, value["id"], task._replace(phase="gone"), revision, log)
    return _after(may, value["id"], One("open", task.token), revision, log)  # retry


def _after(may: bool, id_: str, task: One, revision: int | None, log: Log) -> list[Log]:
    if not may or (revision is not None and revision <= log.revision):
        return []
    return [log.put(id_, task, log.revision + 1 if revision is None else revision)]


def _submit(id_: str, answer: Any, log: Log) -> list[Log]:
    if log.of(id_).phase != "absent":
        return [log]  # each id is submitted once here
    created = None if answer is None else dict(answer["created"])[id_]
    return _after(True, id_, One("open"), created, log)


def _claim(answer: Any, log: Log) -> list[Log]:
    for id_, token, attempt in sorted(answer["claims"], key=lambda claim: claim[1]):
        task = log.of(id_)
        if task.phase != "open" or token <= log.revision or attempt <= task.attempt:
            return []
        log = log.put(id_, One("held", token, attempt), token)
    return [log]


def _show(id_: str, task: One, answer: Any, log: Log) -> list[Log]:
    seen, revision = answer["task"], answer["revision"]
    if revision < log.revision:
        return []
    log = log.put(id_, task, revision)
    if task.phase == "absent" or seen is None:
        return [log] if task.phase == "absent" and seen is None else []
    result = task.result if task.phase == "done" else None
    return [log] if seen == (SHOWN[task.phase], task.token, task.attempt, result) else []


# --- random histories -----------------------------------------------------------------------------


def random_log_history(rng: Random, operations: int) -> list[Entry]:
    """Ask a correct log, three operations at a time; then perhaps change what it answered."""
    log, history = Log(), []
    waiting: list[tuple[int, str, Any, Any]] = []  # process, f, value, answer
    free, begun, next_process = [0, 1, 2], 0, 3
    submitted: set[str] = set()
    while begun < operations or waiting:
        if free and begun < operations and rng.random() < 0.6:
            process = free.pop(rng.randrange(len(free)))
            f, value = _draw(rng, log, submitted)
            history.append(Entry(process, "invoke", f, None, value, 0))
            begun += 1
            log, answer = _run(rng, log, f, value)
            waiting.append((process, f, value, answer))
        elif waiting:
            process, f, _, answer = waiting.pop(rng.randrange(len(waiting)))
            if f not in ("claim", "show") and rng.random() < 0.15:
                history.append(Entry(process, "info", f, None, None, 0, "timed out"))
                process, next_process = next_process, next_process + 1
            else:
                history.append(Entry(process, "ok", f, None, answer, 0))
            free.append(process)
    return _changed(rng, history) if rng.random() < 0.7 else history


def _draw(rng: Random, log: Log, submitted: set[str]) -> tuple[str, Any]:
    id_ = rng.choice(IDS)
    if id_ not in submitted:
        submitted.add(id_)
        return "submit", {"tasks": [{"id": id_}]}
    token = log.of(id_).token if rng.random() < 0.8 else rng.randint(1, 6)
    told = {"id": id_, "token": token}
    choices = [
        ("claim", {"node": "n", "registration": 0, "count": 2, "lease": 1}),
        ("complete", told | {"result": rng.randint(1, 2)}),
        ("fail", told),
        ("show", {"id": id_}),
        ("cancel", {"id": id_}),
        ("retry", {"id": id_}),
    ]
    return rng.choices(choices, (4, 4, 1, 3, 1, 1))[0]


def _run(rng: Random, log: Log, f: str, value: Any) -> tuple[Log, Any]:
    """Run one operation at once; now and then a lease ends before."""
    for id_, task in zip(IDS, log.tasks, strict=True):
        if task.phase == "held" and rng.random() < 0.15:
            log = log.put(id_, task._replace(phase="open"), log.revision + 1)
    revision = log.revision + 1
    if f == "submit":
        id_ = value["tasks"][0]["id"]
        return log.put(id_, One("open"), revision), {"created": {id_: revision}}
    if f == "claim":
        claims = []
        for id_, task in zip(IDS, log.tasks, strict=True):
            if task.phase == "open" and rng.random() < 0.8:
                log = log.put(id_, One("held", log.revision + 1, task.attempt + 1))
                log = log._replace(revision=log.revision + 1)
                claims.append([id_, log.revision, task.attempt + 1])
        return log, {"claims": claims}
    id_, task = value["id"], log.of(value["id"])
    if f == "show":
        result = task.result if task.phase == "done" else None
        seen = [SHOWN.get(task.phase), task.token, task.attempt, result]
        return log, {"task": None if task.phase == "absent" else seen, "revision": log.revision}
    if f in ("complete", "fail"):
        wanted = ("done", value["token"], value.get("result"))
        if f == "complete" and (task.phase, task.token, task.result) == wanted:
            return log, {}
        if task.phase != "held" or task.token != value["token"]:
            return log, {"refused": "stale"}
        phase, result = ("done", value["result"]) if f == "complete" else ("open", None)
        after = One(phase, task.token, task.attempt, result)
        return log.put(id_, after, revision), {"revision": revision}
    if task.phase in ("absent", "done"):
        return log, {"refused": "no"}
    after = task._replace(phase="gone") if f == "cancel" else One("open", task.token)
    return log.put(id_, after, revision), {}


def _changed(rng: Random, history: list[Entry]) -> list[Entry]:
    """Change one answer, or let one come at another time."""
    ends = [at for at, entry in enumerate(history) if entry.type == "ok"]
    if not ends:
        return history
    at = rng.choice(ends)
    entry = history[at]
    if rng.random() < 0.3:
        begin = max(i for i in range(at) if history[i].process == entry.process)
        rest = history[:at] + history[at + 1 :]
        return [*rest[: begin + 1], entry, *rest[begin + 1 :]]
    value = _another(rng, entry)
    return [*history[:at], entry._replace(value=value), *history[at + 1 :]]


def _another(rng: Random, entry: Entry) -> Any:
    value = entry.value
    step = rng.choice((-2, -1, 1, 2))
    if entry.f == "submit":
        return {"created": {id_: max(1, at + step) for id_, at in value["created"].items()}}
    if entry.f == "claim":
        claims = [list(claim) for claim in value["claims"]]
        if not claims or rng.random() < 0.2:
            return {"claims": [*claims, [rng.choice(IDS), rng.randint(1, 8), 1]][:2]}
        claim = rng.choice(claims)
        claim[rng.choice((1, 1, 2))] += step
        return {"claims": claims}
    if entry.f == "show":
        if value["task"] is None:
            return value | {"task": ["ready", 0, 0, None]}
        if rng.random() < 0.5:
            return value | {"revision": max(0, value["revision"] + step)}
        state, token, attempt, result = value["task"]
        state = rng.choice(tuple(SHOWN.values()))
        result = rng.choice((1, 2)) if state == "done" else None
        return value | {"task": [state, token, attempt, result]}
    return {} if "refused" in value else {"refused": "changed"}
