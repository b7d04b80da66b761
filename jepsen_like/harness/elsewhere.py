"""The same commands in other processes: another hash seed, locale, time zone and clock.

Owns a pair of child processes that live as long as the test run, so that an example costs no more
than a line to each: what differs there is found, and shrunk, like anything else. Replicas are
different processes on different machines; only what is the same there is the same on them.
"""

from __future__ import annotations

import atexit
import functools
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jepsen_like.harness import promises
from jepsen_like.harness.promises import Broken, shown, shown_result
from paxos.core.errors import PaxosError

_END_S = 5.0
"""How long a process may take to end once nothing is left to ask it."""
_LATER_S = 123_456_789.0
"""How far the other clock is ahead: years, weekdays and hours all differ."""


class CannotLoadElsewhere(PaxosError):
    """Another process cannot make the state machine; the text says why and what to do."""


class ProcessEnded(CannotLoadElsewhere):
    """The process that ran the commands ended over them."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process runs.

    Attributes:
        differs: What is other there, for a person.
        environment: Its own variables.
        clock_s: How far its clock is ahead.
    """

    differs: str
    environment: Mapping[str, str] = field(default_factory=dict)
    clock_s: float = 0.0


_HERE = {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C", "LANG": "C"}
_TZ = {"TZ": "Pacific/Kiritimati"}
_LOCALE = {"LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}
HOME = Place("nothing", _HERE)
AWAY = Place("everything", {**_HERE, "PYTHONHASHSEED": "2", **_TZ, **_LOCALE}, _LATER_S)
SUSPECTS = (
    Place("only the process, and the moment (random numbers, the time, id()?)", _HERE),
    Place("PYTHONHASHSEED (the order of a set, or hash()?)", {**_HERE, "PYTHONHASHSEED": "2"}),
    Place("the clock", _HERE, _LATER_S),
    Place("the time zone", {**_HERE, **_TZ}),
    Place("the locale", {**_HERE, **_LOCALE}),
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where another process finds what makes the state machine."""

    module: str
    path: str
    attribute: str


def address_of(factory: Callable[[], object]) -> Address:
    """Return where another process finds ``factory``.

    Raises:
        CannotLoadElsewhere: It has no name there.
    """
    module = getattr(factory, "__module__", None)
    attribute = getattr(factory, "__qualname__", "<locals>")
    try:
        path = inspect.getfile(sys.modules[module or ""])
    except (KeyError, TypeError):
        path = ""
    if not path or "<" in attribute:
        raise CannotLoadElsewhere(
            f"{factory!r} cannot be made in another process: define it at the top of a module,"
            " or give cluster_test(..., elsewhere=False) and do without that check"
        )
    return Address(module or "", path, attribute)


class Process:
    """A child process that runs commands."""

    def __init__(self, place: Place) -> None:
        self.place = place
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._child = subprocess.Popen(
            [sys.executable, "-m", "jepsen_like.harness.elsewhere_program", str(place.clock_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **place.environment, "PYTHONPATH": path},
        )

    def ask(self, line: bytes) -> None:
        """Send a request; ``answer`` returns what it gave."""
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(line)
            self._child.stdin.flush()
        except BrokenPipeError:
            self._died()

    def answer(self) -> list[bytes]:
        """Return the results, and the snapshot as the last of them.

        Raises:
            CannotLoadElsewhere: It could not run them at all.
        """
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            self._died()
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise CannotLoadElsewhere(
                f"another process cannot run the state machine: {reply['error']}; it must load"
                " there as it does here, or give cluster_test(..., elsewhere=False)"
            )
        return [text.encode("latin-1") for text in reply["texts"]]

    def _died(self) -> None:
        status = self._child.wait()
        raise ProcessEnded(f"the process that ran the commands ended with status {status}")

    def close(self) -> None:
        """End it."""
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass  # it ended before: there is nobody to tell
        try:
            self._child.wait(_END_S)
        except subprocess.TimeoutExpired:  # the user's code does not end
            self._child.kill()
            self._child.wait()


@functools.cache
def _pair() -> tuple[Process, Process]:
    pair = Process(HOME), Process(AWAY)
    for process in pair:
        atexit.register(process.close)
    return pair


def check_everywhere(
    address: Address, commands: Sequence[bytes], queries: Sequence[bytes] = ()
) -> None:
    """See that commands and queries give the same in two different processes.

    Raises:
        Broken: They do not.
        CannotLoadElsewhere: They cannot be run there.
    """
    line = _request(address, commands, queries)
    home, away = _run_pair(line)
    where = _first_difference(home, away)
    if where is not None:
        text = _describe(where, commands, queries, home[where], away[where])
        raise Broken(promises.SAME_EVERYWHERE, text)


def blame(address: Address, commands: Sequence[bytes], queries: Sequence[bytes] = ()) -> str:
    """Return what makes commands and queries give something else in another process.

    Starts a process for each suspect: for a failure that has been found, not for the search.
    """
    line = _request(address, commands, queries)
    home = _run_pair(line)[0]
    for place in SUSPECTS:
        process = Process(place)
        try:
            other = _run([process], line)[0]
        finally:
            process.close()
        if _first_difference(home, other) is not None:
            return place.differs
    return "more than one of hash seed, clock, time zone and locale"


def _request(address: Address, commands: Sequence[bytes], queries: Sequence[bytes]) -> bytes:
    request = {
        "module": address.module,
        "path": address.path,
        "attribute": address.attribute,
        "commands": [command.decode("latin-1") for command in commands],
        "queries": [query.decode("latin-1") for query in queries],
    }
    return json.dumps(request).encode() + b"\n"


def _run_pair(line: bytes) -> list[list[bytes]]:
    try:
        return _run(_pair(), line)
    except BaseException as error:
        if type(error) is not CannotLoadElsewhere:
            # One ended, or was interrupted before it answered: the next request gets a new pair.
            for process in _pair():
                process.close()
            _pair.cache_clear()
        raise


def _run(processes: Sequence[Process], line: bytes) -> list[list[bytes]]:
    for process in processes:
        process.ask(line)
    answers: list[list[bytes]] = []
    failure: CannotLoadElsewhere | None = None
    for process in processes:  # every answer is taken, or the next request would get it
        try:
            answers.append(process.answer())
        except CannotLoadElsewhere as error:
            failure = error
    if failure is not None:
        raise failure
    return answers


def _first_difference(home: Sequence[bytes], away: Sequence[bytes]) -> int | None:
    pairs = zip(home, away, strict=True)
    return next((index for index, (one, other) in enumerate(pairs) if one != other), None)


def _describe(
    where: int, commands: Sequence[bytes], queries: Sequence[bytes], home: bytes, away: bytes
) -> str:
    if where < len(commands):
        what = f"command {where + 1}, {shown(commands[where])},"
    elif where < len(commands) + len(queries):
        what = f"the query {shown(queries[where - len(commands)])}"
    else:
        return f"the snapshot is {shown(home)} in one process and {shown(away)} in another"
    one, other = shown_result(home), shown_result(away)
    return f"{what} gives {one} in one process and {other} in another"
