"""A simulated cluster: nodes on a network, with the checkers that watch them.

It founds them and can say what a healed cluster still lacks. It asks nothing of them and breaks
nothing: whoever uses it brings clients and faults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from jepsen_like.sim.garbler import Garbler
from jepsen_like.sim.invariants import Invariants, require
from jepsen_like.sim.network import Network
from jepsen_like.sim.node import NodeSetup, ReplicaFactory, SimNode
from jepsen_like.sim.streams import stream
from jepsen_like.sim.world import World
from paxos import codec
from paxos.core.config import Configuration, Configurations
from paxos.core.executor import Unpack
from paxos.core.ids import Voter
from paxos.core.quorum import Quorums
from paxos.core.state_machine import StateMachine

Machines = Callable[[], Mapping[str, StateMachine]]
"""Makes the state machines that a node hosts, fresh: called at each start of each node."""


class Cluster:
    """Nodes that are not started yet, their network, and the checkers.

    Args:
        world: Time, chance and the plan: how many nodes, which quorums.
        factory: Makes the replicas.
        machines: Makes what they host.

    Attributes:
        world: As given.
        garbler: Sees to bytes that went wrong.
        network: Connects the nodes.
        invariants: Watches them.
        nodes: In order of id.
        endpoints: The nodes by the name under which clients dial them.
    """

    def __init__(self, world: World, factory: ReplicaFactory, machines: Machines) -> None:
        plan = world.plan
        self.world = world
        # An incarnation is drawn when a data directory is made: equal ids, different clusters.
        rng = stream(world.seed, "incarnations")
        voters = [Voter(n, rng.getrandbits(60)) for n in range(1, plan.nodes + 1)]
        quorums = Quorums(frozenset(voters), plan.phase1, plan.phase2)
        configurations = Configurations(Configuration(1, quorums), plan.alpha)
        self.invariants = Invariants(configurations, machines(), plan.limits, plan.timing)
        # Every node decodes every batch. Seeds that share nothing do it again each time.
        unpack: Unpack = codec.unpack_batch
        if not plan.codec:
            unpack = cache(codec.unpack_batch)
        setup = NodeSetup(configurations, factory, machines, unpack)
        self.garbler = Garbler(world, setup, voters[0])
        self.network = Network(world, self.garbler)
        self.nodes = [
            SimNode(world, self.network, self.invariants, voter, setup) for voter in voters
        ]
        for node in self.nodes:
            self.network.add(node)
        self.endpoints = {str(node.voter): node for node in self.nodes}

    def start(self) -> None:
        """Start every node."""
        for node in self.nodes:
            node.start()

    def lacking(self, healed: Sequence[SimNode]) -> str:
        """Return what nodes that are healed still owe one another, or nothing."""
        decided = [node.replica.learner.decided_through for node in healed]
        applied = [node.replica.executor.applied_through for node in healed]
        if len({*decided, *applied}) != 1:
            return f"decided through {decided}, applied through {applied}"
        leaders = [str(node.voter) for node in healed if node.leading]
        # A node outside that still reaches all may lead; what one that is cut off thinks is idle.
        outside = any(node.leading for node in self.nodes if node not in healed)
        if len(leaders) > 1 or not (leaders or outside):
            return f"leaders are {leaders}"
        return ""

    def judge(self, healed: Sequence[SimNode]) -> None:
        """See that nodes that lack nothing agree, and that what was chosen can be recovered.

        Raises:
            Violation: They do not, or it cannot.
        """
        digests = {node.replica.digest() for node in healed}
        text = "{} different digests at slot {}"
        slot = healed[0].replica.executor.applied_through
        require(len(digests) == 1, 6, text, len(digests), slot)
        self.invariants.recoverable()
