"""What every replicated state machine must keep, as checks that any class can be put through.

It owns no state machine and knows none: it is given a way to make one, and bytes. It guards the
claims that replication rests on: the same commands give the same state and results on every
replica, whatever its hash seed, locale and time zone; a snapshot is the whole state, alike for
equal states; and it is that of the moment at which it was asked for, however late it is read.

Each check takes a factory (a class without arguments will do) and raises ``StateMachineBroken``
with a text that names the first command or chunk where the claim fails::

    from paxos.testing.state_machine_suite import Exercise, check_state_machine

    def test_my_machine_keeps_the_contract():
        check_state_machine("mypackage.counter:Counter", Exercise(commands=[b"add 1", b"add 2"]))

It needs nothing but the library: no test framework.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from paxos.core.state_machine import CommandFailed, Stamp, StateMachine, Watchable

Factory = Callable[[], StateMachine]

MALFORMED = (
    b"",
    b"\x00",
    b"\xff",
    b"\xc1",
    b"{}",
    b"\x93\x01\x02",
    b"\xdd\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\x91" * 5000,
    bytes(range(256)),
)
"""Bytes that are a command to hardly any machine: cut short, nested deep, with absurd lengths."""

_ENVIRONMENTS = (
    {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C"},
    {"PYTHONHASHSEED": "2", "TZ": "Pacific/Kiritimati", "LC_ALL": "C.UTF-8"},
)
_LENGTH_BYTES = 4
_CHILD_TIMEOUT_S = 120
_CUTS_MAX = 8
_LATER_SHOWS = "a snapshot shows commands applied after it was asked for"


class StateMachineBroken(AssertionError):
    """A state machine does not keep what replication needs of it; the text says where."""


@dataclass(frozen=True, slots=True)
class Exercise:
    """What a state machine is put through.

    Attributes:
        commands: Commands in order; some that it refuses should be among them.
        queries: Queries that make sense after the commands.
        malformed: Bytes that are neither a command nor a query.
    """

    commands: Sequence[bytes]
    queries: Sequence[bytes] = ()
    malformed: Sequence[bytes] = MALFORMED


def check_state_machine(name: str, exercise: Exercise) -> None:
    """Run every check on the class that ``name`` ("module:Class") names.

    Raises:
        StateMachineBroken: The first check that failed.
    """
    factory = load_factory(name)
    check_results_equal(factory, exercise.commands)
    check_environment_ignored(name, exercise.commands)
    check_snapshot_round_trip(factory, exercise.commands)
    check_snapshot_stands_still(factory, exercise.commands)
    check_arguments_untouched(factory, exercise.commands)
    check_failures_change_nothing(factory, [*exercise.commands, *exercise.malformed])
    check_malformed_refused(factory, exercise.commands, exercise.malformed)
    check_queries_change_nothing(factory, exercise.commands, exercise.queries)


def load_factory(name: str) -> Factory:
    """Return what "module:Class" names."""
    module, _, attribute = name.partition(":")
    factory: Factory = getattr(importlib.import_module(module), attribute)
    return factory


def stamps() -> Iterator[Stamp]:
    """Yield stamps as a log gives them: several commands to a slot, time that only rises."""
    slot, time = 1, 1_700_000_000_000_000
    while True:
        for position in range(slot % 4 + 1):
            yield Stamp(slot, position, time)
        slot += 1
        time += slot % 3 * 1000


def run(machine: StateMachine, command: bytes, at: Stamp) -> bytes:
    """Apply a command as a replica does: a failure is a result like any other."""
    try:
        return b"done " + machine.apply(command, at)
    except CommandFailed as failure:
        return b"failed " + str(failure).encode()
    except Exception as error:  # noqa: BLE001 - the executor reports the class of any exception
        return b"raised " + type(error).__qualname__.encode()


def run_all(machine: StateMachine, commands: Iterable[bytes]) -> list[bytes]:
    """Apply commands in order; return their results."""
    at = stamps()
    return [run(machine, command, next(at)) for command in commands]


def state_of(machine: StateMachine) -> bytes:
    """Return a state machine's whole state as one byte string."""
    return b"".join(machine.snapshot())


def chunks_of(machine: StateMachine) -> list[bytes]:
    """Return a state machine's snapshot as it is cut: equal states must be cut alike."""
    return list(machine.snapshot())


def check_results_equal(factory: Factory, commands: Sequence[bytes]) -> None:
    """Two machines that run the same commands give the same results and end in the same state."""
    one, other = factory(), factory()
    pairs = zip(run_all(one, commands), run_all(other, commands), strict=True)
    for number, (first, second) in enumerate(pairs):
        _expect(first == second, f"command {number} gave {first!r} once and {second!r} once")
    _expect(chunks_of(one) == chunks_of(other), "the same commands led to two states")


