"""What the demo proves, with a state machine in this process: every broken promise is found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import trio
import trio.testing

from paxos.cli import story
from paxos.cli.connect import NodeAnswer
from paxos.cli.narrator import Narrator
from paxos.cli.story import Stage, StoryFailed
from paxos.core.state_machine import Stamp
from paxos.runtime.client import OutcomeUnknown, RequestRefused
from paxos.testing.processes import ReplicaProcesses
from statemachines.edge_config import EdgeConfig
from statemachines.edge_config_client import EdgeConfigClient, Put
from statemachines.machine_client import Level

Change = Callable[[Stage], object]


class Here:
    """A cluster of one state machine in this process, which never fails unless told to."""

    def __init__(self) -> None:
        self.machine = EdgeConfig()
        self.slot = 0
        self.refuse: Exception | None = None

    async def execute(self, _: str, command: bytes) -> tuple[int, bytes]:
        await trio.lowlevel.checkpoint()
        if self.refuse is not None:
            raise self.refuse
        self.slot += 1
        return self.slot, self.machine.apply(command, Stamp(self.slot, 0, self.slot))

    async def query(self, _: str, query: bytes, level: Level = "linearizable") -> tuple[int, bytes]:
        await trio.lowlevel.checkpoint()
        return self.slot, self.machine.query(query)

    async def watch_once(self, _: str, query: bytes) -> tuple[int, bytes]:
        while (answer := self.machine.watch(query)) is None:
            await trio.lowlevel.checkpoint()
        return self.slot, answer


def row(node: int, *, applied: int = 9, digest: str = "aa", role: str = "follower") -> NodeAnswer:
    document: dict[str, Any] = {
        "node": node,
        "role": role,
        "ballot": f"1.{node}",
        "decided_through": 9,
        "applied_through": applied,
        "digest": digest,
    }
    return NodeAnswer(f"tcp://127.0.0.1:700{node}", node, document, "")


def silent(node: int) -> NodeAnswer:
    return NodeAnswer(f"tcp://127.0.0.1:700{node}", node, None, "refused")


EQUAL = (row(1, role="leader"), row(2), row(3))


def staged(here: Here, rows: Sequence[NodeAnswer] = EQUAL) -> Stage:
    async def statuses() -> Sequence[NodeAnswer]:
        await trio.lowlevel.checkpoint()
        return rows

    return Stage(
        narrator=Narrator(),
        processes=ReplicaProcesses.__new__(ReplicaProcesses),
        store=EdgeConfigClient(here),
        statuses=statuses,
        fleet=[Put("site-1/fps", b"25"), Put("site-2/fps", b"30")],
        nodes=(1, 2, 3),
    )


async def after_a_load(stage: Stage) -> None:
    """Import the fleet and write ten keys, as the story does, up to the proof."""
    await stage.store.import_entries(stage.fleet)
    for number in range(10):
        key = f"{story.LOAD_PREFIX}gateway-1/{number}"
        written = await stage.store.put(key, b"x")
        stage.acknowledged[key] = b"x"
        stage.seen.append((written.revision, key, b"x"))


def prove(change: Callable[[Stage], Awaitable[None]], rows: Sequence[NodeAnswer] = EQUAL) -> Stage:
    stage = staged(Here(), rows)

    async def act() -> None:
        await after_a_load(stage)
        await change(stage)
        await story.prove(stage)

    trio.run(act, clock=trio.testing.MockClock(autojump_threshold=0))
    return stage


async def nothing(_: Stage) -> None:
    """Break no promise."""


async def lose_a_write(stage: Stage) -> None:
    await stage.store.delete(next(iter(stage.acknowledged)))


async def change_a_write(stage: Stage) -> None:
    await stage.store.put(next(iter(stage.acknowledged)), b"something else")


async def write_what_nobody_wrote(stage: Stage) -> None:
    await stage.store.put(f"{story.LOAD_PREFIX}from-nowhere", b"")


async def change_the_fleet(stage: Stage) -> None:
    await stage.store.delete(stage.fleet[0].key)


async def miss_an_event(stage: Stage) -> None:
    del stage.seen[3]


async def repeat_an_event(stage: Stage) -> None:
    stage.seen.insert(3, stage.seen[3])


async def swap_two_events(stage: Stage) -> None:
    stage.seen[3:5] = reversed(stage.seen[3:5])


async def falsify_an_event(stage: Stage) -> None:
    revision, key, _ = stage.seen[3]
    stage.seen[3] = (revision, key, b"something else")


async def end_a_write_unknown(stage: Stage) -> None:
    """A write of unknown outcome may be there: that breaks no promise."""
    key = f"{story.LOAD_PREFIX}perhaps"
    written = await stage.store.put(key, b"x")
    stage.uncertain[key] = b"x"
    stage.uncertain[f"{story.LOAD_PREFIX}perhaps-not"] = b"x"
    stage.seen.append((written.revision, key, b"x"))


@pytest.mark.parametrize("change", [nothing, end_a_write_unknown])
def test_proof_of_a_story_that_went_well_finds_no_fault(
    change: Callable[[Stage], Awaitable[None]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert prove(change).failures == []
    told = capsys.readouterr().out
    assert "all 10 acknowledged writes are there" in told
    assert "FAILED" not in told


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lose_a_write, "1 of 10 acknowledged writes are missing"),
        (change_a_write, "1 of 10 acknowledged writes are missing"),
        (write_what_nobody_wrote, "1 keys are there that nobody wrote"),
        (change_the_fleet, "1 imported keys are wrong or missing"),
        (miss_an_event, "the watch told 9 changes of 10"),
        (repeat_an_event, "the watch told 11 changes of 10"),
        (swap_two_events, "not in order"),
        (falsify_an_event, "with other keys or values"),
    ],
)
def test_proof_of_a_broken_promise_finds_it_and_says_which(
    change: Callable[[Stage], Awaitable[None]], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    failures = prove(change).failures
    assert any(fault in failure for failure in failures), failures
    assert "FAILED" in capsys.readouterr().out


@pytest.mark.parametrize(
    "rows",
    [
        (row(1), row(2), row(3, digest="bb")),
        (row(1), row(2), row(3, applied=8)),
        (row(1), row(2), silent(3)),
        (silent(1), silent(2), silent(3)),
        (row(1, digest=""), row(2, digest=""), row(3, digest="")),
    ],
    ids=["another digest", "another slot", "one silent", "all silent", "no digest yet"],
)
def test_proof_of_states_that_differ_fails(rows: Sequence[NodeAnswer]) -> None:
    failures = prove(nothing, rows).failures
    assert any("do not hold the same state" in failure for failure in failures)


def test_import_that_does_not_come_back_fails(capsys: pytest.CaptureFixture[str]) -> None:
    here = Here()
    stage = staged(here)

    async def forget_everything(_: str, query: bytes, level: Level = "local") -> tuple[int, bytes]:
        return 0, EdgeConfig().query(query)

    here.query = forget_everything  # type: ignore[method-assign]
    trio.run(story.import_fleet, stage)
    assert stage.failures
    assert "FAILED" in capsys.readouterr().out


def test_story_without_a_leader_cannot_go_on() -> None:
    stage = staged(Here(), (row(1), row(2), silent(3)))
    with pytest.raises(StoryFailed, match="no replica leads"):
        trio.run(story.wait_for_leader, stage, clock=trio.testing.MockClock(autojump_threshold=0))


def test_leader_that_a_newer_ballot_replaced_is_not_taken_for_the_leader() -> None:
    stage = staged(Here(), (row(1, role="leader"), row(2, role="leader"), row(3)))
    assert trio.run(story.wait_for_leader, stage) == 2


@pytest.mark.parametrize(
    ("error", "noted"),
    [(OutcomeUnknown("lost"), 1), (RequestRefused("overloaded"), 0)],
    ids=["unknown", "refused"],
)
def test_writer_whose_write_is_not_done_notes_only_what_may_be_there(
    error: Exception, noted: int
) -> None:
    here = Here()
    here.refuse = error
    stage = staged(here)

    async def one_write() -> None:
        stage.writing = True
        stage.writers = 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(story.write_until_told, stage, 1)
            await trio.testing.wait_all_tasks_blocked()
            stage.writing = False

    trio.run(one_write, clock=trio.testing.MockClock(autojump_threshold=0))
    assert len(stage.uncertain) == noted
    assert stage.acknowledged == {}
    assert stage.writers == 0


@pytest.mark.parametrize(
    ("answers", "pause"),
    [([0.9, 1.05, 1.5, 1.6], "450 ms"), ([0.9, 1.3, 1.35], "300 ms")],
    ids=["an answer was under way", "none was"],
)
def test_pause_is_the_longest_gap_after_the_kill(
    answers: list[float], pause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = staged(Here())
    stage.killed_at = 1.0
    stage.acknowledged_at = answers
    story.tell_pause(stage, recovered=True)
    assert f"writing paused for {pause}" in capsys.readouterr().out


def test_pause_that_never_ended_is_a_failure() -> None:
    stage = staged(Here())
    stage.killed_at = 1.0
    stage.acknowledged_at = [0.5]
    story.tell_pause(stage, recovered=False)
    assert stage.failures
