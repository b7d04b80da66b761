"""Bytes that rot in a data directory: where something stands that can be hit, and the hitting.

Owns the choice of the place. It reads a directory beside a running node as ``dd`` would write to
it, with no lock, and takes what it finds for what it looks like: recovery alone judges. Whether a
place stands inside a record of a decided slot is known before it is hit, and not afterwards.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from paxos.core.ids import Slot
from paxos.core.records import AcceptedRecord, DecidedRecord
from paxos.storage.base import DataDamaged
from paxos.storage.body import frame_record, read_records
from paxos.storage.directory import IDENTITY_NAME
from paxos.storage.layout import (
    BLOCK,
    CONTINUES,
    SECTOR,
    BatchHeader,
    decode_batch_header,
    decode_segment_header,
    is_zero,
)
from paxos.storage.reading import read_snapshot_file
from paxos.storage.snapshots import SnapshotSpoilt, snapshot_name

Aim = Literal["decided", "snapshot", "anywhere", "end"]
"""A record of a decided slot that no snapshot holds; a snapshot; any byte that was ever written;
the last batch, in which a promise may stand."""

LENGTHS = (4, 64, 512)
"""Bytes that are overwritten; fewer might be drawn as they were."""


class Place(NamedTuple):
    """Bytes of a file. ``decided``: all of them belong to the record of a decided slot."""

    file: Path
    offset: int
    length: int
    decided: bool


class Batch(NamedTuple):
    """A batch in a segment: where its header stands, and what that says."""

    file: Path
    offset: int
    header: BatchHeader


@dataclass(slots=True)
class Hit:
    """A place that was overwritten, and with what."""

    place: Place
    data: bytes

    def stands(self) -> bool:
        """Whether the file is still there, with what was written in it."""
        place = self.place
        try:
            with place.file.open("rb") as file:
                file.seek(place.offset)
                return file.read(place.length) == self.data
        except FileNotFoundError:
            return False


def hit(place: Place, rng: random.Random) -> Hit:
    """Overwrite a place with random bytes, in the middle of whatever uses the file.

    Raises:
        FileNotFoundError: It is not there any more.
    """
    descriptor = os.open(place.file, os.O_RDWR)
    try:
        before = os.pread(descriptor, place.length, place.offset)
        while (data := rng.randbytes(place.length)) == before:
            pass
        os.pwrite(descriptor, data, place.offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return Hit(place, data)


def find_place(
    directory: Path, aim: Aim, decided_through: Slot, rng: random.Random
) -> Place | None:
    """Return a random place to hit, in something that is sound; None if there is none of that kind.

    Args:
        directory: A data directory whose log is kept in segments.
        aim: What to hit.
        decided_through: The node knows all slots up to here decided.
        rng: Chooses.
    """
    snapshots = sorted(directory.glob("snapshot-*.snap"))
    if aim == "snapshot":
        return _place_in(rng.sample(snapshots, len(snapshots)), rng)
    batches = list(find_batches(directory))
    if aim == "decided":
        above = latest_snapshot(directory)
        # The last batch may hide a promise, and is aimed at by itself.
        return _decided_place(batches[:-1], above, decided_through, rng)
    if aim == "end":
        return _aimed(batches[-1:], decided_through, rng)
    segments = sorted({batch.file for batch in batches})
    chosen = rng.choice([*segments, *snapshots, directory / IDENTITY_NAME])
    if chosen not in segments:
        return _place_in([chosen], rng)
    inside = [batch for batch in batches if batch.file == chosen]
    return _aimed(rng.sample(inside, len(inside)), decided_through, rng)


def latest_snapshot(directory: Path) -> Slot:
    """Return the slot of the latest snapshot that has a file; 0 if there is none."""
    return max(
        (int(path.name.split("-")[1]) for path in directory.glob("snapshot-*.snap")), default=0
    )


def find_batches(directory: Path) -> Iterator[Batch]:
    """Yield the batches of a log whose headers are sound, in order."""
    for path in sorted(directory.glob("segment-*.log")):
        try:
            with path.open("rb", buffering=0) as file:
                yield from _batches_of(path, file.fileno())
        except FileNotFoundError:
            continue  # the node has just removed it


def _batches_of(path: Path, descriptor: int) -> Iterator[Batch]:
    head = decode_segment_header(os.pread(descriptor, BLOCK, 0))
    if head is None:
        return
    offset = BLOCK
    while sector := os.pread(descriptor, SECTOR, offset):
        header = decode_batch_header(sector, head.id)
        if header is not None:
            yield Batch(path, offset, header)
            offset += header.span
        elif is_zero(sector):
            return
        else:
            offset += BLOCK  # of a batch that was hit before


def _aimed(batches: Sequence[Batch], decided_through: Slot, rng: random.Random) -> Place | None:
    """Return a random place inside the first batch that is sound."""
    batch = next((each for each in batches if each.header.matches(body_of(each))), None)
    if batch is None:
        return None
    written = SECTOR + batch.header.length
    length = min(rng.choice(LENGTHS), written)
    offset = batch.offset + rng.randrange(written - length + 1)
    decided = any(
        each.offset <= offset and offset + length <= each.offset + each.length
        for each in records_of(batch, 0, decided_through)
    )
    return Place(batch.file, offset, length, decided)


def _decided_place(
    batches: Sequence[Batch], above: Slot, through: Slot, rng: random.Random
) -> Place | None:
    for batch in rng.sample(batches, len(batches)):
        records = list(records_of(batch, above, through))
        if records:
            record = rng.choice(records)
            length = min(rng.choice(LENGTHS), record.length)
            offset = record.offset + rng.randrange(record.length - length + 1)
            return Place(record.file, offset, length, True)
    return None


def body_of(batch: Batch) -> bytes:
    """Return what stands behind a batch's header."""
    with batch.file.open("rb") as file:
        file.seek(batch.offset + SECTOR)
        return file.read(batch.header.length)


def records_of(batch: Batch, above: Slot, through: Slot) -> Iterator[Place]:
    """Yield where the records stand that say what is in slots above one and up to another."""
    body = body_of(batch)
    if batch.header.flags & CONTINUES or not batch.header.matches(body):
        return
    records, _ = read_records(body)
    offset = batch.offset + SECTOR
    for record in records:
        length = len(frame_record(record))
        if isinstance(record, AcceptedRecord | DecidedRecord) and above < record.slot <= through:
            yield Place(batch.file, offset, length, True)
        offset += length


def _place_in(files: Sequence[Path], rng: random.Random) -> Place | None:
    """Return a random place inside the first file that is sound."""
    file = next((each for each in files if _is_sound(each)), None)
    if file is None:
        return None
    size = file.stat().st_size
    length = min(rng.choice(LENGTHS), size)
    return Place(file, rng.randrange(size - length + 1), length, False)


def _is_sound(file: Path) -> bool:
    name = snapshot_name(file.name)
    if name is None:
        return True  # an identity: its node runs
    try:
        for _ in read_snapshot_file(file.parent, name):
            pass
    except (SnapshotSpoilt, DataDamaged, LookupError):
        return False  # without the node's identity nobody can tell
    return True
