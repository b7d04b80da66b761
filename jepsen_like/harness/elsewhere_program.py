"""The other side of ``elsewhere``: runs commands on a state machine in a process of its own.

Speaks JSON, a line for a line, on the standard input and output it was started with; a state
machine that prints talks to standard error. Its clock can be moved before any of the user's code
is loaded. It imports no test framework.
"""

from __future__ import annotations

import datetime as dt
import functools
import importlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from paxos.core.state_machine import StateMachine
from paxos.testing.state_machine_suite import run, run_all, stamps, state_of


def move_clocks(offset_s: float) -> None:
    """Let every clock that Python code can read show another time."""
    nanoseconds = int(offset_s * 1e9)
    for name in ("time", "monotonic", "perf_counter"):
        setattr(time, name, _later(getattr(time, name), offset_s))
        in_ns = f"{name}_ns"
        setattr(time, in_ns, _later(getattr(time, in_ns), nanoseconds))
    for name in ("localtime", "gmtime", "ctime"):
        setattr(time, name, _of_now(getattr(time, name), time.time))
    for name in ("strftime", "asctime"):
        setattr(time, name, _of_parts(getattr(time, name), time.localtime))
    _move_dates()


def _later(clock: Callable[[], Any], offset: float) -> Callable[[], Any]:
    return lambda: clock() + offset


def _of_now(convert: Callable[[float], Any], now: Callable[[], float]) -> Callable[..., Any]:
    return lambda seconds=None: convert(now() if seconds is None else seconds)


def _of_parts(convert: Callable[..., str], now: Callable[[], Any]) -> Callable[..., str]:
    # strftime(format[, parts]) and asctime([parts]): without parts they mean now.
    formats = 1 if convert.__name__ == "strftime" else 0
    return lambda *given: convert(*given) if len(given) > formats else convert(*given, now())


def _move_dates() -> None:
    class Datetime(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return cls.fromtimestamp(time.time(), tz)

        @classmethod
        def utcnow(cls) -> Any:
            return cls.fromtimestamp(time.time(), dt.UTC).replace(tzinfo=None)

        @classmethod
        def today(cls) -> Any:
            return cls.fromtimestamp(time.time())

    class Date(dt.date):
        @classmethod
        def today(cls) -> Any:
            return cls.fromtimestamp(time.time())

    for mine, name in ((Datetime, "datetime"), (Date, "date")):
        mine.__name__ = mine.__qualname__ = name
        mine.__module__ = "datetime"
        setattr(dt, name, mine)


@functools.cache
def load(module_name: str, path: str, attribute: str) -> Callable[[], StateMachine]:
    """Return what makes the state machine: the attribute of a module that stands in a file."""
    found: Any = _load_module(module_name, path)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]


def _load_module(name: str, path: str) -> object:
    loaded = sys.modules.get(name)
    if loaded is None and name != "__main__":
        try:
            loaded = importlib.import_module(name)
        except ImportError:
            loaded = None  # a test module is known by its file
    if loaded is not None and _same_file(getattr(loaded, "__file__", None), path):
        return loaded
    alias = name if name != "__main__" and loaded is None else f"elsewhere {name}"
    spec = importlib.util.spec_from_file_location(alias, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[alias] = module
    spec.loader.exec_module(module)
    return module


def _same_file(one: str | None, other: str) -> bool:
    return one is not None and Path(one).resolve() == Path(other).resolve()


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Run what one request asks for, on a fresh state machine."""
    factory = load(request["module"], request["path"], request["attribute"])
    commands = [command.encode("latin-1") for command in request["commands"]]
    queries = [query.encode("latin-1") for query in request["queries"]]
    machine = factory()
    results = run_all(machine, commands)
    at = next(stamps())
    asked = [run(_Asked(machine), query, at) for query in queries]
    texts = [result.decode("latin-1") for result in (*results, *asked, state_of(machine))]
    return {"texts": texts}


class _Asked:
    """A state machine whose ``apply`` is its ``query``: the suite runs commands."""

    def __init__(self, machine: StateMachine) -> None:
        self.apply = lambda query, _at: machine.query(query)
        self.query, self.snapshot, self.restore = machine.query, machine.snapshot, machine.restore


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer each line until there are no more."""
    for line in requests:
        try:
            reply = answer(json.loads(line))
        except Exception as error:  # noqa: BLE001 - told to the other side, which raises it
            reply = {"error": f"{type(error).__qualname__}: {error}"}
        answers.write(json.dumps(reply).encode() + b"\n")
        answers.flush()


def main() -> None:
    """Serve on the standard streams; the only argument is how far the clocks are moved."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    offset_s = float(sys.argv[1])
    if offset_s:
        move_clocks(offset_s)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