def check_environment_ignored(name: str, commands: Sequence[bytes]) -> None:
    """Results and state do not depend on the hash seed, the locale or the time zone."""
    outputs = [_run_elsewhere(name, commands, environment) for environment in _ENVIRONMENTS]
    lines = zip(*(output.splitlines() for output in outputs), strict=True)
    for number, (first, second) in enumerate(lines):
        what = f"command {number}" if number < len(commands) else "the state"
        _expect(first == second, f"{what} differs under another hash seed, locale or time zone")


def check_snapshot_round_trip(factory: Factory, commands: Sequence[bytes]) -> None:
    """A machine restored half way is the same machine: same state, same results from there on."""
    half = len(commands) // 2
    original, copy = factory(), factory()
    at = stamps()
    for command in commands[:half]:
        run(original, command, next(at))
    # What is restored into must not shine through.
    run_all(copy, commands[half:])
    copy.restore(list(original.snapshot()))
    _expect(chunks_of(copy) == chunks_of(original), "a restored machine has another snapshot")
    for number, command in enumerate(commands[half:], half):
        stamp = next(at)
        first, second = run(original, command, stamp), run(copy, command, stamp)
        _expect(first == second, f"command {number} gave {second!r} after a restore, not {first!r}")
    _expect(chunks_of(copy) == chunks_of(original), "a restored machine went another way")
    copy.restore(list(factory().snapshot()))
    _expect(chunks_of(copy) == chunks_of(factory()), "restoring an empty machine leaves something")


def check_snapshot_stands_still(factory: Factory, commands: Sequence[bytes]) -> None:
    """A snapshot is of the moment of the call, whatever happens before its chunks are taken.

    Commands come before the first chunk, between chunks and all after the first one; other
    snapshots are begun, dropped and read meanwhile; the machine is restored meanwhile.
    """
    for cut in _cuts(len(commands)):
        for deal in _DEALS:
            _check_still(factory, commands[:cut], commands[cut:], deal)
        _check_still_over_others(factory, commands[:cut], commands[cut:])
        _check_still_over_restore(factory, commands[:cut])


_DEALS: Sequence[Callable[[int], int]] = (
    lambda _: sys.maxsize,
    lambda _: 1,
    lambda taken: sys.maxsize if taken else 0,
)
"""How many commands come before a chunk, by how many chunks were taken: all before the first, one
before each, all before the second."""


