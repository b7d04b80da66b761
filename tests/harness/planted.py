"""A sound counter, and one machine for each bug that the harness is to find.

They stand at the top of a module, because other processes must be able to load them.
"""

from __future__ import annotations

import datetime as dt
import random
import time
from collections.abc import Iterable, Iterator, Mapping

from paxos.core.state_machine import CommandFailed, Stamp


class Counter:
    """Sound. ``add`` counts, ``fail`` is refused; the count is the answer to any question."""

    def __init__(self) -> None:
        self.total = 0

    def apply(self, command: bytes, at: Stamp) -> bytes:
        if command != b"add":
            raise CommandFailed("only add")
        self.total += 1
        return b"%d" % self.total

    def query(self, query: bytes) -> bytes:
        return b"%d" % self.total

    def snapshot(self) -> Iterable[bytes]:
        return [b"%d" % self.total]

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.total = int(b"".join(chunks))


class Watched(Counter):
    """Sound, and tells when the count has reached a number."""

    def watch(self, query: bytes) -> bytes | None:
        return b"%d" % self.total if self.total >= int(query) else None


class LosesAnUpdateOnSnapshot(Counter):
    def snapshot(self) -> Iterable[bytes]:
        return [b"%d" % (self.total - self.total % 2)]


class RestoresOnTop(Counter):
    def restore(self, chunks: Iterable[bytes]) -> None:
        self.total += int(b"".join(chunks))


class CountsItsCalls(Counter):
    """What it answers depends on when its node started."""

    calls = 0

    def apply(self, command: bytes, at: Stamp) -> bytes:
        self.calls += 1
        super().apply(command, at)
        return b"%d" % self.calls


class CannotRestore(Counter):
    def restore(self, chunks: Iterable[bytes]) -> None:
        raise KeyError("total")


class HalfApplies(Counter):
    def apply(self, command: bytes, at: Stamp) -> bytes:
        self.total += 1
        if command != b"add":
            raise ValueError(command)
        return b"%d" % self.total


class QueryCounts(Counter):
    def query(self, query: bytes) -> bytes:
        self.total += 1
        return b"%d" % self.total


class WatchCounts(Watched):
    def watch(self, query: bytes) -> bytes | None:
        self.total += 1
        return None


class AnswersText(Counter):
    def apply(self, command: bytes, at: Stamp) -> bytes:
        return super().apply(command, at).decode()  # type: ignore[return-value]


class DrawsLots(Counter):
    def apply(self, command: bytes, at: Stamp) -> bytes:
        return super().apply(command, at) + b" %d" % random.randrange(10**6)


class SharesItsState(Counter):
    totals: list[bytes] = []  # noqa: RUF012 - that all its machines share it is the bug

    def apply(self, command: bytes, at: Stamp) -> bytes:
        self.totals.append(command)
        return b"%d" % len(self.totals)


class SnapshotsLate(Counter):
    def snapshot(self) -> Iterable[bytes]:
        yield b"%d" % self.total


class Turns(Counter):
    """Sound. It also keeps who was counted in which of three turns: a chunk for each."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: dict[int, list[int]] = {}

    def apply(self, command: bytes, at: Stamp) -> bytes:
        counted = super().apply(command, at)
        self.turns[self.total % 3] = [*self.turns.get(self.total % 3, ()), self.total]
        return counted

    def snapshot(self) -> Iterable[bytes]:
        return encoded_turns(dict(self.turns))

    def restore(self, chunks: Iterable[bytes]) -> None:
        lists = [[int(each) for each in chunk.split()] for chunk in chunks]
        self.turns = {turn: counted for turn, *counted in lists}
        self.total = max((max(counted) for counted in self.turns.values()), default=0)


def encoded_turns(turns: Mapping[int, list[int]]) -> Iterator[bytes]:
    for turn, counted in turns.items():
        yield b" ".join(b"%d" % each for each in (turn, *counted))


class CopiesReferencesToWhatChanges(Turns):
    def apply(self, command: bytes, at: Stamp) -> bytes:
        counted = Counter.apply(self, command, at)
        self.turns.setdefault(self.total % 3, []).append(self.total)
        return counted


class EncodesTheLiveState(Turns):
    def snapshot(self) -> Iterable[bytes]:
        return encoded_turns(self.turns)


class EmptiesItsChunks(Counter):
    def restore(self, chunks: Iterable[bytes]) -> None:
        super().restore(chunks)
        if isinstance(chunks, list):
            chunks.clear()


class Names:
    """Answers in the order of hashes, as a set would, but whatever its history."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def apply(self, command: bytes, at: Stamp) -> bytes:
        self.names.add(command.decode())
        return ",".join(sorted(self.names, key=hash)).encode()

    def query(self, query: bytes) -> bytes:
        return b"%d" % len(self.names)

    def snapshot(self) -> Iterable[bytes]:
        return [name.encode() for name in sorted(self.names)]

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.names = {chunk.decode() for chunk in chunks}


class AsksTheClock(Counter):
    """The hour, so that two calls in one process hardly ever differ."""

    def apply(self, command: bytes, at: Stamp) -> bytes:
        return super().apply(command, at) + b" at %d" % (time.time() // 3600)


class AsksTheDate(Counter):
    def apply(self, command: bytes, at: Stamp) -> bytes:
        return super().apply(command, at) + b" in %d" % dt.date.today().year  # noqa: DTZ011


class AsksTheTimeZone(Counter):
    def query(self, query: bytes) -> bytes:
        return time.strftime("%H", time.localtime(10**9)).encode()


class Exits(Counter):
    """Ends the process that loads it."""

    def apply(self, command: bytes, at: Stamp) -> bytes:
        raise SystemExit(7)
