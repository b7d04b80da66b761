"""One seed's run: a cluster under faults, then healed, then judged.

It puts the parts together, decides when faults have lasted long enough, and guards invariant 13: a
healed cluster has one leader, equal state on all nodes, and does what it is asked, within a bound
counted from its last progress.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from jepsen_like.sim.administrator import Administrator
from jepsen_like.sim.atlas import Atlas
from jepsen_like.sim.caller import Caller
from jepsen_like.sim.client import SimClient, patience_s
from jepsen_like.sim.cluster import Cluster
from jepsen_like.sim.faults.site import Site
from jepsen_like.sim.invariants import Violation, require
from jepsen_like.sim.nemesis import Nemesis
from jepsen_like.sim.node import SimNode
from jepsen_like.sim.plan import Plan, draw_plan
from jepsen_like.sim.recorder import Recorder
from jepsen_like.sim.schedule import Episode, Schedule, draw_schedule
from jepsen_like.sim.setup import ReplicaFactory
from jepsen_like.sim.streams import stream
from jepsen_like.sim.task_client import TaskBoard, TaskClient
from jepsen_like.sim.world import Sink, World
from jepsen_like.workload.registers import make_machines
from paxos.core.config import Configuration
from paxos.core.ids import Slot
from paxos.core.replica import Replica

LOOK_S = 0.05
"""How often the simulation asks itself whether a phase is over."""

PROGRESS_TIMEOUTS = 20
"""A healed cluster that gets nothing done for this many election timeouts (and the constant) is
stuck: an election needs a few, and clients may wait that long again to find the leader."""
PROGRESS_S = 5.0

FETCH_TIMEOUTS = 40
"""How many more election timeouts it gets while a node fetches a snapshot: a piece that was lost is
asked for again after ten, on a clock that may be slow, and may be lost again on a slow link."""

OPERATIONS_PER_COMMAND = 6
"""A healed cluster that refuses most of what it is asked, as its bounds are drawn tiny, is asked
for no more than this many times the commands that are wanted of it."""

RARE_COLLECTIONS = (200_000, 5, 1000)
"""Thresholds of the collector of cycles while a run lasts. A run makes few cycles and many objects
that stay until it ends, which the usual thresholds have it look through again and again."""


@dataclass(slots=True)
class Outcome:
    """What one seed's run came to.

    Attributes:
        seed: Which.
        number: The invariant that was violated, or None.
        text: What was seen then.
        deliveries: Messages handed to a node or client.
        commands: Client commands that are known to have run.
        elections: Ballots that began to lead.
        effects: By fault: how often it changed something.
        marks: By rare state: how often it was reached.
        spells: The numbers of the spells that changed something.
        operations: Commands and reads that clients began.
        seconds: Virtual time.
    """

    seed: int
    number: int | None = None
    text: str = ""
    deliveries: int = 0
    commands: int = 0
    elections: int = 0
    effects: Counter[str] = field(default_factory=Counter)
    marks: dict[str, int] = field(default_factory=dict)
    spells: tuple[int, ...] = ()
    operations: int = 0
    seconds: float = 0.0


def simulate(
    seed: int,
    factory: ReplicaFactory = Replica,
    sink: Sink | None = None,
    plan: Plan | None = None,
    schedule: Schedule | None = None,
) -> Outcome:
    """Run one seed to its end or to the first violation.

    Args:
        seed: Decides everything.
        factory: Makes the replicas.
        sink: Takes the trace, line by line.
        plan: Replaces what the seed would draw.
        schedule: Replaces what the seed would draw for its plan.
    """
    plan = draw_plan(seed) if plan is None else plan
    schedule = draw_schedule(seed, plan) if schedule is None else schedule
    return Simulation(World(seed, plan, sink), factory, schedule).carry_out()


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    usual = gc.get_threshold()
    gc.set_threshold(*RARE_COLLECTIONS)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


class Simulation:
    """A cluster, its clients and its nemesis, in one world.

    Attributes:
        world: Time, chance and the trace.
        recorder: What clients saw, if it is recorded.
        healed_s: When faults ended, or None while they last.
    """

    def __init__(self, world: World, factory: ReplicaFactory, schedule: Schedule) -> None:
        plan = world.plan
        self.world = world
        self._plan = plan
        machines = partial(make_machines, plan.edge_config, plan.task_log)
        self._cluster = Cluster(world, factory, machines)
        self._invariants = self._cluster.invariants
        self._nodes = self._cluster.nodes
        callers = [
            Caller(world, number, self._cluster.endpoints, self._cluster.garbler)
            for number in range(1, plan.clients + 1)
        ]
        # A traced run is recorded too, for whoever tells of it.
        self.recorder = Recorder(world) if plan.recorded or world.tracing else None
        self._board = TaskBoard(world) if plan.task_log else None
        self._clients = [self._make_client(caller, schedule) for caller in callers]
        self._admin = Administrator(self._cluster, self._make_atlas)
        atlas = self._admin.atlas
        self._site = Site(world, self._cluster.network, self._nodes, callers, atlas, self._admin)
        self._nemesis = Nemesis(self._site, schedule)
        self._healed: list[SimNode] = []
        self.healed_s: float | None = None

    def _make_client(self, caller: Caller, schedule: Schedule) -> SimClient | TaskClient:
        histories = self._invariants.histories
        if self._board is not None:
            return TaskClient(self.world, caller, schedule, histories, self._board)
        return SimClient(
            self.world,
            caller,
            schedule,
            histories,
            watches=caller.number <= self._plan.watchers,
            recorder=self.recorder,
        )

    def _make_atlas(self, admin: Administrator) -> Atlas:
        def at_stake() -> list[Configuration]:
            return [*self._invariants.at_stake(), *admin.at_stake()]

        return Atlas(self._nodes, at_stake, self._plan.beyond)

    @property
    def nodes(self) -> list[SimNode]:
        """The nodes, in order of id."""
        return self._nodes

    @property
    def episodes(self) -> list[Episode]:
        """What became of each spell so far."""
        return self._nemesis.episodes

    @property
    def chosen_through(self) -> Slot:
        """The last slot without a gap below in which a value is chosen."""
        return self._invariants.ledger.chosen_through

    def carry_out(self) -> Outcome:
        """Run to the end or to the first violation, and sum up."""
        number, text = None, ""
        try:
            with _collecting_rarely():
                self.run()
        except Violation as violation:
            number, text = violation.number, violation.text
            self.world.say(f"VIOLATION {violation}")
        return self.outcome(number, text)

    def run(self) -> None:
        """Let faults strike until enough was done, heal, and see that all comes right.

        Raises:
            Violation: An invariant does not hold.
        """
        world = self.world
        if world.tracing:
            world.say(f"seed {world.seed}: {self._plan}")
        self._cluster.start()
        for client in self._clients:
            client.start()
        self._nemesis.start()
        self._run_faults()
        self._heal()
        if not self._site.atlas.holds(self._healed):
            self._run_hopeless()
        else:
            self._run_healed()
            self._cluster.judge(self._healed)
        self._invariants.histories.finished()
        if self._board is not None:
            self._board.judge()
        elif self._plan.recorded and self.recorder is not None:
            self.recorder.judge()

    def _run_faults(self) -> None:
        world = self.world
        look = 0.0
        while True:
            world.advance(look)
            look = world.now + LOOK_S
            if self._enough():
                return

    def _enough(self) -> bool:
        least, most = self._plan.faults_s
        now, wanted, had = self.world.now, self._plan.deliveries, self.world.deliveries
        if now >= most or had >= 1.5 * wanted:
            return True
        return now >= least and had >= wanted and self._commands() >= self._plan.commands

    def _heal(self) -> None:
        """End the faults among some sound nodes for good, and leave the others what they have."""
        rng, atlas = stream(self.world.seed, "healed"), self._site.atlas
        self._healed = sound = atlas.sound
        if self._plan.permanent:
            share = rng.random()
            for node in rng.sample(sound, len(sound)):
                rest = [other for other in self._healed if other is not node]
                if rng.random() < share and atlas.holds(rest):
                    self._healed = rest
        outside = [node for node in self._nodes if node not in self._healed]
        if self.world.tracing:
            self.world.say(f"nemesis: healed are {' '.join(str(n.voter) for n in self._healed)}")
        self.healed_s = self.world.now
        self._nemesis.heal(self._healed)
        self._nemesis.condemn(outside, rng)
        if outside:
            self._invariants.recoverable()  # leaders may come and go through what is still wrong
        else:
            self._invariants.healed()
        for client in self._clients:
            client.hurry()
        self._admin.finish(self._healed)

    def _run_healed(self) -> None:
        world = self.world
        bound = PROGRESS_S + PROGRESS_TIMEOUTS * self._plan.timing.election_timeout_s
        look, progress, since, finishing = 0.0, (-1, 0), world.now, False
        while True:
            world.advance(look)
            look = world.now + LOOK_S
            if not finishing and self._asked_enough():
                finishing = True
                for client in self._clients:
                    client.finish()
            lacking = self._lacking()
            if not lacking:
                return
            now_done = self._progress()
            if now_done > progress:
                progress, since = now_done, world.now
            text = "healed, and no progress for {:.1f} s: {}"
            stuck_s = world.now - since
            if stuck_s >= bound:
                patience = FETCH_TIMEOUTS * self._plan.timing.election_timeout_s
                patience *= self._fetches()
                require(stuck_s < bound + patience, 13, text, stuck_s, lacking)

    def _fetches(self) -> bool:
        """Whether some node lacks what others have let go of: that is had in pieces only."""
        gone = max(node.facts.compacted_through for node in self._healed)
        return any(node.up and node.facts.decided_through < gone for node in self._healed)

    def _progress(self) -> tuple[int, int]:
        """Operations answered. Slots count only while nobody waits: retries fill slots too."""
        answered = self._admin.steps + sum(client.answered for client in self._clients)
        if any(client.waiting for client in self._clients):
            return answered, 0
        self._healed = [node for node in self._healed if not node.retired]
        return answered, sum(node.replica.executor.applied_through for node in self._healed)

    def _lacking(self) -> str:
        """Return what a healed cluster still owes, or nothing."""
        waiting = [client.number for client in self._clients if not client.satisfied]
        if waiting:
            return f"clients {waiting} wait"
        if self._admin.busy:
            return "the administrator waits"
        return self._cluster.lacking([node for node in self._healed if not node.retired])

    def _run_hopeless(self) -> None:
        """No quorum is left: nothing more can be done, and every client must be told so in time."""
        self._invariants.marks.hit("no quorum was left")
        for client in self._clients:
            client.stop()
        deadline = self.world.now + patience_s(self._plan) + PROGRESS_S
        while any(client.waiting for client in self._clients):
            self.world.step()
            late = [client.number for client in self._clients if client.waiting]
            require(self.world.now < deadline, 13, "clients {} are told nothing", late)

    def _asked_enough(self) -> bool:
        begun = sum(client.begun for client in self._clients)
        enough = self._commands() >= self._plan.commands
        enough = enough or begun >= OPERATIONS_PER_COMMAND * self._plan.commands
        return enough or all(client.exhausted for client in self._clients)

    def _commands(self) -> int:
        return sum(client.completed for client in self._clients)

    def outcome(self, number: int | None, text: str) -> Outcome:
        """Sum up."""
        return Outcome(
            seed=self.world.seed,
            number=number,
            text=text,
            deliveries=self.world.deliveries,
            commands=self._commands(),
            elections=len(self._invariants.leadership.ballots),
            effects=self.world.effects,
            marks=self._invariants.marks.counts,
            spells=self._nemesis.effective,
            operations=sum(client.begun for client in self._clients),
            seconds=self.world.now,
        )
