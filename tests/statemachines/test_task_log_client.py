"""The client of the task log: every method over a machine, and what it makes of odd answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from msgpack import packb

from paxos.core.state_machine import CommandFailed
from statemachines import task_log_format as form
from statemachines.task_log_answers import (
    AnswerInvalid,
    ChangesCompacted,
    RegistrationInvalid,
    TaskUnknown,
    TokenInvalid,
)
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_format import MICRO, NodeChange, TaskChange, TaskLogLimits
from statemachines.task_log_requests import RequestInvalid, node_spec, task_spec
from tests.statemachines.one_replica import EPOCH, Link, OneReplica, pass_time

LEASE = 10 * MICRO
EDGE = node_spec("edge-1", "edge", lease=LEASE, capacity=3 * MICRO)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))


def test_client_follows_a_task_from_submission_to_its_result() -> None:
    async def scenario() -> None:
        log = TaskLogClient(Link(OneReplica()))
        submitted = await log.submit([task_spec("a", "k", b"payload"), task_spec("b", "k")])
        assert [name for name, _ in submitted.created] == ["a", "b"]
        assert submitted.slot == 1
        assert (await log.submit([task_spec("b", "k")])).created == submitted.created[1:]
        registration = (await log.register(EDGE)).registration
        (claim,) = (await log.claim("edge-1", registration, 1, LEASE)).claims
        assert (claim.task.id, claim.task.payload, claim.attempt) == ("a", b"payload", 1)
        claims = [("a", claim.token), ("b", claim.token)]
        assert (await log.extend("edge-1", registration, claims, LEASE)).held == (True, False)
        await log.progress("a", claim.token, b"half")
        assert (await log.report("edge-1", registration, MICRO)).until > EPOCH
        done = await log.complete("a", claim.token, b"result")
        assert (await log.complete("a", claim.token, b"result")).revision == done.revision
        task = (await log.get("a")).task
        assert task is not None
        assert (task.state, task.result, task.token) == (form.DONE, b"result", claim.token)
        (claim,) = (await log.claim("edge-1", registration, 1, LEASE)).claims
        assert (await log.fail("b", claim.token, "why", retry=False)).state == "dead"
        await log.retry("b")
        await log.cancel("b")
        stats = await log.stats()
        assert stats.states == (0, 0, 0, 0, 1, 0, 1)
        await log.drain("edge-1")
        (known,) = (await log.nodes()).nodes
        assert (known.spec, known.drained, known.load) == (EDGE, True, MICRO)
        await log.leave("edge-1", registration)
        assert (await log.nodes()).nodes[0].state == form.LAPSED
        assert (await log.retain(1)).count == 1
        assert (await log.get("a")).task is None  # the one finished first is forgotten
        assert not (await log.tick()).more

    run(scenario)


def test_client_explains_and_plans_anew_where_tasks_go() -> None:
    async def scenario() -> None:
        log = TaskLogClient(Link(OneReplica()))
        await log.register(EDGE)
        await log.submit([task_spec(f"t{number}", "k", node_kind="edge") for number in range(4)])
        await log.register(node_spec("edge-2", "edge", lease=LEASE, capacity=3 * MICRO))
        await log.register(node_spec("cloud-1", "cloud", lease=LEASE))
        explained = await log.explain("t3")
        assert {each.node for each in explained.candidates} == {"edge-1", "edge-2"}
        assert [name for name, _ in explained.refused] == ["cloud-1"]
        replanned = await log.replan()
        assert (replanned.looked_at, replanned.next_after) == (4, None)
        assert replanned.moved > 0
        placed = {(task.spec.id, task.node) async for task in log.tasks(node="edge-2")}
        assert len(placed) == replanned.moved

    run(scenario)


def test_client_refusals_that_callers_tell_apart_are_typed() -> None:
    async def scenario() -> None:
        log = TaskLogClient(Link(OneReplica(TaskLogLimits(keep_changes=2))))
        for _ in range(3):
            registration = (await log.register(EDGE)).registration
        await log.submit([task_spec("a", "k")])
        with pytest.raises(TaskUnknown) as unknown:
            await log.cancel("b")
        assert unknown.value.task_id == "b"
        with pytest.raises(TokenInvalid) as token:
            await log.complete("a", 77, b"")
        assert token.value.token == 77
        with pytest.raises(RegistrationInvalid) as gone:
            await log.claim("edge-1", registration - 1, 1, LEASE)
        assert (gone.value.node, gone.value.registration) == ("edge-1", registration - 1)
        with pytest.raises(ChangesCompacted) as compacted:
            await anext(log.watch(after=0))
        assert compacted.value.oldest > 0
        with pytest.raises(CommandFailed, match="exists with other content"):
            await log.submit([task_spec("a", "other")])

    run(scenario)


def test_client_asked_for_what_no_state_could_take_sends_nothing() -> None:
    async def scenario() -> None:
        replica = OneReplica()
        log = TaskLogClient(Link(replica), limits=TaskLogLimits(claim_tasks_max=2))
        requests: list[Callable[[], Awaitable[object]]] = [
            lambda: log.submit([]),
            lambda: log.claim("edge-1", 1, 3, LEASE),
            lambda: log.claim("edge-1", 1, 1, -LEASE),
            lambda: log.extend("edge-1", 1, [("a", 1)] * 3, LEASE),
            lambda: log.report("edge-1", 0, 0),
            lambda: log.progress("a", 1, bytes(1025)),
            lambda: log.page(state="asleep"),
            lambda: log.watch_once("task", "two words", 0),
            lambda: log.wait_work("", 1),
        ]
        for request in requests:
            with pytest.raises(RequestInvalid):
                await request()
        assert replica.slot == 0

    run(scenario)


def test_client_tasks_come_in_order_from_every_page() -> None:
    async def scenario() -> None:
        limits = TaskLogLimits(answer_items_max=3)
        log = TaskLogClient(Link(OneReplica(limits)), limits=limits)
        await log.submit(
            [task_spec(f"t{9 - number}", "odd" if number % 2 else "even") for number in range(10)]
        )
        every = [task.spec.id async for task in log.tasks()]
        assert every == [f"t{9 - number}" for number in range(10)]
        odd = [task.spec.id async for task in log.tasks(kind="odd", state="ready")]
        assert odd == ["t8", "t6", "t4", "t2", "t0"]

    run(scenario)


def test_client_watch_tells_every_change_once_and_resumes() -> None:
    async def scenario() -> None:
        log = TaskLogClient(Link(OneReplica()))
        seen: list[tuple[int, str]] = []

        async def follow(until: int, after: int | None) -> None:
            async for change in log.watch(after=after):
                name = change.id if isinstance(change, TaskChange) else change.name
                seen.append((change.revision, name))
                if len(seen) == until:
                    return

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, 3, None)
            await pass_time(1)
            await log.submit([task_spec("a", "k"), task_spec("b", "k")])
            await log.register(EDGE)
        await follow(5, seen[-1][0])
        assert [name for _, name in seen] == ["a", "b", "edge-1", "a", "b"]
        assert [revision for revision, _ in seen] == [1, 2, 3, 4, 5]
        of_node = await log.watch_once("node", "edge-1", 0)
        assert isinstance(of_node.changes[0], NodeChange)

    run(scenario)


def test_client_waits_for_work_until_a_claim_would_bring_some() -> None:
    async def scenario() -> None:
        log = TaskLogClient(Link(OneReplica()))
        registration = (await log.register(EDGE)).registration
        with trio.move_on_after(5) as waited:
            await log.wait_work("edge-1", registration)
        assert waited.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(log.wait_work, "edge-1", registration)
            await pass_time(1)
            await log.submit([task_spec("a", "k")])
        assert len((await log.claim("edge-1", registration, 1, LEASE)).claims) == 1

    run(scenario)


def test_client_waiting_for_work_hears_that_its_node_was_forgotten() -> None:
    async def scenario() -> None:
        log = TaskLogClient(Link(OneReplica(TaskLogLimits(nodes_max=1))))
        registration = (await log.register(EDGE)).registration
        await log.leave("edge-1", registration)
        await log.register(node_spec("edge-2", "edge", lease=LEASE))
        with trio.fail_after(60):
            await log.wait_work("edge-1", registration)
        with pytest.raises(RegistrationInvalid):
            await log.claim("edge-1", registration, 1, LEASE)
        with trio.move_on_after(60) as ahead:  # a replica that lags behind knows nothing of it yet
            await log.wait_work("edge-1", registration + 1000)
        assert ahead.cancelled_caught

    run(scenario)


class Odd(Link):
    """Answers what no task log would."""

    answer = packb((form.FORMAT, 5, ()))

    async def execute(self, machine: str, command: bytes) -> tuple[int, bytes]:
        await trio.lowlevel.checkpoint()
        return 1, packb((form.FORMAT, 9, 9, (True, True)))

    async def watch_once(self, machine: str, query: bytes) -> tuple[int, bytes]:
        await trio.lowlevel.checkpoint()
        return 1, self.answer


def test_client_answered_without_progress_or_for_other_claims_says_so() -> None:
    async def scenario() -> None:
        log = TaskLogClient(Odd(OneReplica()))
        with pytest.raises(AnswerInvalid, match="from 5 was answered up to 5"):
            await anext(log.watch(after=5))
        with pytest.raises(AnswerInvalid, match="1 claims were answered by 2"):
            await log.extend("edge-1", 1, [("a", 1)], LEASE)

    run(scenario)
