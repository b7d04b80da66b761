"""Several keys of the configuration at once, and a watch of them all, judged by revisions.

The history has no keys: each operation names those it touches. ``transact`` writes some keys (null
deletes) if others have the values it expects; ``read`` reads several as of one revision; ``watch``
goes on from where the last one ended, which may have been another process's and another node's.
"""

from __future__ import annotations

from random import Random
from typing import Any, NoReturn

from jepsen_like.workload.base import (
    ANSWERED,
    AnswerSenseless,
    Draw,
    Reply,
    Request,
    View,
    Workload,
    was_done,
)
from statemachines import edge_config_client as config
from statemachines.edge_config_client import AnswerInvalid, Condition, Delete, Put

MACHINE = "statemachines.edge_config:EdgeConfig"
PREFIX = "txn/"
NAMES = ("a", "b", "c", "d", "e", "f")
"""The keys: so few that transactions get into each other's way."""

DELETE_SHARE = 0.2
STALE_SHARE = 0.2
"""Guards that expect a value which nobody ever wrote, and watches that begin anew."""

NEVER = 0
"""A number that no operation has, so that no value is it."""

COMPACTED = "compacted: "
"""How the configuration's text begins when a watch asks for what is no longer kept."""


# --- what is asked -------------------------------------------------------------------------------


def _draw(rng: Random, view: View) -> Draw:
    """Draw 5 transactions to 3 reads to 2 watches."""
    known = view.known or {"values": {}, "through": 0}
    process = rng.choice(view.free)
    f = rng.choices(("transact", "read", "watch"), (5, 3, 2))[0]
    if f == "transact":
        return Draw(process, f, _transaction(rng, view.number, known["values"]))
    if f == "read":
        return Draw(process, f, sorted(rng.sample(NAMES, rng.randint(2, len(NAMES)))))
    start = 0 if rng.random() < STALE_SHARE else known["through"]
    return Draw(process, f, {"from": start, "keys": None})


def _transaction(rng: Random, number: int, values: dict[str, int | None]) -> dict[str, Any]:
    """Write one to three keys, one of them for sure a value, if up to two others are as known."""
    first, *others = rng.sample(NAMES, rng.randint(1, 3))
    puts: dict[str, int | None] = {first: number}
    for name in others:
        puts[name] = None if rng.random() < DELETE_SHARE else number
    guards = {name: values.get(name) for name in rng.sample(NAMES, rng.randint(0, 2))}
    if guards and rng.random() < STALE_SHARE:
        guards[next(iter(guards))] = NEVER
    return {"if": guards, "put": puts}


def _request(f: str, _key: str | None, value: Any) -> Request:
    if f == "transact":
        guards = [
            Condition(PREFIX + name, "value", "==", _bytes(each))
            for name, each in value["if"].items()
        ]
        changes = [
            Delete(PREFIX + name) if each is None else Put(PREFIX + name, b"%d" % each)
            for name, each in value["put"].items()
        ]
        return Request("command", config.transaction_command(guards, changes))
    if f == "read":
        return Request("query", config.range_query(PREFIX))
    return Request("watch", config.watch_query(PREFIX, value["from"]))


# --- what it was answered ------------------------------------------------------------------------


def _reply(f: str, value: Any, answer: bytes) -> Reply:
    try:
        if f == "transact":
            done = config.decode_transaction(answer)
            if done.succeeded:
                return Reply(True, {"revision": done.revision})
            return Reply(True, {"revision": done.revision, "done": False})
        if f == "read":
            page = config.decode_page(answer)
            found = {_name(item.key): _number(item.value) for item in page.items}
            values = {name: found.get(name) for name in value}
            return Reply(True, {"revision": page.revision, "values": values})
        batch = config.decode_watch(answer)
    except AnswerInvalid as error:
        raise AnswerSenseless(str(error)) from error
    events = [
        [event.revision, _name(event.key), None if event.value is None else _number(event.value)]
        for event in batch.events
    ]
    return Reply(True, {"events": events, "through": batch.revision, "compacted": False})


def _refusal(f: str, reason: str) -> Reply:
    if f == "watch" and reason.startswith(COMPACTED):
        return Reply(True, {"events": [], "through": None, "compacted": True})
    return Reply(False, None, ANSWERED + reason)


def _bytes(number: int | None) -> bytes | None:
    return None if number is None else b"%d" % number


def _name(key: str) -> str:
    name = key.removeprefix(PREFIX)
    if name not in NAMES:
        _senseless(f"the key {key!r} was never written")
    return name


def _number(value: bytes) -> int:
    if not value.isdigit():
        _senseless(f"the value {value!r} was never written")
    return int(value)


def _senseless(text: str) -> NoReturn:
    raise AnswerSenseless(text)


# --- what is learnt ------------------------------------------------------------------------------


def _learn(known: Any, f: str, argument: Any, value: Any) -> Any:
    """Keep what seems to be the present values, and how far the watch has come."""
    values, through = (known["values"], known["through"]) if known else ({}, 0)
    if f == "transact" and "done" not in value:
        values = values | argument["put"]
    elif f == "read":
        values = values | value["values"]
    elif f == "watch" and not value["compacted"]:
        through = max(through, value["through"])
    return {"values": values, "through": through}


def _observed(f: str, value: Any) -> bool:
    if f == "read":
        return any(each is not None for each in value["values"].values())
    return f == "watch" and bool(value["events"])


TRANSACTIONS = Workload(
    name="transactions",
    summary="several keys at one revision, and a watch of them",
    model="transactions",
    machine=MACHINE,
    draw=_draw,
    request=_request,
    reply=_reply,
    refusal=_refusal,
    observed=_observed,
    learn=_learn,
    final=("read", list(NAMES)),
    settled=was_done,
    keyed=False,
)
