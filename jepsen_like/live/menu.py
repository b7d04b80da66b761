"""The faults that a run can ask for by name: what each may be, and how they take turns.

Owns names, strengths, lengths and pauses. Knows nothing of a running cluster.
"""

# ruff: noqa: ARG001, ARG005 - a draw may look at chance and at the number of nodes, or at neither

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from jepsen_like.live.cluster import NetworkKind
from jepsen_like.live.damage_faults import Damage
from jepsen_like.live.inner_faults import ClockJump, ClockRate, DiskFull, FailedSync, SlowSync
from jepsen_like.live.link_faults import BadWeather, ClientCut, Partition
from jepsen_like.live.member_faults import Churn
from jepsen_like.live.network import Cut, Weather
from jepsen_like.live.process_faults import Kill, KillAll, Pause, RestartStorm
from jepsen_like.live.rot import Aim
from jepsen_like.live.shapes import ONE_WAY, shapes_for
from jepsen_like.live.spells import Fault, Target

Draw = Callable[[random.Random, int], Fault]
"""Draws a fault of a kind, for a cluster of so many nodes."""


def _target(rng: random.Random) -> Target:
    return "leader" if rng.random() < 0.5 else "any"


def _kill_any(rng: random.Random, nodes: int) -> Fault:
    return Kill("any", rng.choice((1, 1, 2)) if nodes >= 5 else 1)


def _partition(rng: random.Random, nodes: int) -> Fault:
    shape = rng.choice(shapes_for(nodes))
    how: Cut = "hold" if shape in ONE_WAY else rng.choice(("hold", "reset"))
    return Partition(shape, how, clients=rng.random() < 0.3)


def _delay(rng: random.Random, nodes: int) -> Fault:
    delay_s = rng.choice((0.02, 0.1, 0.3))
    return BadWeather("delay", Weather(delay_s=delay_s, jitter_s=delay_s), _target(rng))


def _loss(rng: random.Random, nodes: int) -> Fault:
    return BadWeather("loss", Weather(loss=rng.choice((0.02, 0.1, 0.3))), "all")


def _bandwidth(rng: random.Random, nodes: int) -> Fault:
    return BadWeather("bandwidth", Weather(bytes_per_s=rng.choice((2_000, 20_000))), _target(rng))


def _client_cut(rng: random.Random, nodes: int) -> Fault:
    return ClientCut(rng.choice(("hold", "reset")))


def _clock_jump(rng: random.Random, nodes: int) -> Fault:
    return ClockJump(rng.choice((-1, 1)) * round(10 ** rng.uniform(-0.5, 5), 1), _target(rng))


def _clock_rate(rng: random.Random, nodes: int) -> Fault:
    return ClockRate(rng.choice((0.5, 0.8, 1.25, 2.0)), _target(rng))


def _damage(*aims: Aim) -> Draw:
    """Return what draws damage to these, and to some records of decided slots beside them."""

    def draw(rng: random.Random, nodes: int) -> Fault:
        beside: list[Aim] = ["decided"]
        return Damage((*aims, *beside * rng.randint(6, 8)), _target(rng))

    return draw


DRAWS: Mapping[str, Sequence[Draw]] = {
    "kill": (lambda rng, nodes: Kill("leader"), _kill_any),
    "kill-all": (lambda rng, nodes: KillAll(),),
    "restart-storm": (lambda rng, nodes: RestartStorm(_target(rng), rng.randint(2, 4)),),
    "pause": (lambda rng, nodes: Pause(_target(rng)),),
    "failed-sync": (lambda rng, nodes: FailedSync(_target(rng)),),
    "partition": (_partition,),
    "delay": (_delay,),
    "loss": (_loss,),
    "bandwidth": (_bandwidth,),
    "client-cut": (_client_cut,),
    "disk-full": (lambda rng, nodes: DiskFull(_target(rng)),),
    "slow-sync": (lambda rng, nodes: SlowSync(rng.choice((0.02, 0.1, 0.4)), _target(rng)),),
    "clock-jump": (_clock_jump,),
    "clock-rate": (_clock_rate,),
    "churn": (
        lambda rng, nodes: Churn("add"),
        lambda rng, nodes: Churn("add"),
        lambda rng, nodes: Churn("remove", "leader"),
        lambda rng, nodes: Churn("remove"),
        lambda rng, nodes: Churn("replace", "leader"),
        lambda rng, nodes: Churn("replace"),
        lambda rng, nodes: Churn("replace-wiped", _target(rng)),
    ),
    "damage": (
        _damage("decided"),
        _damage("decided"),
        _damage("snapshot", "snapshot"),
        _damage("anywhere", "anywhere"),
        _damage("end"),
    ),
}
"""What each kind may draw. Each draw comes equally often: every second kill is a leader's."""