def _cuts(commands: int) -> list[int]:
    """Return after how many commands a snapshot is asked for."""
    step = max(1, commands // _CUTS_MAX)
    return [*range(step, commands, step)] or [commands]


def _check_still(
    factory: Factory, before: Sequence[bytes], after: Sequence[bytes], deal: Callable[[int], int]
) -> None:
    machine, at = factory(), stamps()
    for command in before:
        run(machine, command, next(at))
    right = chunks_of(machine)
    chunks = iter(machine.snapshot())
    rest = iter(after)
    taken: list[bytes] = []
    while True:
        for command in islice(rest, deal(len(taken))):
            run(machine, command, next(at))
        chunk = _next_chunk(chunks)
        if chunk is None:
            break
        taken.append(chunk)
    _expect(taken == right, _LATER_SHOWS)
    for command in rest:
        run(machine, command, next(at))
    twin = factory()
    run_all(twin, [*before, *after])
    _expect(chunks_of(machine) == chunks_of(twin), "reading a snapshot changed the state")


def _check_still_over_others(
    factory: Factory, before: Sequence[bytes], after: Sequence[bytes]
) -> None:
    machine, at = factory(), stamps()
    for command in before:
        run(machine, command, next(at))
    right = chunks_of(machine)
    first, dropped = iter(machine.snapshot()), iter(machine.snapshot())
    taken = [chunk for chunk in (_next_chunk(first),) if chunk is not None]
    _next_chunk(dropped)
    half = len(after) // 2
    for command in after[:half]:
        run(machine, command, next(at))
    del dropped
    right_later = chunks_of(machine)
    later = machine.snapshot()
    for command in after[half:]:
        run(machine, command, next(at))
    for text, chunks, whole in (
        ("a snapshot is spoilt when another one is asked for", chain(taken, first), right),
        ("a snapshot asked for while another is read is not of its moment", later, right_later),
    ):
        _expect(_read(chunks) == whole, text)


def _check_still_over_restore(factory: Factory, before: Sequence[bytes]) -> None:
    machine = factory()
    run_all(machine, before)
    right = chunks_of(machine)
    chunks = machine.snapshot()
    machine.restore(list(factory().snapshot()))
    _expect(_read(chunks) == right, "a snapshot that is being read changes with a restore")


def _read(chunks: Iterable[bytes]) -> list[bytes]:
    one_by_one = iter(chunks)
    return list(iter(lambda: _next_chunk(one_by_one), None))


def _next_chunk(chunks: Iterator[bytes]) -> bytes | None:
    try:
        return next(chunks, None)
    except Exception as error:
        text = f"reading a snapshot raised {error!r}: {_LATER_SHOWS}"
        raise StateMachineBroken(text) from error


def check_arguments_untouched(factory: Factory, commands: Sequence[bytes]) -> None:
    """Neither ``apply`` nor ``restore`` changes what it is given, nor keeps hold of a list."""
    machine, copy = factory(), factory()
    at = stamps()
    for number, command in enumerate(commands):
        given = bytes(bytearray(command))
        run(machine, given, next(at))
        _expect(given == command, f"applying command {number} changed the command itself")
    chunks = list(machine.snapshot())
    given_chunks = list(chunks)
    copy.restore(given_chunks)
    _expect(given_chunks == chunks, "restore changed the list of chunks it was given")
    given_chunks.clear()
    _expect(state_of(copy) == state_of(machine), "restore kept the list of chunks it was given")


def check_failures_change_nothing(factory: Factory, commands: Sequence[bytes]) -> None:
    """A command that fails leaves the state as it was."""
    machine = factory()
    at = stamps()
    before = state_of(machine)
    for number, command in enumerate(commands):
        result = run(machine, command, next(at))
        after = state_of(machine)
        failed = not result.startswith(b"done ")
        _expect(not failed or after == before, f"command {number} failed and changed the state")
        before = after


def check_malformed_refused(
    factory: Factory, commands: Sequence[bytes], malformed: Sequence[bytes]
) -> None:
    """Bytes that mean nothing are refused with ``CommandFailed``, whatever the state."""
    machine = factory()
    run_all(machine, commands)
    verbs: list[Callable[[bytes], object]] = [lambda data: machine.apply(data, next(stamps()))]
    verbs.append(machine.query)
    if isinstance(machine, Watchable):
        verbs.append(machine.watch)
    for data in malformed:
        for verb in verbs:
            try:
                verb(data)
            except CommandFailed:
                continue
            except Exception as error:
                kind = type(error).__qualname__
                raise StateMachineBroken(f"{data[:20]!r} raised {kind}: {error}") from error
            raise StateMachineBroken(f"{data[:20]!r} was taken, though it should mean nothing")


def check_queries_change_nothing(
    factory: Factory, commands: Sequence[bytes], queries: Sequence[bytes]
) -> None:
    """Queries and watches leave the state as it was, and give the same answer twice."""
    machine = factory()
    run_all(machine, commands)
    before = state_of(machine)
    for number, query in enumerate(queries):
        first, second = _ask(machine, query), _ask(machine, query)
        _expect(first == second, f"query {number} gave {first!r}, then {second!r}")
        _expect(state_of(machine) == before, f"query {number} changed the state")


def _ask(machine: StateMachine, query: bytes) -> bytes:
    """Ask as a query and, where there are watches, as a watch."""
    answers = []
    verbs: list[Callable[[bytes], bytes | None]] = [machine.query]
    if isinstance(machine, Watchable):
        verbs.append(machine.watch)
    for verb in verbs:
        try:
            answers.append(verb(query) or b"nothing yet")
        except CommandFailed as failure:
            answers.append(b"failed " + str(failure).encode())
    return b"; ".join(answers)


def _expect(condition: bool, text: str) -> None:
    if not condition:
        raise StateMachineBroken(text)


# --- in another process ---------------------------------------------------------------------------


def _run_elsewhere(name: str, commands: Sequence[bytes], environment: dict[str, str]) -> str:
    packed = b"".join(len(data).to_bytes(_LENGTH_BYTES, "big") + data for data in commands)
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    child = subprocess.run(
        [sys.executable, "-m", "paxos.testing.state_machine_suite", name],
        input=packed,
        capture_output=True,
        env={**os.environ, **environment, "PYTHONPATH": path},
        timeout=_CHILD_TIMEOUT_S,
        check=False,
    )
    if child.returncode != 0:
        raise StateMachineBroken(f"{name} could not run on its own: {child.stderr.decode()}")
    return child.stdout.decode()


def main(name: str) -> None:
    """Run the commands on standard input; print a digest per result, then one of the state."""
    machine = load_factory(name)()
    packed = sys.stdin.buffer.read()
    at = stamps()
    lines = []
    start = 0
    while start < len(packed):
        stop = start + _LENGTH_BYTES
        length = int.from_bytes(packed[start:stop], "big")
        lines.append(run(machine, packed[stop : stop + length], next(at)))
        start = stop + length
    lines.append(state_of(machine))
    for line in lines:
        sys.stdout.write(hashlib.blake2b(line, digest_size=16).hexdigest() + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
