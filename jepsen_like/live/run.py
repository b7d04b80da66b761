"""One live run: a cluster of real processes, a load, faults, and what was recorded.

Phases: calm, faults with load, heal, calm again, a final look at every key. It asks and records;
what that means is judged afterwards, from the files, by ``judging``. However it ends, no process is
left and every history is closed.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import trio

from jepsen_like.live.asking import MACHINE, ClientAsker
from jepsen_like.live.cluster import ClusterFailed, LiveCluster, open_cluster
from jepsen_like.live.driver import Driver
from jepsen_like.live.generator import TimeLimit
from jepsen_like.live.menu import needs_node_program, network_for
from jepsen_like.live.nemesis import Nemesis
from jepsen_like.live.plan import FINAL_TIMEOUT_S, HEAL_TIMEOUT_S, Plan
from jepsen_like.live.recorder import Clock, Recorder
from jepsen_like.report.facts import Band, Phase
from paxos.runtime.errors import plain_errors
from paxos.testing.processes import ReplicaProcessFailed

CALM = "calm"
FAULTS = "faults"
HEAL = "heal"
CALM_AGAIN = "calm again"
FINAL = "final reads"

SITES = 2
"""Places that clients connect from, each with links of its own."""

PROGRESS_INTERVAL_S = 0.1

Progress = Callable[[str, float], None]
"""Told the phase, and how many of the plan's seconds are over."""


class Load:
    """A plan's load, its driver and its history."""

    def __init__(self, plan: Plan, path: Path, clock: Clock) -> None:
        self.plan = plan
        self.recorder = Recorder(path, clock)
        self.senseless: list[str] = []
        self.among_faults = False
        self._clock = clock
        self._left = plan.load()
        self._driver: Driver | None = None

    async def start(self, cluster: LiveCluster, nursery: trio.Nursery) -> None:
        """Open the clients."""
        plan = self.plan

        @asynccontextmanager
        async def connect(thread: int) -> AsyncIterator[ClientAsker]:
            def patience() -> float | None:
                return plan.timeout_of(thread) if self.among_faults else None

            async with cluster.open_client(thread % SITES, timeout=plan.timeout_s) as client:
                yield ClientAsker(client, plan.workload, patience)

        rng = plan.rng(f"load {plan.workload.name}")
        self._driver = Driver(plan.workload, plan.threads, connect, self.recorder, self._clock, rng)
        self.senseless = self._driver.senseless
        await self._driver.run(nursery)

    async def go_on(self, seconds: float) -> None:
        """Ask for some time, and wait for the last answers."""
        assert self._driver is not None
        left = await self._driver.drive(TimeLimit(seconds, self._left))
        assert isinstance(left, TimeLimit)
        self._left = left.of

    async def finish(self) -> None:
        """Have a last look at every key."""
        assert self._driver is not None
        await self._driver.drive(self.plan.finals(tuple(self._driver.keys)))


