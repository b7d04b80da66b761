"""What the tests ask of a cluster: a small state machine whose every answer can be foretold.

``Registers`` holds, under each key, a register, a list that is only appended to, and a counter.
Every written element is unique, so an operation that ran twice, or not at all, shows in the state
and not only in its answer. It knows no cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from paxos.core.state_machine import CommandFailed, Stamp, StateMachine
from statemachines.edge_config import EdgeConfig
from statemachines.task_log import TaskLog

REGISTERS = "registers"
EDGE_CONFIG = "edge-config"
TASK_LOG = "tasks"
"""The names under which clusters host the state machines of a workload."""

SEPARATOR = b"\x00"


class Registers:
    """Registers, lists and counters by key.

    Commands and queries are words joined by a zero byte: an operation's one-letter name, the key,
    and its arguments. ``p`` puts and returns the old value, ``a`` appends and returns the new
    length, ``i`` increments and returns the new count, ``c`` puts if the value is the expected
    one, ``x`` always raises what a careless state machine would raise.
    """

    def __init__(self) -> None:
        self._registers: dict[bytes, bytes] = {}
        self._lists: dict[bytes, list[bytes]] = {}
        self._counters: dict[bytes, int] = {}

    def apply(self, command: bytes, at: Stamp) -> bytes:
        """Run one operation."""
        name, key, *arguments = command.split(SEPARATOR)
        if name == b"p":
            before = self._registers.get(key, b"")
            self._registers[key] = arguments[-1]
            return before
        if name == b"a":
            elements = self._lists.setdefault(key, [])
            elements.append(arguments[-1])
            return b"%d" % len(elements)
        if name == b"i":
            count = self._counters[key] = self._counters.get(key, 0) + 1
            return b"%d" % count
        if name == b"c":
            before = self._registers.get(key, b"")
            if before != arguments[0]:
                raise CommandFailed(f"expected {arguments[0]!r}, found {before!r}")
            self._registers[key] = arguments[-1]
            return b""
        if name == b"x":
            raise ZeroDivisionError("a careless state machine; the text must not be replicated")
        raise CommandFailed(f"no operation {name!r}")

    def query(self, query: bytes) -> bytes:
        """Read a register (``p``), a list (``a``, joined by commas) or a counter (``i``)."""
        name, key, *_ = query.split(SEPARATOR)
        if name == b"p":
            return self._registers.get(key, b"")
        if name == b"a":
            return b",".join(self._lists.get(key, ()))
        if name == b"i":
            return b"%d" % self._counters.get(key, 0)
        raise CommandFailed(f"no query {name!r}")

    def watch(self, query: bytes) -> bytes | None:
        """Return the elements of a list from a position on, once there is one."""
        _, key, start = query.split(SEPARATOR)
        elements = self._lists.get(key, ())
        first = int(start)
        return b",".join(elements[first:]) if first < len(elements) else None

    def snapshot(self) -> Iterator[bytes]:
        """Return the state in order of key, as it is now: not what later commands make of it.

        A list only ever grows, so that how long it is now says what was in it.
        """
        lists = {key: (elements, len(elements)) for key, elements in self._lists.items()}
        return _chunks(dict(self._registers), lists, dict(self._counters))

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the state."""
        self.__init__()  # type: ignore[misc]
        for chunk in chunks:
            name, key, *rest = chunk.split(SEPARATOR)
            if name == b"p":
                self._registers[key] = rest[0]
            elif name == b"a":
                self._lists[key] = rest
            else:
                self._counters[key] = int(rest[0])


def _chunks(
    registers: Mapping[bytes, bytes],
    lists: Mapping[bytes, tuple[Sequence[bytes], int]],
    counters: Mapping[bytes, int],
) -> Iterator[bytes]:
    for key, value in sorted(registers.items()):
        yield SEPARATOR.join((b"p", key, value))
    for key, (elements, length) in sorted(lists.items()):
        yield SEPARATOR.join((b"a", key, *elements[:length]))
    for key, count in sorted(counters.items()):
        yield SEPARATOR.join((b"i", key, b"%d" % count))


NUMBER_BYTES = 8


class NumberedTaskLog(TaskLog):
    """A task log whose commands begin with a number that is not looked at, so that each is unique.

    Whoever looks on tells by its bytes whether a command ran twice; two claims have equal ones.
    """

    def apply(self, command: bytes, at: Stamp) -> bytes:
        """Run what follows the number."""
        return super().apply(command[NUMBER_BYTES:], at)


def numbered(number: int, command: bytes) -> bytes:
    """Return a command of ``NumberedTaskLog``."""
    return number.to_bytes(NUMBER_BYTES, "big") + command


def make_machines(edge_config: bool, task_log: bool = False) -> dict[str, StateMachine]:
    """Return the state machines that a simulated cluster hosts, fresh."""
    machines: dict[str, StateMachine] = {REGISTERS: Registers()}
    if edge_config:
        machines[EDGE_CONFIG] = EdgeConfig()
    if task_log:
        machines[TASK_LOG] = NumberedTaskLog()
    return machines


def operation(name: bytes, key: bytes, *arguments: bytes) -> bytes:
    """Return a command or query of ``Registers``."""
    return SEPARATOR.join((name, key, *arguments))
