"""Flows of membership changes: their order, their waits, and going on after being cut short."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paxos import cluster as cluster_file
from paxos.cluster import ClusterFile
from paxos.core.config import Configuration, Member, Part
from paxos.core.quorum import Quorums
from paxos.operations import plans
from paxos.operations.changes import Changes, Joining, NotInTime
from paxos.operations.plans import DirectoryTaken, PlanRefused
from paxos.runtime.admin import AdminDone, AdminRefused
from paxos.runtime.client import OutcomeUnknown
from tests.operations.clusters import THREE, FakeCluster, Told, configuration, member

PATIENCE_S = 30.0
URL_4 = "tcp://127.0.0.1:7004"


@pytest.fixture
def file(tmp_path: Path) -> ClusterFile:
    machines = {"config": "statemachines.edge_config:EdgeConfig"}
    return cluster_file.found(tmp_path / "cluster", replicas=3, machines=machines)


class Stage:
    """A fake cluster and what a flow on it has told."""

    def __init__(self, latest: Configuration = THREE) -> None:
        self.cluster = FakeCluster(latest)
        self.told = Told()
        self.changes = Changes(self.cluster, self.told, PATIENCE_S)

    def what(self) -> list[object]:
        return [event[0] for event in self.told.events]


async def test_added_node_joins_catches_up_and_votes(file: ClusterFile, tmp_path: Path) -> None:
    stage = Stage()

    def run_the_node(event: tuple[Any, ...]) -> None:
        joined = stage.cluster.latest.members[-1]
        assert joined.part is Part.LEARNER or event == ("changed", 3)
        if event[0] == "waiting":
            stage.cluster.start(joined, 40)
        elif event == ("catching up", 4, 40, 100):
            stage.cluster.running[joined.url]["applied_through"] = 100

    stage.told.react = run_the_node
    joining = Joining(URL_4, tmp_path / "node-4", priority=3)
    made = await stage.changes.add(file, [joining])
    voter = made.member(4)
    assert voter is not None
    assert (voter.part, voter.priority) == (Part.VOTER, 3)
    assert made.quorums == Quorums.majority([each.voter for each in made.members])
    assert stage.cluster.settled == [2, 3]
    assert stage.what()[:2] == ["changed", "joined"]
    own = cluster_file.load(tmp_path / "node-4" / "cluster.toml")
    assert own.identity(4).cluster == file.cluster
    assert own.voter(4) == voter.voter


async def test_add_that_was_cut_short_goes_on_with_the_directory_it_made(
    file: ClusterFile, tmp_path: Path
) -> None:
    stage = Stage()
    joining = Joining(URL_4, tmp_path / "node-4")
    with pytest.raises(NotInTime, match="answered") as late:
        await stage.changes.add(file, [joining])
    assert not late.value.appeared
    first = stage.cluster.latest.member(4)
    assert first is not None
    assert first.part is Part.LEARNER
    stage.cluster.start(first)
    made = await stage.changes.add(file, [joining])
    assert made.member(4) == first._replace(part=Part.VOTER)
    assert made.next_node == 5


async def test_node_that_appears_and_does_not_catch_up_stays_a_learner(
    file: ClusterFile, tmp_path: Path
) -> None:
    stage = Stage()
    await stage.changes.add(file, [Joining(URL_4, tmp_path / "n", Part.LEARNER)])
    stage.cluster.start(stage.cluster.latest.members[-1], 40)
    with pytest.raises(NotInTime, match="caught up") as late:
        await stage.changes.promote({4: (Part.VOTER, None)})
    assert late.value.appeared
    assert stage.cluster.latest.version == 2


async def test_node_is_not_taken_for_another_that_answers_at_its_url(
    file: ClusterFile, tmp_path: Path
) -> None:
    stage = Stage()
    await stage.changes.add(file, [Joining(URL_4, tmp_path / "n", Part.LEARNER)])
    joined = stage.cluster.latest.members[-1]
    stage.cluster.start(joined._replace(incarnation=5))
    with pytest.raises(NotInTime):
        await stage.changes.promote({4: (Part.VOTER, None)})
    assert ("waiting", 4, "node 4 in another life answers there") in stage.told.events


async def test_join_that_is_decided_and_not_settled_goes_on_to_replace_who_does_not_confirm(
    file: ClusterFile, tmp_path: Path
) -> None:
    """With a witness in the quorum, the full voter that died is one of those that must confirm."""
    stage = Stage()
    answer = stage.cluster.reconfigure

    async def unsettled(wanted: Configuration) -> AdminDone:
        done = await answer(wanted)
        if wanted.member(1) is not None and wanted.version > 1:
            raise OutcomeUnknown("no answer in time")
        return done

    stage.cluster.reconfigure = unsettled  # type: ignore[method-assign]
    joining = Joining(URL_4, tmp_path / "n", Part.LEARNER)
    with pytest.raises(NotInTime):
        await stage.changes.replace(file, {1: joining})
    learner = stage.cluster.latest.member(4)
    assert learner is not None
    assert stage.told.events[0] == ("changed", 2)
    stage.cluster.silent = True
    with pytest.raises(OutcomeUnknown):
        await stage.changes.add(file, [Joining("tcp://127.0.0.1:7005", tmp_path / "m")])


async def test_join_that_another_node_overtakes_gets_the_next_id(
    file: ClusterFile, tmp_path: Path
) -> None:
    stage = Stage()
    stage.cluster.race = [plans.with_joined(THREE, member(4))]
    url = "tcp://127.0.0.1:7009"
    await stage.changes.add(file, [Joining(url, tmp_path / "n", Part.LEARNER)])
    assert [each.node for each in stage.cluster.latest.members] == [1, 2, 3, 4, 5]
    assert not (tmp_path / "n" / "node-4").exists()
    assert cluster_file.load(tmp_path / "n" / "cluster.toml").node(5).url == url


async def test_join_that_is_refused_leaves_no_directory_behind(
    file: ClusterFile, tmp_path: Path
) -> None:
    stage = Stage()
    stage.cluster.refuse = ["another change is not settled yet"]
    with pytest.raises(AdminRefused, match="not settled"):
        await stage.changes.add(file, [Joining(URL_4, tmp_path / "n")])
    assert list((tmp_path / "n").iterdir()) == []
    assert stage.cluster.latest == THREE


async def test_join_at_a_members_url_or_in_a_used_directory_is_refused(
    file: ClusterFile, tmp_path: Path
) -> None:
    stage = Stage()
    with pytest.raises(PlanRefused, match="node 2 listens at"):
        await stage.changes.add(file, [Joining(member(2).url, tmp_path / "n")])
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(DirectoryTaken, match="not an empty directory"):
        await stage.changes.add(file, [Joining(URL_4, tmp_path / "used")])
    with pytest.raises(DirectoryTaken, match="not the file of a node that joins"):
        await stage.changes.add(file, [Joining(URL_4, file.path.parent)])
    assert stage.cluster.latest == THREE


async def test_join_with_the_directory_of_a_node_that_was_removed_is_refused(
    file: ClusterFile, tmp_path: Path
) -> None:
    stage = Stage()
    joining = Joining(URL_4, tmp_path / "n", Part.LEARNER)
    await stage.changes.add(file, [joining])
    await stage.changes.remove([4])
    with pytest.raises(PlanRefused, match="ids are never used again"):
        await stage.changes.add(file, [joining])


async def test_join_with_a_directory_that_was_made_for_another_url_is_refused(
    file: ClusterFile, tmp_path: Path
) -> None:
    stage = Stage()
    await stage.changes.add(file, [Joining(URL_4, tmp_path / "n", Part.LEARNER)])
    with pytest.raises(PlanRefused, match=f"made for node 4 at {URL_4}, not at tcp://elsewhere:1"):
        await stage.changes.add(file, [Joining("tcp://elsewhere:1", tmp_path / "n", Part.LEARNER)])
    assert [each.url for each in stage.cluster.latest.members][3:] == [URL_4]


async def test_removed_voters_lose_their_votes_before_their_membership() -> None:
    five = configuration(*(member(node) for node in range(1, 6)))
    stage = Stage(five)
    await stage.changes.remove([1, 5])
    demoted, left = stage.cluster.history[1:]
    assert [each.node for each in demoted.members if each.part is Part.LEARNER] == [1, 5]
    assert [each.node for each in left.members] == [2, 3, 4]
    assert stage.cluster.settled == [2, 3]


async def test_removal_that_was_cut_short_after_the_demotion_only_removes() -> None:
    stage = Stage(plans.demoted(THREE, [3]))
    await stage.changes.remove([3])
    assert [each.node for each in stage.cluster.latest.members] == [1, 2]
    assert len(stage.cluster.history) == 2


async def test_removal_that_was_decided_already_is_only_waited_for_until_it_is_settled() -> None:
    witnessed = configuration(*THREE.members, member(4, Part.WITNESS))
    stage = Stage(plans.demoted(witnessed, [4]))
    made = await stage.changes.remove([4])
    assert made == stage.cluster.latest
    assert stage.cluster.settled == [2]
    stage.cluster.silent = True
    with pytest.raises(OutcomeUnknown):
        await stage.changes.remove([4])


async def test_removal_that_makes_no_sense_changes_nothing() -> None:
    stage = Stage()
    with pytest.raises(PlanRefused, match="nobody would be left"):
        await stage.changes.remove([1, 2, 3])
    with pytest.raises(PlanRefused, match="not a member"):
        await stage.changes.remove([3, 8])
    assert stage.cluster.history == [THREE]


async def test_dead_node_is_replaced_at_its_own_url_in_one_change_of_votes(
    file: ClusterFile, tmp_path: Path
) -> None:
    stage = Stage(configuration(member(1), member(2), member(3, priority=2)))
    del stage.cluster.running[member(3).url]
    joining = Joining(member(3).url, tmp_path / "n")

    def run_the_node(event: tuple[Any, ...]) -> None:
        if event == ("joined", 4):
            stage.cluster.start(stage.cluster.latest.members[-1])

    stage.told.react = run_the_node
    made = await stage.changes.replace(file, {3: joining})
    assert [(each.node, each.part, each.priority) for each in made.members] == [
        (1, Part.VOTER, 0),
        (2, Part.VOTER, 0),
        (4, Part.VOTER, 2),
    ]
    sizes = [len(each.quorums.voters) for each in stage.cluster.history]
    assert sizes == [3, 3, 3, 3]


async def test_change_that_others_overtake_is_planned_anew_from_theirs() -> None:
    stage = Stage()
    theirs = replace(THREE, version=2, members=(member(1, priority=9), *THREE.members[1:]))
    stage.cluster.race = [theirs]
    made = await stage.changes.remove([3])
    assert made.member(1) == member(1, priority=9)
    assert made.member(3) is None


async def test_change_that_is_there_already_waits_only_until_it_is_settled() -> None:
    stage = Stage()
    made = await stage.changes.apply(lambda now: plans.with_changed(now, THREE.members))
    assert made == THREE
    assert stage.cluster.settled == [1]
    assert stage.cluster.history == [THREE]


async def test_change_that_the_leader_refuses_is_refused_with_its_reason() -> None:
    stage = Stage()
    stage.cluster.refuse = ["node 3 cannot be reached"]
    with pytest.raises(AdminRefused, match="cannot be reached"):
        await stage.changes.remove([3])
    assert stage.cluster.history == [THREE]


async def test_change_without_an_answer_says_what_the_leader_waits_for() -> None:
    stage = Stage()
    stage.cluster.running[member(2).url] |= {
        "role": "leader",
        "change": "to configuration 2: node 3",
    }
    stage.cluster.silent = True
    with pytest.raises(OutcomeUnknown, match="the change to configuration 2: node 3"):
        await stage.changes.remove([3])


async def test_witness_joins_with_its_vote_once_it_is_up(file: ClusterFile, tmp_path: Path) -> None:
    stage = Stage()
    joining = Joining(URL_4, tmp_path / "w", Part.WITNESS)

    def run_the_node(event: tuple[Any, ...]) -> None:
        if event == ("joined", 4):
            own = cluster_file.load(tmp_path / "w" / "cluster.toml").node(4)
            stage.cluster.start(Member(4, own.incarnation, Part.WITNESS, own.url))

    stage.told.react = run_the_node
    made = await stage.changes.add(file, [joining])
    witness = made.member(4)
    assert witness is not None
    assert (witness.part, made.version) == (Part.WITNESS, 2)
    assert stage.what()[0] == "joined"
    assert stage.what()[-1] == "changed"
    assert made.quorums == Quorums.majority([each.voter for each in made.members])
    assert await stage.changes.add(file, [joining]) == made


async def test_directory_made_for_a_witness_is_not_taken_for_another_part(
    file: ClusterFile, tmp_path: Path
) -> None:
    stage = Stage()
    with pytest.raises(NotInTime):
        await stage.changes.add(file, [Joining(URL_4, tmp_path / "w", Part.WITNESS)])
    with pytest.raises(PlanRefused, match="made for a node that is a witness"):
        await stage.changes.add(file, [Joining(URL_4, tmp_path / "w")])
    assert stage.cluster.history == [THREE]


async def test_replaced_witness_is_followed_by_one_in_one_change(
    file: ClusterFile, tmp_path: Path
) -> None:
    stage = Stage(configuration(member(1), member(2), member(3, Part.WITNESS)))

    def run_the_node(event: tuple[Any, ...]) -> None:
        if event == ("joined", 4):
            own = cluster_file.load(tmp_path / "w" / "cluster.toml").node(4)
            stage.cluster.start(Member(4, own.incarnation, Part.WITNESS, own.url))

    stage.told.react = run_the_node
    made = await stage.changes.replace(file, {3: Joining(URL_4, tmp_path / "w")})
    assert [(each.node, each.part) for each in made.members] == [
        (1, Part.VOTER),
        (2, Part.VOTER),
        (4, Part.WITNESS),
    ]
    assert made.version == 2


async def test_witness_is_no_learner_to_be_promoted() -> None:
    stage = Stage(configuration(member(1), member(2), member(3, Part.WITNESS)))
    with pytest.raises(PlanRefused, match="has no state"):
        await stage.changes.promote({3: (Part.VOTER, None)})
    assert len(stage.cluster.history) == 1