class Run:
    """A live run, and what is known of it so far, however it ends.

    Args:
        plan: What to do.
        directory: Gets histories, logs and the cluster's data.
        progress: Told now and then how far it has come.
    """

    def __init__(self, plan: Plan, directory: Path, progress: Progress) -> None:
        self.plan = plan
        self.phases: list[Phase] = []
        self.bands: list[Band] = []
        self.effects: Counter[str] = Counter()
        self.in_flight: Counter[str] = Counter()
        self.leader_effects: Counter[str] = Counter()
        self.details: dict[str, Counter[str]] = {}
        self.trouble = ""
        """Why it ended before it was through."""
        self.findings: list[str] = []
        """What a correct cluster never shows, beside its answers."""
        self._directory = directory
        self._progress = progress
        self._present_phase = "start"
        self._began_s: float | None = None  # of the present phase
        clock = self._clock = Clock()
        self.loads = [Load(plan, directory / "history.jsonl", clock)]
        if plan.beside is not None:
            name = f"{plan.beside.workload.name}.jsonl"
            self.loads.append(Load(plan.beside, directory / name, clock))

    @property
    def seconds(self) -> float:
        """How long was asked, by what happened instead of by the plan."""
        return sum(each.stop_s - each.start_s for each in self.phases if each.name != FINAL)

    async def execute(self) -> None:
        """Do everything. Ends early, and says so in ``trouble``, at a signal.

        Raises:
            ClusterFailed, ReplicaProcessFailed: The cluster did not even start.
        """
        with ExitStack() as stack:
            for load in self.loads:
                stack.callback(load.recorder.close)
            try:
                with plain_errors():
                    async with trio.open_nursery() as nursery:
                        await nursery.start(self._end_at_a_signal, nursery.cancel_scope)
                        await self._execute()
                        nursery.cancel_scope.cancel()
            except (ClusterFailed, ReplicaProcessFailed) as failure:
                if not self.phases:
                    raise
                self.findings.append(f"the cluster did not recover: {failure}")

    async def _end_at_a_signal(
        self,
        whole: trio.CancelScope,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for number in signals:
                self.trouble = f"interrupted by {signal.Signals(number).name}"
                whole.cancel()

    async def _execute(self) -> None:
        plan = self.plan
        async with (
            open_cluster(
                self._directory,
                replicas=plan.replicas,
                machines={MACHINE: plan.machine},
                program="node" if needs_node_program(plan.kinds) else "serve",
                network=network_for(plan.kinds, plan.network),
                transport=plan.transport,
                sites=SITES,
            ) as cluster,
            trio.open_nursery() as nursery,
        ):
            self._clock.restart()
            for load in self.loads:
                await load.start(cluster, nursery)
            nursery.start_soon(self._tell_progress)
            await self._go_through_phases(cluster)
            await self._look_at_the_end(cluster)
            nursery.cancel_scope.cancel()

    async def _go_through_phases(self, cluster: LiveCluster) -> None:
        plan = self.plan
        with self._phase(CALM):
            await self._all(partial(Load.go_on, seconds=plan.calm_s))
        if plan.kinds:
            await self._torment(cluster)
            with self._phase(CALM_AGAIN):
                await self._all(partial(Load.go_on, seconds=plan.calm_s))
        with self._phase(FINAL), trio.move_on_after(FINAL_TIMEOUT_S):
            await self._all(Load.finish)

    async def _torment(self, cluster: LiveCluster) -> None:
        plan, recorder = self.plan, self.loads[0].recorder
        nemesis = Nemesis(
            cluster,
            plan.kinds,
            plan.seed,
            in_flight=lambda: recorder.under_way,
            note=recorder.note,
            clock=self._clock.seconds,
        )
        # The very objects: what a run that ends early has seen, it has seen.
        self.bands, self.effects = nemesis.bands, nemesis.effects
        self.in_flight, self.leader_effects = nemesis.in_flight_effects, nemesis.leader_effects
        self.details = nemesis.details
        with self._phase(FAULTS):
            self._tell_of_faults(True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(nemesis.torment)
                await self._all(partial(Load.go_on, seconds=plan.faults_s))
                nursery.cancel_scope.cancel()
        self._tell_of_faults(False)
        with self._phase(HEAL):
            await nemesis.heal_all(HEAL_TIMEOUT_S)

    def _tell_of_faults(self, there_are: bool) -> None:
        for load in self.loads:
            load.among_faults = there_are

    async def _look_at_the_end(self, cluster: LiveCluster) -> None:
        """Every node must be there, with the same state; only a killed one may have ended."""
        self.findings += cluster.ended_alone.values()
        try:
            await cluster.wait_equal(HEAL_TIMEOUT_S)
        except ClusterFailed as failure:
            self.findings.append(f"the cluster did not recover: {failure}")
        for node, status in (await cluster.statuses(HEAL_TIMEOUT_S)).items():
            members = status and [each["node"] for each in status["configuration"]["members"]]
            if members != list(cluster.nodes):
                self.findings.append(
                    f"node {node} says that the members are {members}, not {list(cluster.nodes)}"
                )

    async def _all(self, step: Callable[[Load], Awaitable[None]]) -> None:
        async with trio.open_nursery() as nursery:
            for load in self.loads:
                nursery.start_soon(step, load)

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """Note when a phase begins and ends, even if it is cut short."""
        start = self._clock.seconds()
        self._present_phase = name
        self._began_s = start
        for load in self.loads:
            load.recorder.note("phase", name)
        try:
            yield
        finally:
            self.phases.append(Phase(name, start, self._clock.seconds()))
            self._began_s = None

    async def _tell_progress(self) -> None:
        while True:
            present = 0.0 if self._began_s is None else self._clock.seconds() - self._began_s
            self._progress(self._present_phase, self.seconds + present)
            await trio.sleep(PROGRESS_INTERVAL_S)
