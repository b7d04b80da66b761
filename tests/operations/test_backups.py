"""Backups: whole, verified and durable under their name, or not there; and never out of date."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from paxos.core.config import Part
from paxos.core.messages import SnapshotName
from paxos.operations.backups import (
    POLLS_MAX,
    BackupHead,
    BackupInvalid,
    open_backup,
    take_backup,
    verify_backup,
)
from paxos.operations.plans import DirectoryTaken
from paxos.runtime.admin import AdminRefused
from paxos.runtime.client import NoReplicaReachable, RequestRefused
from paxos.snapshot_format import encode
from tests.operations.clusters import FakeCluster, configuration, member
from tests.operations.states import state

THROUGH = 7


class Giving(FakeCluster):
    """Three nodes with snapshots; node 1 leads, node 2 is a little behind node 3."""

    def __init__(self) -> None:
        super().__init__(configuration(member(1), member(2), member(3), member(4, Part.WITNESS)))
        self.decided_through = THROUGH
        for node in (1, 2, 3, 4):
            self.start(member(node), THROUGH if node != 2 else THROUGH - 1)
        self.running[member(1).url]["role"] = "leader"
        self.asked: list[str] = []
        self.gone = 0
        """How many snapshots are superseded before they are fetched."""
        self.behind = 0
        """How many snapshots are of a slot before the last one."""
        self.refusing: set[str] = set()
        self.acknowledged_through = THROUGH
        """What a leader knows, be it one that the survey did not reach."""
        self.leaderless = False

    async def barrier(self) -> int:
        if self.leaderless:
            raise RequestRefused("no replica led")
        return self.acknowledged_through

    async def take_snapshot(self, url: str) -> SnapshotName:
        self.asked.append(url)
        if url in self.refusing:
            raise AdminRefused("its disk is full")
        through = self.acknowledged_through
        if self.behind:
            self.behind -= 1
            through -= 1
        data = b"".join(encode(state(through)))
        return SnapshotName(through, len(data), hashlib.blake2b(data, digest_size=16).digest())

    async def fetch_snapshot(
        self, url: str, name: SnapshotName, write: Callable[[bytes], None]
    ) -> None:
        data = b"".join(encode(state(name.through)))
        write(data[:100])
        if self.gone:
            self.gone -= 1
            raise LookupError("superseded")
        write(data[100:])


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


async def backed_up(cluster: Giving, path: Path, node: int | None = None) -> BackupHead:
    return await take_backup(cluster, path, node=node, cluster_file="alpha = 64\n", version="1.0")


async def test_backup_holds_the_state_and_says_whose_it_is(tmp_path: Path) -> None:
    path = tmp_path / "b"
    head = await backed_up(Giving(), path)
    found, snapshot_head = verify_backup(path)
    assert found.head == head
    assert (head.cluster_id, head.through, head.cluster_file) == ("c" * 32, THROUGH, "alpha = 64\n")
    assert snapshot_head == state(THROUGH).head
    assert list(found.snapshot.parts()) == list(state(THROUGH).parts())
    assert names(tmp_path) == ["b"]


async def test_backup_is_taken_from_the_follower_that_is_furthest(tmp_path: Path) -> None:
    cluster = Giving()
    assert (await backed_up(cluster, tmp_path / "b")).node == 3
    cluster.refusing = {member(3).url, member(2).url}
    assert (await backed_up(cluster, tmp_path / "c")).node == 1
    assert cluster.asked[1:] == [member(3).url, member(2).url, member(1).url]
    assert (await backed_up(Giving(), tmp_path / "d", node=2)).node == 2


async def test_backup_waits_for_all_that_was_decided_when_it_was_asked_for(tmp_path: Path) -> None:
    cluster = Giving()
    cluster.behind = 3
    assert (await backed_up(cluster, tmp_path / "b")).through == THROUGH
    assert len(cluster.asked) == 4


async def test_backup_waits_for_what_only_a_leader_that_told_no_status_knows(
    tmp_path: Path,
) -> None:
    cluster = Giving()
    del cluster.running[member(1).url]
    cluster.acknowledged_through, cluster.behind = THROUGH + 2, 1
    assert (await backed_up(cluster, tmp_path / "b")).through == THROUGH + 2


async def test_backup_without_a_leader_is_refused_unless_a_node_is_named(tmp_path: Path) -> None:
    cluster = Giving()
    cluster.leaderless = True
    with pytest.raises(RequestRefused, match=r"no replica led.*--node"):
        await backed_up(cluster, tmp_path / "b")
    assert names(tmp_path) == []
    assert (await backed_up(cluster, tmp_path / "b", node=2)).through == THROUGH


async def test_backup_is_taken_elsewhere_if_a_node_is_behind_for_good(tmp_path: Path) -> None:
    cluster = Giving()
    cluster.behind = POLLS_MAX + 1
    assert (await backed_up(cluster, tmp_path / "b")).node == 2
    cluster.behind = 10 * POLLS_MAX
    with pytest.raises(NoReplicaReachable, match="is at slot 6, behind slot 7"):
        await backed_up(cluster, tmp_path / "c", node=3)


async def test_backup_whose_snapshot_is_superseded_is_taken_anew(tmp_path: Path) -> None:
    cluster = Giving()
    cluster.gone = 2
    await backed_up(cluster, tmp_path / "b")
    verify_backup(tmp_path / "b")
    cluster.gone = 99
    with pytest.raises(NoReplicaReachable, match="long enough"):
        await backed_up(cluster, tmp_path / "c")
    assert names(tmp_path) == ["b"]


async def test_backup_that_no_node_gives_leaves_nothing_and_says_why(tmp_path: Path) -> None:
    cluster = Giving()
    cluster.refusing = set(cluster.running)
    with pytest.raises(AdminRefused, match="disk is full"):
        await backed_up(cluster, tmp_path / "b")
    assert names(tmp_path) == []


async def test_backup_is_never_written_over_another_file(tmp_path: Path) -> None:
    path = tmp_path / "b"
    path.write_text("mine")
    with pytest.raises(DirectoryTaken, match="never written over"):
        await backed_up(Giving(), path)
    assert path.read_text() == "mine"


async def test_backup_with_any_bit_flipped_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "b"
    await backed_up(Giving(), path)
    whole = path.read_bytes()
    places = [*range(0, len(whole), 7), *range(len(whole) - 20, len(whole))]
    for place in places:
        spoilt = bytearray(whole)
        spoilt[place] ^= 0x10
        path.write_bytes(spoilt)
        with pytest.raises(BackupInvalid, match=r"b: "):
            verify_backup(path)


async def test_backup_that_was_cut_or_added_to_is_found_out_at_once(tmp_path: Path) -> None:
    path = tmp_path / "b"
    await backed_up(Giving(), path)
    whole = path.read_bytes()
    for length in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(BackupInvalid):
            open_backup(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(BackupInvalid, match="cut or added to"):
        open_backup(path)
