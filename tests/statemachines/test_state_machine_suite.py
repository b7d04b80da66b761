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


class Words:
    """A sound machine of several chunks; those below snapshot it in ways that look right."""

    def __init__(self) -> None:
        self.words: dict[str, list[str]] = {}

    def apply(self, command: bytes, at: Stamp) -> bytes:
        key, _, word = command.decode().partition(" ")
        if not word:
            raise CommandFailed("not a key and a word")
        self.words[key] = [*self.words.get(key, ()), word]
        return b"ok"

    def query(self, query: bytes) -> bytes:
        raise CommandFailed("not a query")

    def snapshot(self) -> Iterable[bytes]:
        return self.encoded(dict(self.words))

    def encoded(self, words: dict[str, list[str]]) -> Iterator[bytes]:
        for key, held in words.items():
            yield " ".join([key, *held]).encode()

    def restore(self, chunks: Iterable[bytes]) -> None:
        words = (chunk.decode().split(" ") for chunk in chunks)
        self.words = {key: held for key, *held in words}


class WalksTheLiveState(Words):
    def snapshot(self) -> Iterable[bytes]:
        return self.encoded(self.words)


class KeepsKeysOnly(Words):
    def snapshot(self) -> Iterable[bytes]:
        return self.values_of(list(self.words))

    def values_of(self, keys: list[str]) -> Iterator[bytes]:
        for key in keys:
            yield " ".join([key, *self.words[key]]).encode()


class ChangesInPlace(Words):
    def apply(self, command: bytes, at: Stamp) -> bytes:
        key, _, word = command.decode().partition(" ")
        self.words.setdefault(key, []).append(word)
        return b"ok"


class CopiesAtTheFirstChunk(Words):
    def snapshot(self) -> Iterator[bytes]:
        yield from self.encoded(dict(self.words))


class KeepsTheLatestOnly(Words):
    """It copies on write, into the one snapshot that it knows of."""

    kept: dict[str, list[str]] | None = None

    def apply(self, command: bytes, at: Stamp) -> bytes:
        key = command.decode().partition(" ")[0]
        if self.kept is not None and key in self.words:
            self.kept.setdefault(key, self.words[key])
        return super().apply(command, at)

    def snapshot(self) -> Iterable[bytes]:
        self.kept = {}
        return self.as_it_was(list(self.words), self.words)

    def as_it_was(self, keys: list[str], words: dict[str, list[str]]) -> Iterator[bytes]:
        for key in keys:
            kept = self.kept or {}
            yield " ".join([key, *kept.get(key, words[key])]).encode()


class ClearsOnRestore(Words):
    def snapshot(self) -> Iterable[bytes]:
        return self.values_of(list(self.words.items()))

    def values_of(self, items: list[tuple[str, list[str]]]) -> Iterator[bytes]:
        for key, held in items:
            yield " ".join([key, *held]).encode()

    def restore(self, chunks: Iterable[bytes]) -> None:
        for held in self.words.values():
            held.clear()
        super().restore(chunks)


class CutsByHistory(Register):
    """Restored, it is cut at another place, though its bytes are the same."""

    pieces: tuple[bytes, ...] = (b"0",)

    def apply(self, command: bytes, at: Stamp) -> bytes:
        super().apply(command, at)
        self.pieces = (self.value, b"")
        return b"ok"

    def snapshot(self) -> Iterable[bytes]:
        return self.pieces

    def restore(self, chunks: Iterable[bytes]) -> None:
        super().restore(chunks)
        self.pieces = (self.value,)


WORDS = [b"a 1", b"b 1", b"c 1", b"a 2", b"nonsense", b"d 1", b"c 2", b"b 2", b"e 1", b"a 3"]


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


def test_snapshot_that_copies_and_encodes_later_stands_still() -> None:
    check_snapshot_stands_still(Words, WORDS)


@pytest.mark.parametrize(
    ("machine", "found"),
    [
        (WalksTheLiveState, "shows commands applied after"),
        (KeepsKeysOnly, "shows commands applied after"),
        (ChangesInPlace, "shows commands applied after"),
        (CopiesAtTheFirstChunk, "shows commands applied after"),
        (KeepsTheLatestOnly, "another one is asked for"),
        (ClearsOnRestore, "changes with a restore"),
    ],
)
def test_snapshot_that_is_copied_wrongly_is_found(machine: type[Words], found: str) -> None:
    with pytest.raises(StateMachineBroken, match=found):
        check_snapshot_stands_still(machine, WORDS)


def test_snapshot_cut_at_other_places_after_a_restore_is_found() -> None:
    with pytest.raises(StateMachineBroken, match="a restored machine has another snapshot"):
        check_snapshot_round_trip(CutsByHistory, COMMANDS)


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