KINDS: tuple[str, ...] = tuple(DRAWS)
"""Every fault, as a run's options name it."""

LANES: Mapping[str, Sequence[str]] = {
    "processes": ("kill", "kill-all", "restart-storm", "pause", "failed-sync"),
    "links": ("partition", "delay", "loss", "bandwidth", "client-cut"),
    "inside": ("disk-full", "slow-sync", "clock-jump", "clock-rate"),
    "years": ("churn", "damage"),
}
"""Kinds of one lane come one after another; lanes run side by side."""

LENGTHS_S: Mapping[str, tuple[float, float]] = {
    "kill": (0.1, 0.6),
    "kill-all": (0.1, 0.4),
    "restart-storm": (0.0, 0.1),
    "pause": (0.4, 1.4),
    "failed-sync": (0.1, 0.6),
    "partition": (0.5, 1.8),
    "churn": (0.0, 0.2),
    "damage": (0.0, 0.2),
}
"""How long spells last, shortest and longest; of others ``LENGTH_S``."""

LENGTH_S = (0.8, 2.5)
PERIODS_S: Mapping[str, tuple[float, float]] = {
    "processes": (1.1, 1.9),
    "links": (3.5, 6.0),
    "inside": (2.0, 4.0),
    "years": (0.8, 1.6),
}
"""From one spell of a lane to the next, shortest and longest: how fast a run goes on. Processes are
struck most often; a cut that lasts keeps the others from a leader to strike."""

CALM_S = 0.1
"""There is at least this between two spells of a lane, where a busy machine is behind its pace."""

INSIDE_KINDS = frozenset({*LANES["inside"], "failed-sync"})
PROXY_KINDS = frozenset({"delay", "bandwidth"})
DIRECT_KINDS = frozenset(LANES["years"])
"""Nodes come and go under these, and must have one address for all: no link can be cut."""

NODES_MIN = 3
"""Of a cluster that can bear the loss of a node for good."""


def network_for(kinds: Sequence[str], asked: NetworkKind) -> NetworkKind:
    """Return which network a run with these faults has, if it is left to us."""
    return "direct" if asked == "proxy" and not DIRECT_KINDS.isdisjoint(kinds) else asked


def refusal(kinds: Sequence[str], network: NetworkKind, nodes: int = NODES_MIN) -> str:
    """Return why a run of so many nodes cannot have these faults there; empty if it can."""
    for kind in kinds:
        if kind not in DRAWS:
            return f"no fault is called {kind!r}; there are: {', '.join(KINDS)}"
        if kind in DIRECT_KINDS and network != "direct":
            return f"{kind!r} cannot be had with this network: nodes cannot be added to it"
        if kind in DIRECT_KINDS and nodes < NODES_MIN:
            return f"{kind!r} needs {NODES_MIN} nodes: it takes what one of them holds away"
        if kind in LANES["links"] and network == "direct":
            return (
                f"{kind!r} cannot be had where nodes come and go: their links are not in our hands"
            )
        if kind in PROXY_KINDS and network != "proxy":
            return f"{kind!r} needs the proxy network: the packet filter cannot do it"
    return ""


def needs_node_program(kinds: Sequence[str]) -> bool:
    """Return whether faults of these kinds need nodes with fault points."""
    return any(kind in INSIDE_KINDS for kind in kinds)
