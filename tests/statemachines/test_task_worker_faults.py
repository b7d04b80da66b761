"""Workers under faults: whatever is lost, cut or killed, every task has exactly one result."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import trio
import trio.testing

from paxos.testing.disk import ModelDisk
from statemachines import task_log_format as form
from statemachines.task_handlers import TaskFailed, Work
from statemachines.task_log_client import TaskLogClient
from statemachines.task_log_format import MICRO, TaskChange
from statemachines.task_log_requests import node_spec, task_spec
from statemachines.task_outbox import FileOutbox
from statemachines.task_worker import TaskWorker
from statemachines.task_worker_events import WorkerEvent
from tests.statemachines.one_replica import Link, OneReplica, pass_time

LEASE_S = 3
TASKS = 40
FAULTS = 12
LOST = 8  # of a hundred requests
WHERE = Path("/outbox")


class Fleet:
    """Three workers with faulty links and disks, and what they have told."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.replica = OneReplica()
        self.events: list[WorkerEvent] = []
        self.begun: list[tuple[str, int]] = []
        self.names = ["cloud-1", "edge-1", "edge-2"]
        self.links = {name: Link(self.replica, rng, LOST) for name in self.names}
        self.disks = {name: ModelDisk() for name in self.names}
        self.lives: dict[str, trio.CancelScope] = {}

    async def run_task(self, work: Work) -> bytes:
        """Work for a while, and return which claim did it; fail now and then."""
        self.begun.append((work.job.id, work.job.token))
        await pass_time(self.rng.choice([0.01, 0.5, 2 * LEASE_S]))
        if self.rng.randrange(10) == 0:
            raise TaskFailed("as it happens")
        await work.progress(b"nearly")
        return b"%d" % work.job.token

    async def live(self, name: str) -> None:
        """Run a worker, and another one whenever one was killed, until it is stopped."""
        while True:
            with trio.CancelScope() as self.lives[name]:
                outbox = FileOutbox(WHERE, name, self.disks[name])
                node = node_spec(name, "edge", lease=LEASE_S * MICRO, capacity=4 * MICRO)
                log = TaskLogClient(self.links[name])
                worker = TaskWorker(
                    log, node, {"work": self.run_task}, outbox=outbox, observe=self.events.append
                )
                await worker.run()
            disk = self.disks[name]
            unsynced = disk.unsynced()
            disk.power_cut([each for each in unsynced if self.rng.randrange(2)])
            await pass_time(self.rng.choice([0.1, LEASE_S / 2, 2 * LEASE_S]))

    async def strike(self) -> None:
        """Kill workers and cut links, and mend everything in the end."""
        for _ in range(FAULTS):
            await pass_time(self.rng.uniform(0, 3))
            name = self.rng.choice(self.names)
            if self.rng.randrange(2):
                self.lives[name].cancel()
            else:
                self.links[name].cut = not self.links[name].cut
        for link in self.links.values():
            link.mend()


async def outcome(fleet: Fleet) -> list[TaskChange]:
    """Run the fleet until everything is finished; return every change of a task."""
    log = TaskLogClient(Link(fleet.replica))
    specs = [
        task_spec(
            f"t{number}",
            "work",
            attempts=100,
            backoff=MICRO // 10,
            priority=fleet.rng.randrange(-2, 3),
            depends_on=[f"t{number - 3}"] if number % 4 == 3 else [],
        )
        for number in range(TASKS)
    ]
    async with trio.open_nursery() as nursery:
        for name in fleet.names:
            nursery.start_soon(fleet.live, name)
        nursery.start_soon(fleet.strike)
        await log.submit(specs)
        changes = []
        done = 0
        async for change in log.watch(after=0):
            if isinstance(change, TaskChange):
                changes.append(change)
                done += change.state >= form.DONE
            if done == TASKS:
                break
        nursery.cancel_scope.cancel()
    return changes


@pytest.mark.parametrize("seed", range(5))
def test_tasks_of_a_fleet_under_faults_have_one_result_each(seed: int) -> None:
    async def scenario() -> None:
        fleet = Fleet(Random(seed))
        changes = await outcome(fleet)
        log = TaskLogClient(Link(fleet.replica))
        accepted = {(event.task, event.token) for event in fleet.events if event.what == "done"}
        for number in range(TASKS):
            name = f"t{number}"
            states = [change.state for change in changes if change.id == name]
            assert states.count(form.DONE) == 1
            assert states[-1] == form.DONE
            tokens = [
                change.token
                for change in changes
                if (change.id, change.state, change.progress) == (name, form.CLAIMED, b"")
            ]
            assert tokens == sorted(set(tokens))
            task = (await log.get(name)).task
            assert task is not None
            # The one whose result it is ran under the last token, and no other was told "done".
            assert task.result == b"%d" % task.token == b"%d" % tokens[-1]
            assert {token for done, token in accepted if done == name} <= {task.token}
        # A claim is run once, by the life of a worker that made it.
        assert len(fleet.begun) == len(set(fleet.begun))
        assert len(fleet.begun) > TASKS

    trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0.002))
