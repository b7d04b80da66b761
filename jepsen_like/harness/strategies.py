"""How scenarios are drawn, so that Hypothesis can make them smaller.

Each example is a swarm of its own: about half of the kinds of fault are left out of it (Groce et
al., "Swarm Testing", 2012). What a step refers to is drawn without regard to how many nodes and
clients there are, and folded into what there is: with fewer of them the other draws still stand.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import get_args

from hypothesis import strategies as st

from jepsen_like.harness.scenario import (
    CLIENTS_MAX,
    LEADER,
    NODES_MAX,
    WEATHERS,
    Ask,
    ClockJump,
    Cut,
    Kill,
    LevelName,
    Mend,
    Mode,
    Patience,
    Pause,
    PowerCut,
    Read,
    Restart,
    Resume,
    Scenario,
    Shape,
    Snapshot,
    Step,
    Wait,
    Watch,
)

FAULTS = (
    *("snapshot", "restart", "kill", "power cut", "partition", "pause", "clock jump"),
    *WEATHERS,
)
"""Every kind of fault that can be drawn. ``snapshot`` is one too: a state machine that is replaced
by another, made from its snapshot, should not be told from the first."""

_KINDS: tuple[tuple[str, str], ...] = (
    # (step, the fault it belongs to); the simplest first, the frequent ones several times
    *([("ask", "")] * 12),
    *([("read", "")] * 6),
    *([("watch", "")] * 2),
    *([("snapshot", "snapshot")] * 3),
    *([("restart", "restart")] * 2),
    *([("kill", "kill")] * 2),
    ("power cut", "power cut"),
    *([("cut", "partition")] * 2),
    ("mend", "partition"),
    *([("pause", "pause")] * 2),
    ("resume", "pause"),
    ("clock jump", "clock jump"),
    *([("wait", "")] * 2),
)
WAITS_MS = (10, 100, 400, 1500)
JUMPS_S = (1, -1, 3600, -3600, 10**8)

# Steps come in rounds, which may be empty: more of them on average than one list would have.
ROUNDS_MIN, ROUNDS_MAX = 3, 9
ROUND_STEPS_MAX = 10


# Made once: that is half of what a draw costs.
_COIN = st.booleans()
_ANY_CLIENT = st.integers(0, CLIENTS_MAX - 1)
_ANY_NODE = st.integers(0, NODES_MAX)
_SEED = st.integers(0, 255)
_PATIENCE = st.sampled_from(get_args(Patience))
_LEVEL = st.sampled_from(get_args(LevelName))
_SHAPE = st.sampled_from(get_args(Shape))
_MODE = st.sampled_from(get_args(Mode))
_WAIT_MS = st.sampled_from(WAITS_MS)
_JUMP_S = st.sampled_from(JUMPS_S)


@st.composite
def scenarios(
    draw: st.DrawFn,
    commands: st.SearchStrategy[bytes],
    queries: st.SearchStrategy[bytes] | None = None,
    watches: st.SearchStrategy[bytes] | None = None,
    *,
    faults: Collection[str] = FAULTS,
    nodes_max: int = 5,
    clients_max: int = 3,
) -> Scenario:
    """Draw what happens in one example.

    Args:
        draw: Hypothesis hands it in.
        commands: Draws what ``apply`` gets.
        queries: Draws what ``query`` gets, if anything is to be asked.
        watches: Draws what ``watch`` gets, if anything is to be watched.
        faults: Those of ``FAULTS`` that may happen.
        nodes_max: The largest cluster.
        clients_max: The most clients.
    """
    nodes = draw(st.integers(1, nodes_max))
    clients = draw(st.integers(1, clients_max))
    left_out = {fault for fault in FAULTS if fault not in faults or draw(_COIN)}
    asked = {"ask": commands, "read": queries, "watch": watches}
    kinds = [
        kind
        for kind, fault in _KINDS
        if fault not in left_out and asked.get(kind, commands) is not None
    ]
    step = _steps(kinds, asked, nodes, clients)
    round_ = st.lists(step, max_size=ROUND_STEPS_MAX)
    rounds = draw(st.lists(round_, min_size=ROUNDS_MIN, max_size=ROUNDS_MAX))
    return Scenario(
        nodes,
        clients,
        tuple(step for steps in rounds for step in steps),
        tuple(each for each in WEATHERS if each not in left_out and draw(_COIN)),
        draw(_SEED),
    )


@st.composite
def _steps(
    draw: st.DrawFn,
    kinds: Sequence[str],
    asked: dict[str, st.SearchStrategy[bytes] | None],
    nodes: int,
    clients: int,
) -> Step:
    kind = kinds[draw(st.integers(0, len(kinds) - 1))]
    asks = asked.get(kind)
    if asks is not None:
        client = 1 + draw(_ANY_CLIENT) % clients
        text = _only_bytes(draw(asks))
        if kind == "watch":
            return Watch(client, text)
        patience = draw(_PATIENCE)
        if kind == "ask":
            return Ask(client, text, patience)
        return Read(client, text, draw(_LEVEL), patience)
    if kind == "power cut":
        return PowerCut()
    if kind == "mend":
        return Mend()
    if kind == "wait":
        return Wait(draw(_WAIT_MS))
    which = draw(_ANY_NODE)
    node = LEADER if which == NODES_MAX else 1 + which % nodes
    if kind == "cut":
        shape = draw(_SHAPE)
        return Cut(node, shape, draw(_MODE))
    if kind == "clock jump":
        return ClockJump(node, draw(_JUMP_S))
    simple: dict[str, Callable[[int], Step]] = {
        "snapshot": Snapshot,
        "restart": Restart,
        "kill": Kill,
        "pause": Pause,
        "resume": Resume,
    }
    return simple[kind](node)


def _only_bytes(drawn: object) -> bytes:
    if not isinstance(drawn, bytes):
        kind = type(drawn).__qualname__
        raise TypeError(f"commands, queries and watches are bytes, but the strategy drew a {kind}")
    return drawn
