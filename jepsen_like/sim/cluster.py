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
from jepsen_like.sim.node import SimNode
from jepsen_like.sim.setup import NodeSetup, ReplicaFactory
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
        founding = Configuration(1, quorums, feature=plan.feature)
        configurations = Configurations(founding, plan.alpha)
        self.invariants = Invariants(configurations, machines(), plan.limits, plan.timing)
        # Every node decodes every batch. Seeds that share nothing do it again each time.
        unpack: Unpack = codec.unpack_batch
        if not plan.codec:
            unpack = cache(codec.unpack_batch)
        self.setup = NodeSetup(founding, plan.alpha, factory, machines, unpack)
        self.garbler = Garbler(world, self.setup, voters[0])
        self.network = Network(world, self.garbler)
        self.nodes = [
            SimNode(world, self.network, self.invariants, voter, self.setup) for voter in voters
        ]
        for node in self.nodes:
            self.network.add(node)
        self._last = plan.nodes  # the highest id given out
        self.endpoints = {str(node.voter): node for node in self.nodes}

    def start(self) -> None:
        """Start every node."""
        for node in self.nodes:
            node.start()

    def join(self, incarnation: int, witness: bool) -> SimNode:
        """Add a node, under an id that nobody ever had, that is not started yet."""
        self._last += 1
        voter = Voter(self._last, incarnation)
        node = SimNode(self.world, self.network, self.invariants, voter, self.setup, witness)
        self.network.add(node)
        self.nodes.append(node)
        self.endpoints[str(voter)] = node
        return node

    def retire(self, node: SimNode) -> None:
        """Let a node be gone for ever."""
        node.retire()
        self.nodes.remove(node)

    def lacking(self, healed: Sequence[SimNode]) -> str:
        """Return what nodes that are healed still owe one another, or nothing."""
        latest = self.invariants.timeline.latest
        members = [node for node in healed if node.voter in latest.everyone]
        decided = [node.replica.learner.decided_through for node in members]
        keepers = [node for node in members if not node.witness]
        applied = [node.replica.executor.applied_through for node in keepers]
        if len({*decided, *applied}) != 1:
            return f"decided through {decided}, applied through {applied}"
        if decided[0] + 1 < self.invariants.timeline.latest_first:
            return f"version {latest.version} does not govern yet"
        versions = [node.configurations.latest.version for node in members]
        if set(versions) != {latest.version}:
            return f"the latest configurations are {versions}, not {latest.version}"
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
        everyone = self.invariants.timeline.latest.everyone
        keepers = [node for node in healed if node.voter in everyone and not node.witness]
        digests = {node.replica.digest() for node in keepers}
        text = "{} different digests at slot {}"
        slot = keepers[0].replica.executor.applied_through
        require(len(digests) == 1, 6, text, len(digests), slot)
        self.invariants.recoverable()
