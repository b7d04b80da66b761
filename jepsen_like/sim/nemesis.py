"""The nemesis: what goes wrong, when, and for how long.

Spells follow one another, and overlap, while faults last; each fault counts what it changed, so
that a nemesis that does nothing shows. It draws from a stream of its own, so that what the cluster
does cannot change what is done to it. It knows nodes, links and clocks, and nothing of the protocol
but who seems to lead.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from jepsen_like.sim.client import SimClient
from jepsen_like.sim.network import Network, Pair
from jepsen_like.sim.node import SimNode
from jepsen_like.sim.plan import CUT_MODES, SHAPES, SPELLS
from jepsen_like.sim.world import World

Undo = Callable[[], None]


class Nemesis:
    """Brings the faults that a seed's plan enables, and undoes them.

    Args:
        world: Time and chance.
        network: What it cuts.
        nodes: What it stops, in order of id.
        clients: Whom it cuts off.
    """

    def __init__(
        self,
        world: World,
        network: Network,
        nodes: Sequence[SimNode],
        clients: Sequence[SimClient],
    ) -> None:
        self._world = world
        self._plan = world.plan
        self._network = network
        self._nodes = nodes
        self._clients = clients
        self._rng = random.Random(world.seed * 1000 + 999)
        self._active = True
        self._undo: dict[int, Undo] = {}  # spells under way, by number
        self._spells = 0
        self._begin = {
            "partition": self._partition,
            "one way": self._one_way,
            "crash": self._crash,
            "power cut": self._power_cut,
            "crash all": self._crash_all,
            "dying leader": self._dying_leader,
            "sleeping leader": self._sleeping_leader,
            "sync failure": self._sync_failure,
            "pause": self._pause,
            "clock jump": self._clock_jump,
            "slow sync": self._slow_sync,
            "disk full": self._disk_full,
            "disconnect": self._disconnect,
            "client cut": self._client_cut,
        }
        self._enabled = [name for name in SPELLS if name in self._plan.faults]
        if "dying leader" in self._enabled:  # the others' luck depends on what it had in flight
            self._enabled.append("dying leader")

    def start(self) -> None:
        """Let the first spell come."""
        if self._enabled:
            self._world.after(self._rng.expovariate(1 / self._plan.calm_s), self._next)

    def _next(self) -> None:
        if not self._active:
            return
        name = self._rng.choice(self._enabled)
        length = self._plan.spell_s * (0.2 + self._rng.random() * 1.6)
        undo = self._begin[name]()
        if undo is not None:
            self._spells += 1
            self._undo[self._spells] = undo
            self._world.after(length, self._end, self._spells)
            if self._world.tracing:
                self._world.say(f"nemesis: spell {self._spells}, {name}, for {length:.3f} s")
        self._world.after(self._rng.expovariate(1 / self._plan.calm_s), self._next)

    def _end(self, spell: int) -> None:
        undo = self._undo.pop(spell, None)
        if undo is not None:
            if self._world.tracing:
                self._world.say(f"nemesis: spell {spell} ends")
            undo()

    def heal(self, abandoned: Sequence[SimNode]) -> None:
        """End every spell for good; ``abandoned`` nodes go down and stay down."""
        self._active = False
        for spell in list(self._undo):
            self._end(spell)
        self._network.heal()
        for node in self._nodes:
            node.sync_fails = False
            node.at_write = None
            node.resume()
            if node in abandoned:
                if node.up:
                    node.crash(power_cut=True)
            elif not node.up:
                node.start()

    # --- links ---

    def _partition(self) -> Undo | None:
        if len(self._nodes) < 2:
            return None
        shape, mode = self._rng.choice(SHAPES), self._rng.choice(CUT_MODES)
        links = self._shape(shape)
        return self._cut(links, mode)

    def _one_way(self) -> Undo | None:
        if len(self._nodes) < 2:
            return None
        everyone = [node.voter.node for node in self._nodes]
        one = self._leader_or_any().voter.node
        inward = self._rng.random() < 0.5
        others = [n for n in everyone if n != one and self._rng.random() < 0.7]
        links = [(n, one) if inward else (one, n) for n in others]
        return self._cut(links, self._rng.choice(("drop", "hold")))

    def _cut(self, links: list[Pair], mode: str) -> Undo:
        self._network.cut(links, mode)
        return lambda: self._network.mend(links, mode)

    def _shape(self, shape: str) -> list[Pair]:
        ids = [node.voter.node for node in self._nodes]
        self._rng.shuffle(ids)
        if shape == "halves":
            return _between(ids[: len(ids) // 2], ids[len(ids) // 2 :])
        if shape == "minority":
            size = self._rng.randint(1, max(1, (len(ids) - 1) // 2))
            return _between(ids[:size], ids[size:])
        if shape == "leader":
            leader = self._leader_or_any().voter.node
            return _between([leader], [n for n in ids if n != leader])
        if shape == "bridge":
            half = (len(ids) - 1) // 2
            return _between(ids[1 : 1 + half], ids[1 + half :])
        if shape == "ring":
            near = {(a, b) for a, b in zip(ids, ids[1:] + ids[:1], strict=True)}
            return [(a, b) for a, b in _all(ids) if (a, b) not in near and (b, a) not in near]
        hub = ids[0]
        return [(a, b) for a, b in _all(ids) if hub not in (a, b)]

    def _disconnect(self) -> Undo | None:
        ids = [node.voter.node for node in self._nodes]
        for pair in _all(ids):
            if pair[0] < pair[1] and self._rng.random() < 0.5 and self._network.break_pair(pair):
                self._world.effects["disconnect"] += 1
        return None

    def _client_cut(self) -> Undo | None:
        client = self._rng.choice(self._clients)
        node = self._rng.choice(self._nodes)
        endpoint = str(node.voter)
        client.unreachable.add(endpoint)
        link = client.link
        if link is not None and (link.node is node or self._rng.random() < 0.5):
            if self._rng.random() < 0.5:
                link.freeze()
            elif link.open:
                self._world.effects["client cut"] += 1
                link.break_off()

        def undo() -> None:
            client.unreachable.discard(endpoint)
            if link is not None:
                link.thaw()

        return undo

    # --- processes ---

    def _leader_or_any(self) -> SimNode:
        leaders = [node for node in self._nodes if node.leading]
        if leaders and self._rng.random() < 0.7:
            return self._rng.choice(leaders)
        return self._rng.choice(self._nodes)

    def _crash(self) -> Undo | None:
        return self._down([self._leader_or_any()], power_cut=False)

    def _power_cut(self) -> Undo | None:
        count = self._rng.randint(1, max(1, len(self._nodes) // 2))
        return self._down(self._rng.sample(self._nodes, count), power_cut=True)

    def _crash_all(self) -> Undo | None:
        return self._down(self._nodes, power_cut=self._rng.random() < 0.5)

    def _sleeping_leader(self) -> Undo | None:
        """Stop a leader until another leads, and let its clients reach it before its peers do."""
        leaders = [node for node in self._nodes if node.leading and not node.paused]
        if not leaders or len(self._nodes) < 2:
            return None
        node = self._rng.choice(leaders)
        number, life = node.voter.node, node.life
        others = [other.voter.node for other in self._nodes if other is not node]
        mend = self._cut(_between([number], others), self._rng.choice(("drop", "hold")))
        node.pause()
        self._world.effects["pause"] += 1

        def wake() -> None:
            if node.life == life:
                node.resume()

        timeout = self._plan.timing.election_timeout_s
        slept = timeout * self._rng.uniform(1.5, 5.0)
        self._world.after(slept, wake)
        self._world.after(slept + 0.2 * timeout, mend)
        return None

    def _dying_leader(self) -> Undo | None:
        """Lose what a leader sends, let what it sends next pass, and stop it.

        Its successor finds holes below what passed.
        """
        leaders = [node for node in self._nodes if node.leading]
        if not leaders:
            return None
        node = self._rng.choice(leaders)
        number, life = node.voter.node, node.life
        self._network.lose(number, 0.9)
        shortest, mean = self._plan.latency_s
        resend = self._plan.timing.resend_interval_s  # both end before anything is sent again
        lossy = resend * self._rng.uniform(0.1, 0.4)
        clear = resend * self._rng.uniform(0.1, 0.5) + shortest + mean

        def strike() -> None:
            if self._active and node.life == life:
                undo = self._strike([node], self._rng.random() < 0.5)
                self._world.after(self._plan.spell_s * (0.5 + self._rng.random()), undo)

        self._world.after(lossy, self._network.lose, number, 0.0)
        self._world.after(lossy + clear, strike)
        return None

    def _down(self, nodes: Sequence[SimNode], power_cut: bool) -> Undo | None:
        """Stop nodes: at once, or in the middle of the next write of one of them."""
        struck = [node for node in nodes if node.up]
        if not struck:
            return None
        if self._rng.random() < 0.4:
            return self._strike(struck, power_cut)
        trigger = self._rng.choice(struck)

        def strike() -> None:
            if self._active:
                self._strike(struck, power_cut)

        def undo() -> None:
            if trigger.at_write is strike:
                trigger.at_write = None
            self._restart_soon(struck)

        trigger.at_write = strike
        return undo

    def _strike(self, nodes: Sequence[SimNode], power_cut: bool) -> Undo:
        """Stop nodes now."""
        struck = [node for node in nodes if node.up]
        for node in struck:
            self._world.effects["crash"] += 1
            self._world.effects["lost writes"] += node.crash(power_cut)
        if self._rng.random() < 0.3:  # they have a supervisor
            self._restart_soon(struck)
        return lambda: self._restart_soon(struck)

    def _restart_soon(self, nodes: Sequence[SimNode]) -> None:
        for node in nodes:
            self._world.after(self._rng.random() * 0.2, self._restart, node, node.life)

    def _restart(self, node: SimNode, life: int) -> None:
        if self._active and not node.up and node.life == life:
            node.start()

    def _sync_failure(self) -> Undo | None:
        node = self._leader_or_any()
        node.sync_fails = True

        def undo() -> None:
            node.sync_fails = False
            if not node.up:
                self._restart(node, node.life)

        return undo

    def _pause(self) -> Undo | None:
        node = self._leader_or_any()
        if not node.up or node.paused:
            return None
        life = node.life
        node.pause()
        self._world.effects["pause"] += 1

        def undo() -> None:
            if node.life == life:
                node.resume()

        return undo

    # --- clocks and disks ---

    def _clock_jump(self) -> Undo | None:
        clock = self._rng.choice(self._nodes).clock
        jump = self._rng.choice((-1, 1)) * int(10 ** self._rng.uniform(3, 10))
        clock.wall_error_us += jump
        self._world.effects["clock jump"] += 1
        return None

    def _slow_sync(self) -> Undo | None:
        node = self._leader_or_any()
        if node.slow != 1.0:
            return None
        node.slow = self._rng.choice((10.0, 100.0))
        self._world.effects["slow sync"] += 1

        def undo() -> None:
            node.slow = 1.0

        return undo

    def _disk_full(self) -> Undo | None:
        node = self._leader_or_any()
        if not node.up or node.facts.full:
            return None
        self._world.effects["disk full"] += 1
        node.disk_full(True)
        return lambda: node.disk_full(False)


def _all(ids: Sequence[int]) -> list[Pair]:
    return [(a, b) for a in ids for b in ids if a != b]


def _between(left: Sequence[int], right: Sequence[int]) -> list[Pair]:
    return [link for a in left for b in right for link in ((a, b), (b, a))]
