"""One seed's run: a cluster under faults, then healed, then judged.

It puts the parts together, decides when faults have lasted long enough, and guards invariant 13: a
healed cluster has one leader, equal state on all nodes, and does what it is asked, within a bound
counted from its last progress.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from functools import cache

from jepsen_like.sim.client import SimClient
from jepsen_like.sim.invariants import Invariants, Violation, require
from jepsen_like.sim.nemesis import Nemesis
from jepsen_like.sim.network import Network
from jepsen_like.sim.node import ReplicaFactory, SimNode, make_machines
from jepsen_like.sim.plan import Plan, draw_plan
from jepsen_like.sim.world import Sink, World
from paxos import codec
from paxos.core.config import Configuration, Configurations
from paxos.core.executor import Unpack
from paxos.core.ids import Voter
from paxos.core.quorum import Quorums
from paxos.core.replica import Replica

LOOK_S = 0.05
"""How often the simulation asks itself whether a phase is over."""

PROGRESS_TIMEOUTS = 20
"""A healed cluster that gets nothing done for this many election timeouts (and the constant) is
stuck: an election needs a few, and clients may wait that long again to find the leader."""
PROGRESS_S = 5.0


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
        seconds: Virtual time.
    """

    seed: int
    number: int | None = None
    text: str = ""
    deliveries: int = 0
    commands: int = 0
    elections: int = 0
    effects: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def simulate(
    seed: int,
    factory: ReplicaFactory = Replica,
    sink: Sink | None = None,
    plan: Plan | None = None,
) -> Outcome:
    """Run one seed to its end or to the first violation.

    Args:
        seed: Decides everything.
        factory: Makes the replicas.
        sink: Takes the trace, line by line.
        plan: Replaces what the seed would draw.
    """
    drawn = draw_plan(seed) if plan is None else plan
    simulation = Simulation(World(seed, drawn, sink), factory)
    number, text = None, ""
    try:
        simulation.run()
    except Violation as violation:
        number, text = violation.number, violation.text
        simulation.world.say(f"VIOLATION {violation}")
    return simulation.outcome(number, text)


class Simulation:
    """A cluster, its clients and its nemesis, in one world."""

    def __init__(self, world: World, factory: ReplicaFactory) -> None:
        plan = world.plan
        self.world = world
        self._plan = plan
        self._rng = random.Random(world.seed * 7919 + 2)
        # An incarnation is drawn when a data directory is made: equal ids, different clusters.
        voters = [Voter(n, self._rng.getrandbits(60)) for n in range(1, plan.nodes + 1)]
        quorums = Quorums(frozenset(voters), plan.phase1, plan.phase2)
        configurations = Configurations(Configuration(1, quorums), plan.alpha)
        self._invariants = Invariants(configurations, make_machines(plan.edge_config))
        self._network = Network(world)
        # Every node decodes every batch. Seeds that share nothing do it again each time.
        unpack: Unpack = codec.unpack_batch
        if not plan.codec:
            unpack = cache(codec.unpack_batch)
        self._nodes = [
            SimNode(world, self._network, self._invariants, voter, configurations, factory, unpack)
            for voter in voters
        ]
        for node in self._nodes:
            self._network.add(node)
        endpoints = {str(node.voter): node for node in self._nodes}
        histories = self._invariants.histories
        self._clients = [
            SimClient(world, number, endpoints, histories, number <= plan.watchers)
            for number in range(1, plan.clients + 1)
        ]
        self._nemesis = Nemesis(world, self._network, self._nodes, self._clients)
        self._healed: list[SimNode] = []

    def run(self) -> None:
        """Let faults strike until enough was done, heal, and see that all comes right.

        Raises:
            Violation: An invariant does not hold.
        """
        world = self.world
        if world.tracing:
            world.say(f"seed {world.seed}: {self._plan}")
        for node in self._nodes:
            node.start()
        for client in self._clients:
            client.start()
        self._nemesis.start()
        self._run_faults()
        self._heal()
        self._run_healed()
        self._judge()

    def _run_faults(self) -> None:
        world = self.world
        step = world.step
        look = 0.0
        while True:
            step()
            if world.now >= look:
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
        abandoned: list[SimNode] = []
        if self._plan.abandon:
            spare = self._plan.nodes - max(self._plan.phase1, self._plan.phase2)
            abandoned = self._rng.sample(self._nodes, self._rng.randint(0, spare))
        self._healed = [node for node in self._nodes if node not in abandoned]
        if self.world.tracing:
            down = " ".join(str(node.voter) for node in abandoned) or "nobody"
            self.world.say(f"healed; {down} stays down")
        self._nemesis.heal(abandoned)
        self._invariants.recoverable()
        for client in self._clients:
            client.hurry()

    def _run_healed(self) -> None:
        world = self.world
        bound = PROGRESS_S + PROGRESS_TIMEOUTS * self._plan.timing.election_timeout_s
        look, progress, since, finishing = 0.0, -1, world.now, False
        while True:
            world.step()
            if world.now < look:
                continue
            look = world.now + LOOK_S
            if not finishing and self._commands() >= self._plan.commands:
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
            require(world.now - since < bound, 13, text, bound, lacking)

    def _progress(self) -> int:
        applied = sum(node.replica.executor.applied_through for node in self._healed)
        return applied + sum(client.ended for client in self._clients)

    def _lacking(self) -> str:
        """Return what a healed cluster still owes, or nothing."""
        waiting = [client.number for client in self._clients if not client.satisfied]
        if waiting:
            return f"clients {waiting} wait"
        decided = [node.replica.learner.decided_through for node in self._healed]
        applied = [node.replica.executor.applied_through for node in self._healed]
        if len({*decided, *applied}) != 1:
            return f"decided through {decided}, applied through {applied}"
        leaders = [str(node.voter) for node in self._healed if node.leading]
        if len(leaders) != 1:
            return f"leaders are {leaders}"
        return ""

    def _judge(self) -> None:
        digests = {node.replica.digest() for node in self._healed}
        text = "{} different digests at slot {}"
        slot = self._healed[0].replica.executor.applied_through
        require(len(digests) == 1, 6, text, len(digests), slot)
        self._invariants.recoverable()
        self._invariants.histories.finished()

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
            elections=len(self._invariants.leaders),
            effects=self.world.effects,
            seconds=self.world.now,
        )
