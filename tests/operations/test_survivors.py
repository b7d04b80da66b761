"""What is left of a cluster without its quorum: what is kept, what is dropped, and what is said."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
import trio

from paxos import cluster as cluster_file
from paxos import service
from paxos.cluster import ClusterFile
from paxos.core.ballot import Ballot
from paxos.core.config import Change, Configuration, Member, Part
from paxos.core.ids import Slot
from paxos.core.quorum import Quorums
from paxos.core.records import AcceptedRecord, DecidedRecord, Record
from paxos.core.snapshot import Snapshot
from paxos.core.value import Value
from paxos.operations.founding import Founding, found_from
from paxos.operations.plans import PlanRefused
from paxos.operations.survivors import Remains, read_survivors, recovered_state, sum_up
from paxos.snapshot_format import encode
from statemachines.edge_config_client import EdgeConfigClient
from tests.operations.states import MACHINES, memory_urls, running, state, values, writing

OLD, NEW = Ballot(3, 1), Ballot(5, 2)


@pytest.fixture
def file(tmp_path: Path) -> ClusterFile:
    return cluster_file.found(tmp_path / "old", replicas=3, machines=MACHINES)


def decided(slots: Mapping[Slot, Value]) -> list[Record]:
    return [DecidedRecord(slot, value) for slot, value in slots.items()]


def accepted(ballot: Ballot, slots: Mapping[Slot, Value]) -> list[Record]:
    return [AcceptedRecord(ballot, slot, value) for slot, value in slots.items()]


def fill(
    file: ClusterFile, node: int, records: Iterable[Record], snapshot: Snapshot | None = None
) -> None:
    """Put records, and a snapshot that compacts what is below it, into a node's directory."""
    storage = service.open_storage(file, node)
    storage.load()
    if snapshot is not None:
        writer = storage.begin_snapshot(snapshot.head.through)
        for piece in encode(snapshot):
            writer.write(piece)
        writer.finish()
        storage.compact(snapshot.head.through)
    storage.append(list(records))
    storage.sync()
    storage.close()


def remains(file: ClusterFile, *nodes: int) -> Remains:
    return sum_up(file, read_survivors(file, [file.data_directory(node) for node in nodes]))


def some(all_values: Mapping[Slot, Value], first: Slot, last: Slot) -> dict[Slot, Value]:
    return {slot: all_values[slot] for slot in range(first, last + 1)}


def test_slots_decided_and_accepted_by_one_survivor_are_kept_and_told_apart(
    file: ClusterFile,
) -> None:
    known = values(9)
    fill(file, 1, [*decided(some(known, 1, 6)), *accepted(OLD, some(known, 7, 9))])
    left = remains(file, 1)
    assert (left.through, left.decided_through, left.accepted_only) == (9, 6, (7, 8, 9))
    assert (left.missing, left.dropped) == ((2, 3), ())
    assert left.may_lose
    assert not left.has_quorum


def test_value_of_the_highest_ballot_among_survivors_stands_unless_one_is_known_decided(
    file: ClusterFile,
) -> None:
    known = values(4)
    other = {slot: writing(slot - 1, "k", b"other") for slot in (3, 4)}
    fill(file, 1, [*decided(some(known, 1, 2)), *accepted(OLD, other)])
    fill(file, 2, [*decided(some(known, 1, 3)), *accepted(NEW, {4: known[4]})])
    left = remains(file, 1, 2)
    assert left.values == known
    fill(file, 3, decided(other))
    assert remains(file, 1, 3).values[4] == other[4]


def test_state_ends_before_the_first_slot_that_nobody_knows_and_says_what_is_dropped(
    file: ClusterFile,
) -> None:
    known = values(9)
    fill(file, 1, [*decided(some(known, 1, 4)), *accepted(OLD, some(known, 6, 9))])
    left = remains(file, 1)
    assert (left.through, left.dropped) == (4, (6, 7, 8, 9))
    fill(file, 2, accepted(OLD, {5: known[5]}))
    assert remains(file, 1, 2).through == 9


def test_latest_snapshot_begins_the_state_and_others_logs_go_on_from_it(file: ClusterFile) -> None:
    known = values(12)
    fill(file, 1, decided(some(known, 8, 8)), state(7))
    fill(file, 2, decided(some(known, 5, 12)), state(4))
    left = remains(file, 1, 2)
    assert (left.base_through, left.through, left.decided_through) == (7, 12, 12)
    found = recovered_state(file, left)
    expected = state(12)
    assert digest(found) == digest(expected)
    assert found.head.through == 12


