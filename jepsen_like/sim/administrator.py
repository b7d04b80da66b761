"""A simulated administrator: it carries out tasks by asking the cluster, one after another.

It dials a node, asks, follows redirects, and asks the same again wherever the answer was lost: a
change bears its version, so that does no harm. Once it is told that a removal is done it wipes the
machine at once, as that is what was promised. It sees what a person sees: which nodes answer, and
what they say; only what may be asked of a cluster without ruining it, it knows from the atlas.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import replace

from jepsen_like.sim.atlas import Atlas
from jepsen_like.sim.changes import Maker
from jepsen_like.sim.client_link import ClientLink
from jepsen_like.sim.cluster import Cluster
from jepsen_like.sim.node import SimNode
from jepsen_like.sim.plan import JOINERS_MAX
from jepsen_like.sim.streams import stream
from paxos.core.config import Configuration
from paxos.core.messages import (
    AdminAnswer,
    AdminMessage,
    ClientAnswer,
    Reconfigure,
    Redirect,
    SnapshotOffer,
    Status,
    TakeSnapshot,
    TransferLeader,
)

Ask = Maker | TransferLeader | TakeSnapshot
"""What a task asks for: a change, made from what the asked node knows, or something else."""

Task = Generator[Ask, bool, None]
"""Yields what is asked, and is sent whether it was done."""

TASKS_MAX = 6
"""Tasks that wait. More are forgotten."""

REFUSALS_MAX = 2
"""After so many times "no" a task is given up."""

PATIENCE_TIMEOUTS = 15.0
"""A node that has not answered for so many election timeouts is left. A leader that finds that a
change cannot be made says so after ten."""

OUTSIDE_SHARE = 0.5
"""How often it asks a node that is said to lead, whether that is one of those that must answer."""

PAUSE_S = 0.05
"""Longest pause before the next node is dialled."""


class Administrator:
    """One person with a list of tasks.

    Args:
        cluster: What is administered.
        atlas: Says what the cluster can bear.

    Attributes:
        steps: How many things were asked and answered.
        requested: Every configuration that was ever asked for.
    """

    def __init__(self, cluster: Cluster, atlas_of: Callable[[Administrator], Atlas]) -> None:
        self.steps = 0
        self.requested: list[Configuration] = []
        self.link: ClientLink | None = None
        self.garbler = None
        self.garbling = stream(cluster.world.seed, "administrator's corruption")
        self.atlas = atlas_of(self)
        self.marks = cluster.invariants.marks
        self.cluster = cluster
        self._world = cluster.world
        self._rng = stream(cluster.world.seed, "administrator")
        self._waiting: deque[tuple[Callable[[], Task], Callable[[], None]]] = deque()
        self._task: Task | None = None
        self._on_done: Callable[[], None] = _nothing
        self._ask: Ask | None = None
        self._message: AdminMessage | None = None
        self._refusals = 0
        self._number = 0
        self._attempt = 0
        self._hint = 0  # the node that is said to lead
        self._joiners = 0
        self._ending = False
        self._reachable: Collection[SimNode] | None = None

    @property
    def busy(self) -> bool:
        """Whether an answer is waited for."""
        return self._task is not None

    def at_stake(self) -> list[Configuration]:
        """Return every configuration that was asked for and may yet be."""
        latest = self.cluster.invariants.timeline.latest.version
        return [each for each in self.requested if each.version > latest]

    # --- tasks ---

    def take(self, begin: Callable[[], Task], on_done: Callable[[], None]) -> bool:
        """Put a task on the list. ``on_done`` is called for each thing of it that was done."""
        if self._ending or len(self._waiting) >= TASKS_MAX:
            return False
        self._waiting.append((begin, on_done))
        if self._task is None:
            self._next_task()
        return True

    def finish(self, reachable: Sequence[SimNode]) -> None:
        """Begin nothing more; see to it that what was asked is answered, by these nodes.

        What was not asked yet is not: a change made now might need what was not healed.
        """
        self._ending = True
        self._reachable = reachable
        self._waiting.clear()
        self._hang_up()  # where it was dialled but not asked, nothing is asked any more
        if self._message is None:
            self._task = None
        if self._task is not None:
            self._dial_soon()

    def _next_task(self) -> None:
        self._task = None
        if self._waiting:
            begin, self._on_done = self._waiting.popleft()
            self._task = begin()
            self._go_on(None)

    def _go_on(self, done: bool | None) -> None:
        """Let the task say what it asks next."""
        task = self._task
        if task is None:
            return
        try:
            self._ask = next(task) if done is None else task.send(done)
        except StopIteration:
            self._world.after(0.0, self._next_task)
            self._task = None
            return
        if self._ending:
            task.close()
            self._task = None
            return
        self._message = None
        self._refusals = 0
        self._dial_soon()

    # --- machines ---

    def new_machine(self, rng: random.Random, witness: bool = False) -> SimNode | None:
        """Make a data directory, and start a node on it that nobody knows yet."""
        if self._joiners >= JOINERS_MAX:
            return None
        self._joiners += 1
        node = self.cluster.join(rng.getrandbits(60), witness)
        node.start()
        return node

    def wipe(self, node: SimNode) -> None:
        """Wipe a machine that was removed, this moment."""
        self.marks.hit("machine was wiped right after its removal")
        if node.lost:
            self.marks.hit("lost node was replaced")
        self._world.effects["machine wiped"] += 1
        self.cluster.retire(node)

    # --- asking ---

    def _dial_soon(self) -> None:
        self._attempt += 1
        self._world.after(self._rng.random() * PAUSE_S, self._dial, self._attempt)

    def _dial(self, attempt: int) -> None:
        if attempt != self._attempt or self._task is None:
            return
        nodes = self.cluster.nodes if self._reachable is None else list(self._reachable)
        members = {m.node for m in self.cluster.invariants.timeline.latest.members}
        known = [n for n in nodes if n.voter.node in members and not n.retired] or list(nodes)
        # Whoever leads may stand outside what was healed, and answer or not.
        outside = self._hint and self._rng.random() < OUTSIDE_SHARE
        hinted = [
            node
            for node in (self.cluster.nodes if outside else known)
            if node.voter.node == self._hint and not node.retired
        ]
        node = self._rng.choice(hinted or known)
        self._hint = 0
        self.link = ClientLink(self._world, self._rng, self, node)
        self.link.dial(True)
        patience = PATIENCE_TIMEOUTS * self._world.plan.timing.election_timeout_s
        self._world.after(patience, self._give_up, self._attempt)

    def _give_up(self, attempt: int) -> None:
        if attempt == self._attempt and self._task is not None:
            self._hang_up()
            self._dial_soon()

    def _hang_up(self) -> None:
        link, self.link = self.link, None
        if link is not None:
            link.close()

    def connected(self, link: ClientLink) -> None:
        """A node that was dialled is there: ask it."""
        ask = self._ask
        self._number += 1
        if self._message is None:
            self._message = self._compose(ask, link.node)
        message = self._message
        if message is None:
            self._hang_up()
            self._answered(False)
            return
        message = replace(message, number=self._number)
        if self._world.tracing:
            self._world.say(f"admin . -> {link.node.voter} {message}")
        link.transmit(message)

    def _compose(self, ask: Ask | None, node: SimNode) -> AdminMessage | None:
        if isinstance(ask, TransferLeader | TakeSnapshot):
            return ask
        if ask is None:
            return None
        configuration = ask(node.configurations.latest)
        if configuration is None or not self.atlas.bears(configuration):
            return None
        self.requested.append(configuration)
        return Reconfigure(self._number, configuration)

    def disconnected(self, link: ClientLink) -> None:
        """The connection broke, or could not be made: ask elsewhere."""
        if self.link is link:
            self.link = None
            self._dial_soon()

    def receive(self, link: ClientLink, message: ClientAnswer) -> None:
        """An answer came."""
        if self.link is not link:
            return
        if self._world.tracing:
            self._world.say(f"admin | {link.node.voter} -> {message}")
        if isinstance(message, Redirect):
            self._hint = message.leader
            self._hang_up()
            self._dial_soon()
        elif isinstance(message, SnapshotOffer):
            self._hang_up()
            self._answered(True)
        elif isinstance(message, AdminAnswer) and message.number == self._number:
            self._hang_up()
            if message.status == Status.DONE:
                self._answered(True)
            else:
                self._refused()

    def _refused(self) -> None:
        """Make the change anew, from what is the latest by now, or let it be."""
        self._refusals += 1
        if self._refusals < REFUSALS_MAX and callable(self._ask) and not self._ending:
            self._message = None
            self._dial_soon()
        else:
            self._answered(False)

    def _answered(self, done: bool) -> None:
        self.steps += 1
        self._attempt += 1
        if done:
            self._on_done()
        self._go_on(done)


def _nothing() -> None:
    """Nobody wants to know."""
