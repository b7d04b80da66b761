"""The shipped checks: edge configuration passes them, and each broken machine fails its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from paxos.core.state_machine import CommandFailed, Stamp
from paxos.testing.state_machine_suite import (
    Exercise,
    StateMachineBroken,
    check_arguments_untouched,
    check_environment_ignored,
    check_failures_change_nothing,
    check_malformed_refused,
    check_queries_change_nothing,
    check_results_equal,
    check_snapshot_round_trip,
    check_snapshot_stands_still,
    check_state_machine,
)
from statemachines import edge_config_client as client
from statemachines.edge_config_client import Condition, Delete, Get, Put


def edge_config_exercise() -> Exercise:
    commands = []
    for number in range(60):
        commands += [
            client.put_command(f"site-{number % 7}/cam-{number % 5}/fps", b"%d" % number),
            client.delete_command(f"site-{number % 6}/cam-{number % 5}/fps"),
            client.compare_and_set_command("counter", number // 2, b"%d" % number),
            client.transaction_command(
                [Condition("counter", "version", "<", number % 5)],
                [Put(f"t/{number % 9}", b""), Delete("counter"), Get("counter")],
                [Get("counter"), Put("counter", b"reset")],
            ),
        ]
        if number % 20 == 19:
            commands += [client.compact_command(number), client.compact_command(10_000)]
    commands.append(client.retain_command(15))
    queries = [
        client.get_query("counter"),
        client.get_query("counter", 1),
        client.range_query("site-", limit=3),
        client.history_query("counter"),
        client.stats_query(),
        client.watch_query("site-", 0),
        client.watch_query("t/", 100),
        client.watch_query("quiet", 2**40),
    ]
    return Exercise(commands, queries)


def test_edge_config_keeps_the_state_machine_contract() -> None:
    check_state_machine("statemachines.edge_config:EdgeConfig", edge_config_exercise())


class Register:
    """A sound machine of the smallest kind; those below break one promise each."""

    def __init__(self) -> None:
        self.value = b"0"

    def apply(self, command: bytes, at: Stamp) -> bytes:
        if not command.startswith(b"set "):
            raise CommandFailed("not a command")
        self.value = command[4:]
        return b"ok"

    def query(self, query: bytes) -> bytes:
        if query != b"get":
            raise CommandFailed("not a query")
        return self.value

    def snapshot(self) -> Iterable[bytes]:
        return [self.value]

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.value = b"".join(chunks)


COMMANDS = [b"set 1", b"nonsense", b"set 2", b"set 3", b"set 4"]


class CountsInstances(Register):
    count = 0

    def apply(self, command: bytes, at: Stamp) -> bytes:
        CountsInstances.count += 1
        return super().apply(command, at) + b"%d" % CountsInstances.count


class ShowsHashes(Register):
    def apply(self, command: bytes, at: Stamp) -> bytes:
        return b"%d" % hash(super().apply(command, at))


class KeepsOldState(Register):
    def restore(self, chunks: Iterable[bytes]) -> None:
        self.value += b"".join(chunks)


class ForgetsCount(Register):
    count = 0

    def apply(self, command: bytes, at: Stamp) -> bytes:
        self.count += 1
        return super().apply(command, at) + b"%d" % self.count


class SnapshotsLate(Register):
    def snapshot(self) -> Iterator[bytes]:
        yield self.value


class EmptiesChunks(Register):
    def restore(self, chunks: Iterable[bytes]) -> None:
        super().restore(chunks)
        if isinstance(chunks, list):
            chunks.clear()


class HoldsChunks(Register):
    chunks: Iterable[bytes] = ()

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.chunks = chunks

    def snapshot(self) -> Iterable[bytes]:
        return list(self.chunks) or [self.value]


class ChangesAndFails(Register):
    def apply(self, command: bytes, at: Stamp) -> bytes:
        self.value += b"!"
        return super().apply(command, at)


class RaisesOthers(Register):
    def apply(self, command: bytes, at: Stamp) -> bytes:
        command.decode("ascii")
        return super().apply(command, at)


class TakesAnything(Register):
    def query(self, query: bytes) -> bytes:
        return self.value


class CountsQueries(Register):
    def query(self, query: bytes) -> bytes:
        self.value += b"?"
        return b"same"


class AnswersDifferently(Register):
    asked = 0

    def query(self, query: bytes) -> bytes:
        self.asked += 1
        return b"%d" % self.asked


def test_sound_register_passes_every_check() -> None:
    check_state_machine(f"{__name__}:Register", Exercise(COMMANDS, [b"get", b"nonsense"]))


def test_results_that_differ_between_instances_are_found() -> None:
    with pytest.raises(StateMachineBroken, match="command 0 gave"):
        check_results_equal(CountsInstances, COMMANDS)


def test_results_that_depend_on_the_hash_seed_are_found() -> None:
    with pytest.raises(StateMachineBroken, match="command 0 differs under another hash seed"):
        check_environment_ignored(f"{__name__}:ShowsHashes", COMMANDS)


def test_machine_that_cannot_run_on_its_own_is_reported_with_its_error() -> None:
    with pytest.raises(StateMachineBroken, match="ModuleNotFoundError"):
        check_environment_ignored("no_such_module:Machine", COMMANDS)


@pytest.mark.parametrize("machine", [KeepsOldState, ForgetsCount])
def test_snapshot_that_is_not_the_whole_state_is_found(machine: type[Register]) -> None:
    with pytest.raises(StateMachineBroken, match="restore"):
        check_snapshot_round_trip(machine, COMMANDS)


def test_snapshot_that_moves_with_later_commands_is_found() -> None:
    with pytest.raises(StateMachineBroken, match="shows commands applied after"):
        check_snapshot_stands_still(SnapshotsLate, COMMANDS)


@pytest.mark.parametrize("machine", [EmptiesChunks, HoldsChunks])
def test_restore_that_changes_or_keeps_its_argument_is_found(machine: type[Register]) -> None:
    with pytest.raises(StateMachineBroken, match="list of chunks"):
        check_arguments_untouched(machine, COMMANDS)


def test_failed_command_that_changed_the_state_is_found() -> None:
    with pytest.raises(StateMachineBroken, match="command 1 failed and changed the state"):
        check_failures_change_nothing(ChangesAndFails, COMMANDS)


def test_malformed_command_that_raises_another_error_is_found() -> None:
    with pytest.raises(StateMachineBroken, match="raised UnicodeDecodeError"):
        check_malformed_refused(RaisesOthers, COMMANDS, [b"\xff"])


def test_malformed_query_that_is_answered_is_found() -> None:
    with pytest.raises(StateMachineBroken, match="was taken"):
        check_malformed_refused(TakesAnything, COMMANDS, [b"\xff"])


def test_query_that_changes_the_state_is_found() -> None:
    with pytest.raises(StateMachineBroken, match="query 0 changed the state"):
        check_queries_change_nothing(CountsQueries, COMMANDS, [b"get"])


def test_query_that_answers_differently_the_second_time_is_found() -> None:
    with pytest.raises(StateMachineBroken, match="query 0 gave"):
        check_queries_change_nothing(AnswersDifferently, COMMANDS, [b"get"])