def head(through: int) -> Snapshot:
    """What a witness keeps: a snapshot without state."""
    return Snapshot(state(through).head, tuple)


def test_snapshot_of_a_witness_is_not_taken_for_the_state(file: ClusterFile) -> None:
    """It reaches further than all that has state: what is between is lost, and said to be."""
    known = values(9)
    fill(file, 1, decided(some(known, 5, 6)), state(4))
    fill(file, 3, decided(some(known, 8, 9)), head(7))
    left = remains(file, 1, 3)
    assert (left.base_through, left.through, left.dropped) == (4, 6, (8, 9))
    assert digest(recovered_state(file, left)) == digest(state(6))
    with pytest.raises(PlanRefused, match="hold no state"):
        remains(file, 3)


def test_state_that_a_survivor_compacted_its_log_by_and_nobody_has_is_told_as_lost(
    file: ClusterFile,
) -> None:
    """A quorum that lacks it could elect nobody; so there is something to recover."""
    fill(file, 1, decided(values(5)))
    fill(file, 2, [], head(7))
    left = remains(file, 1, 2)
    assert left.through == 5
    assert not left.has_quorum
    assert left.may_lose
    fill(file, 1, decided(some(values(7), 6, 7)))
    assert remains(file, 1, 2).has_quorum
    assert not remains(file, 1, 2).may_lose


def digest(snapshot: Snapshot) -> str:
    total = hashlib.blake2b()
    for part in snapshot.parts():
        total.update(part.section.encode() + b"\0" + part.chunk)
    return total.hexdigest()


def test_quorum_that_is_left_is_seen(file: ClusterFile) -> None:
    for node in (1, 2, 3):
        fill(file, node, decided(values(3)))
    assert remains(file, 1, 2).has_quorum
    assert not remains(file, 3).has_quorum


def test_nothing_is_lost_where_every_deciding_quorum_has_a_survivor(tmp_path: Path) -> None:
    four = cluster_file.found(tmp_path / "four", replicas=4, machines=MACHINES)
    for node in (1, 2):
        fill(four, node, decided(values(3)))
    left = remains(four, 1, 2)
    assert not left.has_quorum
    assert not left.may_lose
    assert remains(four, 1).may_lose


def test_changes_in_the_recovered_log_say_who_is_missing(file: ClusterFile) -> None:
    before = file.configurations().latest
    gone = Member(9, 5, Part.VOTER, "tcp://127.0.0.1:7009")
    members = (before.members[0], gone)
    change = Configuration(2, Quorums.majority([each.voter for each in members]), members)
    known = values(file.alpha + 5)
    known[3] = Value(None, b"", Change(change))
    known = {slot: value for slot, value in known.items() if slot <= 3} | {
        slot: Value(None, b"") for slot in range(4, file.alpha + 6)
    }
    fill(file, 1, decided(known))
    left = remains(file, 1)
    assert [each.version for each in left.live] == [2]
    assert left.missing == (9,)


def test_directories_that_hold_nothing_or_are_not_the_clusters_are_refused(
    file: ClusterFile, tmp_path: Path
) -> None:
    with pytest.raises(PlanRefused, match="hold no state"):
        remains(file, 1, 2)
    with pytest.raises(PlanRefused, match="two directories are of node 1"):
        remains(file, 1, 1)
    other = cluster_file.found(tmp_path / "other", replicas=1, machines=MACHINES)
    with pytest.raises(PlanRefused, match="is of cluster"):
        read_survivors(file, [other.data_directory(1)])


def test_directory_that_a_node_still_uses_is_refused(file: ClusterFile) -> None:
    storage = service.open_storage(file, 1)
    try:
        with pytest.raises(PlanRefused, match="still runs"):
            remains(file, 1)
    finally:
        storage.close()


async def _read(file: ClusterFile) -> None:
    async with running(file) as client:
        found = await EdgeConfigClient(client).get("k")
        assert found.item is not None
        assert found.item.value == b"9"


def test_recovered_cluster_runs_with_the_state_and_the_survivors_are_untouched(
    file: ClusterFile, tmp_path: Path
) -> None:
    known = values(9)
    fill(file, 1, [*decided(some(known, 8, 8)), *accepted(OLD, {9: known[9]})], state(7))
    before = contents(file.data_directory(1))
    wanted = Founding(tmp_path / "new", memory_urls(3), file, "segments")
    made = found_from(recovered_state(file, remains(file, 1)), wanted)
    assert contents(file.data_directory(1)) == before
    assert made.cluster != file.cluster
    trio.run(_read, made)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}
