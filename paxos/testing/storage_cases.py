"""What the checks of a log have in common: records to store, and how a broken promise is told.

Owns no check and no back end. Its records are such as a node would write: ballots rise, slots move
on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import NoReturn

from paxos.core.ballot import Ballot
from paxos.core.records import (
    AcceptedRecord,
    DecidedRecord,
    IssuedRecord,
    PromisedRecord,
    Record,
    WatermarkRecord,
)
from paxos.core.value import NOOP, Value
from paxos.storage.base import Storage, StorageError
from paxos.testing.storage_benches import IDENTITY, Bench

Check = Callable[[Callable[[], Bench]], None]


class StorageBroken(AssertionError):
    """A log does not keep what the port promises; the text says where."""


def broken(text: str) -> NoReturn:
    """Say that a promise is broken, and how."""
    raise StorageBroken(text)


def expect(condition: object, text: str) -> None:
    """Say so unless something holds."""
    if not condition:
        broken(text)


def expect_raised(wanted: type[StorageError], call: Callable[[], object], text: str) -> None:
    """Say so unless a call raises an error of this kind, with a text."""
    try:
        call()
    except wanted as error:
        expect(str(error), f"{wanted.__name__} says nothing")
        return
    broken(text)


# --- records to store ---------------------------------------------------------------------------


def record_batches(rng: Random, batches: int, value_bytes_max: int = 2000) -> list[list[Record]]:
    """Return batches of records as a node would write them: ballots rise, slots move on."""
    round_, slot, made = 1, 1, []
    for _ in range(batches):
        batch: list[Record] = []
        for _ in range(rng.randint(1, 4)):
            ballot = Ballot(round_, rng.randint(1, 3))
            match rng.randrange(8):
                case 0:
                    round_ += 1
                    batch.append(PromisedRecord(Ballot(round_, rng.randint(1, 3))))
                case 1:
                    round_ += 1
                    batch.append(IssuedRecord(Ballot(round_, IDENTITY.node)))
                case 2:
                    batch.append(WatermarkRecord(ballot, rng.randint(0, slot)))
                case 3:
                    batch.append(DecidedRecord(rng.randint(1, slot), _value(rng, value_bytes_max)))
                case _:
                    batch.append(AcceptedRecord(ballot, slot, _value(rng, value_bytes_max)))
                    slot += rng.randint(0, 2)
        made.append(batch)
    return made


def _value(rng: Random, bytes_max: int) -> Value:
    size = rng.choice((0, 1, 40, rng.randint(0, bytes_max)))
    match rng.randrange(4):
        case 0:
            return NOOP
        case 1:
            return Value(rng.randint(0, 2**50), bytes(size))  # whole sectors of zeros
        case _:
            return Value(rng.randint(0, 2**50), rng.randbytes(size))


def accepted(slot: int, commands: bytes = b"command") -> list[Record]:
    """Return one accepted record, as a batch."""
    return [AcceptedRecord(Ballot(2, 1), slot, Value(slot, commands))]


def flat(batches: Sequence[Sequence[Record]]) -> list[Record]:
    """Return the records of all batches."""
    return [record for batch in batches for record in batch]


def write(storage: Storage, batches: Sequence[Sequence[Record]]) -> None:
    """Append and sync each batch."""
    for batch in batches:
        storage.append(batch)
        storage.sync()


def read(bench: Bench, when: str) -> list[Record]:
    """Return what a new process finds, which must be sound."""
    storage = bench.open()
    loaded = storage.load()
    storage.close()
    expect(loaded.damage is None, f"{when}: damage is reported where none is: {loaded.damage}")
    return list(loaded.records)


def expect_found(bench: Bench, wanted: Sequence[Record], when: str) -> None:
    """Say so unless a new process finds exactly these records."""
    found = read(bench, when)
    expect(
        found == list(wanted),
        f"{when}: found {len(found)} records instead of {len(wanted)}:"
        f" [{'; '.join(map(str, found))}] instead of [{'; '.join(map(str, wanted))}]",
    )
