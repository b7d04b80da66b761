"""Who asks what: the choices of each workload, drawn from a seed.

Values are made of the operation's number, so that whatever is read names the one operation that
wrote it. What a compare-and-set expects is usually what was last told of the key: else it would
hardly ever hold.
"""

from __future__ import annotations

from random import Random

from jepsen_like.workload.base import Draw, View

GUESS_SHARE = 0.2
"""Compare-and-sets that expect something older than what is known, so that "no" is tested too."""

LOCK_BREAK_SHARE = 0.1
"""Operations of a process without the mutex that try to release it by guessing its token."""


def _process(rng: Random, view: View) -> int:
    return rng.choice(view.free)


def register(rng: Random, view: View) -> Draw:
    """Read 4, write 3, compare and set 3."""
    f = rng.choices(("read", "write", "cas"), (4, 3, 3))[0]
    return Draw(_process(rng, view), f, register_value(rng, f, view.known, view.number))


def key_value(rng: Random, view: View) -> Draw:
    """Read 8, write 5, compare and set 6, delete 1."""
    f = rng.choices(("read", "write", "cas", "delete"), (8, 5, 6, 1))[0]
    return Draw(_process(rng, view), f, register_value(rng, f, view.known, view.number))


def register_value(rng: Random, f: str, known: int | None, number: int) -> object:
    """Return the argument of an operation on a register."""
    if f == "write":
        return number
    if f != "cas":
        return None
    if known is not None and rng.random() < GUESS_SHARE:
        return [max(0, known - 1), number]
    return [known, number]


def text(rng: Random, view: View) -> Draw:
    """Get 4, append 5, put 1: a put shortens what each later get carries."""
    f = rng.choices(("get", "append", "put"), (4, 5, 1))[0]
    return Draw(_process(rng, view), f, None if f == "get" else f"{view.number} ")


def append(rng: Random, view: View) -> Draw:
    """Append 5, read 5."""
    f = rng.choice(("append", "read"))
    return Draw(_process(rng, view), f, view.number if f == "append" else None)


def growing_set(rng: Random, view: View) -> Draw:
    """Add 6, read 4."""
    f = rng.choices(("add", "read"), (6, 4))[0]
    return Draw(_process(rng, view), f, view.number if f == "add" else None)


def counter(rng: Random, view: View) -> Draw:
    """Add 5 (up to 5 each), read 5."""
    f = rng.choice(("add", "read"))
    return Draw(_process(rng, view), f, rng.randint(1, 5) if f == "add" else None)


def queue(rng: Random, view: View) -> Draw:
    """Enqueue 5, dequeue 5."""
    f = rng.choice(("enqueue", "dequeue"))
    return Draw(_process(rng, view), f, view.number if f == "enqueue" else None)


def mutex(rng: Random, view: View) -> Draw:
    """Whoever has the mutex releases it; others want it, or now and then guess its token.

    Without the guesses a mutex would stay locked for good once nobody knows who has it: because the
    holder's request ended without an answer.
    """
    for process in view.free:
        entry = view.last.get(process)
        if entry is not None and entry.f == "acquire" and entry.type == "ok":
            return Draw(process, "release", entry.value)
    process = _process(rng, view)
    if rng.random() < LOCK_BREAK_SHARE:
        return Draw(process, "release", (view.known or 0) + rng.randint(0, 1))
    return Draw(process, "acquire", None)
