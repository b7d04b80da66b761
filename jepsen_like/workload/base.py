"""What a workload is: a state machine, who asks what of it, and what an answer means in a history.

Everything here is a value or a pure function: the same workload is run on real processes and can
be run on anything else that has commands and queries. It must not know how a request travels, and
what became of it if no answer came: that is for whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, NamedTuple

from jepsen_like.history import Entry

ANSWERED = "answered: "
"""How the error of an operation begins that the state machine refused: it got there."""


class Request(NamedTuple):
    """What is sent, and how: a ``watch`` is a query that is answered when there is news."""

    kind: Literal["command", "query", "watch"]
    data: bytes


class Reply(NamedTuple):
    """What an answer means: it happened with ``value``, or did not. See ``Entry.error``."""

    happened: bool
    value: Any = None
    error: str | None = None


class View(NamedTuple):
    """What the drawing of an operation may look at.

    Attributes:
        key: The key that the operation is for; None where there is one object.
        number: Of the operation; rises and is used once, so that values made of it are unique.
        free: Processes that could ask, rising; at least one.
        known: What was learnt of the key so far; see ``Workload.learn``.
        last: By process: how its last operation on this key ended.
    """

    key: str | None
    number: int
    free: tuple[int, ...]
    known: Any
    last: Mapping[int, Entry]


class Draw(NamedTuple):
    """Who asks what."""

    process: int
    f: str
    value: Any


class AnswerSenseless(ValueError):
    """An answer that no correct state machine could have given to this request."""


def lacks_nothing(_history: Sequence[Entry]) -> list[str]:
    """Return nothing: a history of most workloads proves enough by its numbers."""
    return []


@dataclass(frozen=True, slots=True)
class Workload:
    """A kind of load, and how to judge its history.

    Attributes:
        name: What the command line calls it.
        summary: What it is, for a person choosing one.
        model: The checkers' model of one key.
        machine: ``module:Class`` of the state machine.
        draw: Who asks what next.
        request: From an operation's name, key and value to what is sent.
        reply: From an operation's name and value, and the answer's bytes, to what it means.
            Raises AnswerSenseless.
        refusal: From an operation's name and the state machine's text to what that means.
        observed: From an operation's name and result to whether it shows that some write happened.
        learn: From what was known of a key (None at first), and the name, argument and result of
            an operation that happened, to what is known now.
        final: The operation that reads a key at the very end: its name and value.
        closing: Who asks what at the very end, if one operation does not do; the last one is
            ``final`` then, by its name.
        settled: Whether an ending of the final operation is all that is to be had from its key.
        keyed: Whether each operation is on one key, and keys have nothing to do with one another.
        key_operations: How many operations of one key are few enough for the checker to decide
            its history, with some outcomes unknown.
        lacking: From a history to what it has not tried, in a sentence each: then it proves too
            little, whatever was asked.
        beside: Another load on the same state machine, on keys of its own, with its own history.
    """

    name: str
    summary: str
    model: str
    machine: str
    draw: Callable[[Random, View], Draw]
    request: Callable[[str, str | None, Any], Request]
    reply: Callable[[str, Any, bytes], Reply]
    refusal: Callable[[str, str], Reply]
    observed: Callable[[str, Any], bool]
    learn: Callable[[Any, str, Any, Any], Any]
    final: tuple[str, Any]
    settled: Callable[[Entry], bool]
    keyed: bool = True
    key_operations: int = 400
    beside: Workload | None = None
    closing: Callable[[Random, View], Draw] | None = None
    lacking: Callable[[Sequence[Entry]], list[str]] = lacks_nothing


def was_done(entry: Entry) -> bool:
    """Whether an operation happened: what settles a final read of most workloads."""
    return entry.type == "ok"
