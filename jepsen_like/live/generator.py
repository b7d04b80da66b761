"""What is asked next: small values that are put together, pure, so that tests need no I/O.

A generator is asked with a random number generator and a ``Context``, and answers with an ``Op``,
``Pending`` or ``DONE``, and with the generator that is to be asked next: none of them changes. It
must not know how operations are carried out. The same seed and the same contexts give the same
operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, NamedTuple, Protocol

from jepsen_like.history import Entry
from jepsen_like.workload.base import View, Workload

CATCH_UP_S = 0.1
"""A busy machine is late by so much now and then, and the rate holds nevertheless."""


class Op(NamedTuple):
    """An operation to begin at once. ``number`` is its own: no two operations share one."""

    number: int
    process: int
    f: str
    key: str | None
    value: Any


class Pending(NamedTuple):
    """Nothing now: ask again at ``until_s``, or as soon as an operation ends."""

    until_s: float = math.inf


class Done(NamedTuple):
    """Nothing ever again."""


DONE = Done()


class Ended(NamedTuple):
    """An operation that ended, and how."""

    number: int
    entry: Entry


class Context(NamedTuple):
    """What a generator may look at.

    Attributes:
        now_s: Since the run began.
        number: For the next operation.
        free: Processes without an operation under way, rising.
        busy: How many have one.
        known: By key: what was learnt so far; see ``Workload.learn``.
        ended: By key, then by process: the last operation that ended.
    """

    now_s: float
    number: int
    free: tuple[int, ...]
    busy: int
    known: Mapping[str | None, Any]
    ended: Mapping[str | None, Mapping[int, Ended]]


class Generator(Protocol):
    """Whatever says what is asked next."""

    def next(self, rng: Random, context: Context) -> Step:
        """Return what to do, and the generator to ask next time."""


Step = tuple[Op | Pending | Done, Generator]


# --- sources -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Draws:
    """Operations of a workload on one key, without end."""

    workload: Workload
    key: str | None

    def next(self, rng: Random, context: Context) -> Step:
        """Draw one for a free process."""
        if not context.free:
            return Pending(), self
        process, f, value = self.workload.draw(rng, _view(self.key, context))
        return Op(context.number, process, f, self.key, value), self


def _view(key: str | None, context: Context) -> View:
    ended = context.ended.get(key, {})
    last = {process: each.entry for process, each in ended.items()}
    return View(key, context.number, context.free, context.known.get(key), last)


@dataclass(frozen=True, slots=True)
class Finally:
    """A workload's final operation on one key, again and again until it is settled.

    One at a time. ``asked`` is the last one: its number and process.
    """

    workload: Workload
    key: str | None
    asked: tuple[int, int] | None = None

    def next(self, rng: Random, context: Context) -> Step:
        """Ask, unless the last one is still under way or has settled it."""
        if self.asked is not None:
            number, process = self.asked
            ended = context.ended.get(self.key, {}).get(process)
            if ended is None or ended.number != number:
                return Pending(), self
            if self.workload.settled(ended.entry):
                return DONE, self
        if not context.free:
            return Pending(), self
        op = self._draw(rng, context)
        return op, replace(self, asked=(op.number, op.process))

    def _draw(self, rng: Random, context: Context) -> Op:
        if self.workload.closing is not None:
            process, f, value = self.workload.closing(rng, _view(self.key, context))
        else:
            process = rng.choice(context.free)
            f, value = self.workload.final
        return Op(context.number, process, f, self.key, value)


# --- less of another -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``count`` operations of another."""

    count: int
    of: Generator

    def next(self, rng: Random, context: Context) -> Step:
        """Pass one on, and count it."""
        if self.count <= 0:
            return DONE, self
        step, after = self.of.next(rng, context)
        return step, Limit(self.count - isinstance(step, Op), after)


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """Another for ``seconds`` from when it is first asked."""

    seconds: float
    of: Generator
    until_s: float | None = None

    def next(self, rng: Random, context: Context) -> Step:
        """Pass on what comes in time."""
        until = context.now_s + self.seconds if self.until_s is None else self.until_s
        if context.now_s >= until:
            return DONE, replace(self, until_s=until)
        step, after = self.of.next(rng, context)
        if isinstance(step, Pending):
            step = Pending(min(step.until_s, until))
        return step, TimeLimit(self.seconds, after, until)


@dataclass(frozen=True, slots=True)
class Stagger:
    """Operations of another at random moments, ``interval_s`` apart on average.

    What could not begin in time is made up for only as far as ``CATCH_UP_S`` goes: after a time
    without a free process there is no long burst.
    """

    interval_s: float
    of: Generator
    at_s: float = 0.0

    def next(self, rng: Random, context: Context) -> Step:
        """Pass one on once its time has come."""
        if context.now_s < self.at_s:
            return Pending(self.at_s), self
        step, after = self.of.next(rng, context)
        at = self.at_s
        if isinstance(step, Op):
            at = max(at, context.now_s - CATCH_UP_S) + rng.expovariate(1 / self.interval_s)
        return step, Stagger(self.interval_s, after, at)


# --- several -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mix:
    """Several at once, drawn evenly; done when all are."""

    of: Sequence[Generator]

    def next(self, rng: Random, context: Context) -> Step:
        """Ask them in a drawn order until one has an operation."""
        parts: list[Generator | None] = list(self.of)
        until = math.inf
        for position in rng.sample(range(len(parts)), len(parts)):
            part = parts[position]
            assert part is not None
            step, after = part.next(rng, context)
            parts[position] = None if isinstance(step, Done) else after
            if isinstance(step, Op):
                return step, Mix(_present(parts))
            if isinstance(step, Pending):
                until = min(until, step.until_s)
        left = _present(parts)
        return (Pending(until) if left else DONE), Mix(left)


@dataclass(frozen=True, slots=True)
class Phases:
    """One after another; each begins when nothing of the one before is under way."""

    of: Sequence[Generator]

    def next(self, rng: Random, context: Context) -> Step:
        """Ask the first that is not done."""
        left = tuple(self.of)
        while left:
            step, after = left[0].next(rng, context)
            if not isinstance(step, Done):
                return step, Phases((after, *left[1:]))
            left = left[1:]
            if left and context.busy:
                # The one that is done stays in front as nothing, till the last of it has ended.
                return Pending(), Phases((Mix(()), *left))
        return DONE, self


@dataclass(frozen=True, slots=True)
class Rotation:
    """Keys without end, ``width`` at once: when one's generator is done a new key takes its place.

    So a history never has many operations of one key, whatever its length.

    Attributes:
        width: How many keys at once.
        make: From a key to its generator.
        begun: How many keys there were so far; they are k0, k1, ...
        active: Those of the present keys.
    """

    width: int
    make: Callable[[str], Generator]
    begun: int = 0
    active: tuple[Generator, ...] = ()

    def next(self, rng: Random, context: Context) -> Step:
        """Ask the present keys' generators in a drawn order."""
        begun, active = self.begun, list(self.active)
        while len(active) < self.width:
            active.append(self.make(f"k{begun}"))
            begun += 1
        until = math.inf
        for position in rng.sample(range(self.width), self.width):
            step, active[position] = active[position].next(rng, context)
            while isinstance(step, Done):
                step, active[position] = self.make(f"k{begun}").next(rng, context)
                begun += 1
            if isinstance(step, Op):
                return step, replace(self, begun=begun, active=tuple(active))
            until = min(until, step.until_s)
        return Pending(until), replace(self, begun=begun, active=tuple(active))


def _present(parts: Sequence[Generator | None]) -> tuple[Generator, ...]:
    return tuple(part for part in parts if part is not None)
