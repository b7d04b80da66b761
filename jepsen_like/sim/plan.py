"""Swarm: what one seed's run looks like, drawn before it begins.

Each seed enables its own subset of faults, with its own strengths, cluster and timing. A run in
which everything goes wrong at once hides bugs: a fault that is missing is as telling as one that
is there (Groce et al., "Swarm Testing", 2012). Pure data; it never touches a cluster.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from paxos.core.config import FEATURE, FEATURE_FIRST
from paxos.core.limits import Limits, Timing

SPELLS = (
    *("partition", "one way", "disconnect", "client cut", "slow link", "clogged link"),
    *("kill", "power cut", "kill all", "pause", "sleeping leader", "stale leader"),
    *("dying leader", "dying leaders", "dying candidate"),
    *("failed sync", "slow sync", "disk full", "bit rot", "wiped disk", "second process"),
    *("clock jump", "time jump"),
)
"""Faults that begin and end."""

CHURN = (
    *("add member", "remove member", "replace member", "add witness", "change quorums"),
    *("transfer leader", "take snapshot"),
)
"""What an administrator is told to do, as spells. No faults: each ends in a yes or a no."""

PROFILES = ("swarm", "churn", "tasks")
"""What seeds are drawn for: anything; clusters whose members come and go all the time; the task
log instead of the registers."""

CHURN_SHARE = 0.3
"""Of all seeds that can: their members come and go."""

JOINERS_MAX = 8
"""New nodes in one run."""

SNAPSHOT_SHARE = 0.6
"""Of all seeds that can: their snapshots are due all the time."""

FIRST_FEATURE_SHARE = 0.1
"""Of all seeds: their clusters were founded by a release before snapshots and changes."""

DRAW_OFTEN = ("dying leader", "bit rot")
"""Spells drawn once more: their effect depends on what their target had in flight."""

SOUGHT = (
    *("partition", "sleeping leader", "stale leader", "dying leader", "dying leaders"),
    "dying candidate",
)
"""Spells that are worth a run that has little else."""

ROT = ("bit rot",)

BESIDE_ROT = ("partition", "disconnect", "kill", "dying leader", "pause", "time jump")
"""What makes others lead, who then ask those that have lost a part of what they accepted."""

REAL_LOG_ONLY = (*ROT, "second process")
"""Spells that need the log that ships: a list of records neither rots nor is locked."""

BACKGROUND = (
    *("loss", "duplication", "delay", "reordering", "late replay", "corruption"),
    "clock rate",
)
"""Faults that may strike every message, or every clock, while faults last."""

EFFECTS = (
    *("loss", "duplication", "delay", "reordering", "late replay", "corruption", "partition"),
    *("disconnect", "slow link", "clogged link", "full outbox", "client cut", "kill"),
    *("lost writes", "failed sync", "slow sync", "disk full", "bit rot", "wiped disk"),
    *("second process", "pause", "clock jump", "time jump", "clock rate"),
    *("snapshot saved", "snapshot fetched", "member added", "member removed"),
    *("member replaced", "witness added", "quorums changed", "leader transferred"),
    *("snapshot taken", "machine wiped"),
)
"""What faults change, in the order in which it is told. A partition may be one-way."""

SHAPES = ("halves", "minority", "leader", "bridge", "ring", "star")
"""Forms of a partition. The last three leave each node with some links but not all."""

CUT_MODES = ("drop", "hold", "break")
"""What a cut link does: lose frames silently, keep them until it heals, or break the connection."""


REAL_LOG_SHARE = 0.2
"""Of all seeds: their nodes are slower to simulate, and fail in more ways."""

LATENCY_MAX = 0.05
"""Mean of what is added to the shortest latency, in election timeouts. One that is not well above
the slowest round trip makes leaders come and go without any fault."""

RECORDED_SHARE = 0.1

REAL_LOG_LIMITS = Limits(submission_bytes_max=8_192, batch_bytes_max=8_192)


@dataclass(frozen=True, slots=True)
class Plan:
    """One seed's draw. Durations are in seconds of virtual time, rates are per message.

    Attributes:
        nodes: Voters, 1 to 7.
        phase1: Size of a phase-1 quorum.
        phase2: Size of a phase-2 quorum.
        alpha: Slots in flight.
        limits: The core's bounds, sometimes tiny so that they bind.
        timing: The core's durations.
        codec: Whether every frame and record goes through bytes, so that nothing is shared.
        inline_sync: Whether a node does nothing else while it syncs.
        sync_s: (shortest, longest) write and sync.
        latency_s: (shortest, mean of what is added).
        clients: How many.
        outstanding: Operations a client keeps in flight.
        burst: Most commands that a worker submits before it waits.
        spacing_s: Between two commands of a burst; 0 to submit them together.
        think_s: Mean pause between two operations of a worker (a client has ``outstanding``).
        reads: Share of operations that read.
        watchers: Clients that also watch a list, and the edge configuration if there is one.
        edge_config: Whether the cluster hosts an edge configuration beside the registers.
        keys: How many.
        impatient: Share of operations with a deadline short enough to pass.
        faults: The enabled ones, in a fixed order.
        churn: What administrators are told to do now and then, in a fixed order.
        churn_s: Mean time between two such tasks.
        loss, duplication, spikes, overtaking, replays, corruption: Rates.
        drift: Largest relative error of a clock's speed.
        calm_s: Mean time between two spells.
        spell_s: Mean length of a spell.
        outbox_bytes: What a sender keeps for a peer that takes nothing; above it, it drops.
        real_log: Whether nodes write the log that ships, to a simulated file system.
        feature: What the cluster is founded with: 1 has no snapshots and no changes of membership.
        beyond: Whether damage may leave no quorum, so that nothing can be known any more.
        permanent: Whether only a quorum heals in the end, and faults outside it stay for ever.
        recorded: Whether what clients saw is judged by the linearizability checker too.
        faults_s: Shortest and longest time that faults last; in between they end when both of the
            following are reached.
        deliveries: So many messages handed over. They end in any case after half as many more.
        commands: So many commands completed; the healed cluster goes on until they are, or until
            a few times as many operations were begun.
        task_log: Whether clients ask a task log, and nothing else.
    """

    nodes: int
    phase1: int
    phase2: int
    alpha: int
    limits: Limits
    timing: Timing
    codec: bool
    inline_sync: bool
    sync_s: tuple[float, float]
    latency_s: tuple[float, float]
    clients: int
    outstanding: int
    burst: int
    spacing_s: float
    think_s: float
    reads: float
    watchers: int
    edge_config: bool
    keys: int
    impatient: float
    faults: tuple[str, ...]
    churn: tuple[str, ...]
    churn_s: float
    loss: float
    duplication: float
    spikes: float
    overtaking: float
    replays: float
    corruption: float
    drift: float
    calm_s: float
    spell_s: float
    outbox_bytes: int
    real_log: bool
    feature: int
    beyond: bool
    permanent: bool
    recorded: bool
    faults_s: tuple[float, float]
    deliveries: int
    commands: int
    task_log: bool = False


def draw_plan_of(profile: str, seed: int) -> Plan:
    """Return what a seed's run looks like in one of ``PROFILES``."""
    plan = draw_plan(seed)
    if profile == "tasks":
        # Too many tasks for what a session may have open, or a node may store, prove little.
        return replace(plan, task_log=True, beyond=False, edge_config=False, watchers=0)
    return _churning(seed, plan) if profile == "churn" else plan


def _churning(seed: int, plan: Plan) -> Plan:
    rng = random.Random(seed * 7919 + 1)
    timeout = plan.timing.election_timeout_s
    churn = tuple(name for name in CHURN if rng.random() < 0.7) or CHURN
    pace = timeout * rng.choice((0.5, 1.0, 3.0))
    return replace(plan, feature=FEATURE, churn=churn, churn_s=pace, beyond=False)


def draw_plan(seed: int) -> Plan:
    """Return what a seed's run looks like."""
    plan = _draw_any(seed)
    return _rotting(plan) if plan.faults[:1] == ROT else plan


def _rotting(plan: Plan) -> Plan:
    """Rot is worth most where slots are open when it strikes: often, and with many in flight."""
    return replace(plan, alpha=max(plan.alpha, 4), calm_s=plan.calm_s * 0.4, deliveries=1_800)


def _draw_any(seed: int) -> Plan:
    rng = random.Random(seed * 7919)
    nodes = rng.choices((1, 2, 3, 4, 5, 6, 7), (2, 4, 42, 14, 28, 5, 5))[0]
    phase1, phase2 = _draw_quorums(rng, nodes)
    timing = _draw_timing(rng, nodes)
    real_log = rng.random() < REAL_LOG_SHARE
    faults = _draw_faults(rng, real_log)
    feature = FEATURE_FIRST if rng.random() < FIRST_FEATURE_SHARE else FEATURE
    churn = _draw_churn(rng, feature)
    clients, outstanding, burst = rng.randint(2, 5), rng.choice((1, 2, 4)), rng.choice((1, 3, 8))
    rate_s = (
        rng.choice((25.0, 50.0, 100.0)) / timing.election_timeout_s
    )  # operations a second that clients try for
    shortest = rng.choice((0.0005, 0.004, 0.015))
    sync = rng.choice((0.0005, 0.002, 0.01))

    def rate(fault: str, *choices: float) -> float:
        return rng.choice(choices) if fault in faults else 0.0

    return Plan(
        nodes=nodes,
        phase1=phase1,
        phase2=phase2,
        alpha=rng.choice((1, 2, 4, 8, 32)),
        limits=_draw_snapshots(rng, _draw_limits(rng, real_log)),
        timing=timing,
        codec=rng.random() < 0.2,
        inline_sync=rng.random() < 0.5,
        sync_s=(sync * rng.choice((0.2, 1.0)), sync),
        latency_s=(
            shortest,
            min(shortest * rng.choice((0.2, 1.0, 3.0)), LATENCY_MAX * timing.election_timeout_s),
        ),
        clients=clients,
        outstanding=outstanding,
        burst=burst,
        spacing_s=rng.choice((0.0, sync)),
        think_s=clients * outstanding * (1 + burst) / 2 / rate_s,
        reads=rng.choice((0.1, 0.25, 0.4)),
        watchers=rng.choice((0, 0, 1, 2)),
        edge_config=rng.random() < 0.25,
        keys=rng.choice((1, 2, 5)),
        impatient=rng.choice((0.0, 0.05, 0.2)),
        faults=faults,
        churn=churn,
        churn_s=timing.election_timeout_s * rng.choice((1.0, 3.0, 6.0)),
        loss=rate("loss", 0.01, 0.05, 0.2),
        duplication=rate("duplication", 0.02, 0.1),
        spikes=rate("delay", 0.01, 0.05),
        overtaking=rate("reordering", 0.05, 0.3),
        replays=rate("late replay", 0.01, 0.03),
        corruption=rate("corruption", 0.002, 0.01),
        drift=rate("clock rate", 0.001, 0.05, 0.3),
        calm_s=timing.election_timeout_s * rng.choice((0.7, 1.5, 3.0)),
        spell_s=timing.election_timeout_s * rng.choice((0.5, 1.0, 2.0)),
        outbox_bytes=rng.choice((500, 5_000, 50_000)),
        real_log=real_log,
        feature=feature,
        beyond=rng.random() < 0.1 and not churn,
        permanent=rng.random() < 0.6,
        recorded=rng.random() < RECORDED_SHARE,
        faults_s=(8 * timing.election_timeout_s, 30 * timing.election_timeout_s),
        deliveries=1_000 if churn else 1_350,
        commands=200,
    )


def _draw_quorums(rng: random.Random, nodes: int) -> tuple[int, int]:
    majority = nodes // 2 + 1
    if rng.random() < 0.75:
        return majority, majority
    phase2 = rng.randint(1, nodes)
    return min(nodes, nodes - phase2 + 1 + rng.choice((0, 0, 1))), phase2


def _draw_timing(rng: random.Random, nodes: int) -> Timing:
    """Many nodes send many heartbeats: they get longer intervals, to spend a run on more."""
    election = rng.choice((0.3, 0.5, 1.0) if nodes < 5 else (0.7, 1.2))
    return Timing(
        heartbeat_interval_s=election / rng.choice((2.5, 4)),
        election_timeout_s=election,
        resend_interval_s=election * rng.choice((0.2, 0.4)),
        notice_interval_s=rng.choice((0.005, 0.02, 0.05)),
    )


def _draw_limits(rng: random.Random, real_log: bool) -> Limits:
    # A node always has room for a batch on disk: segments of the size of a run want small ones.
    defaults = REAL_LOG_LIMITS if real_log else Limits()
    return replace(
        defaults,
        batch_bytes_max=rng.choice((200, defaults.batch_bytes_max)),
        pending_bytes_max=rng.choice((600, 4000, *[defaults.pending_bytes_max] * 3)),
        promise_bytes_max=rng.choice((300, 2000, defaults.promise_bytes_max)),
        sessions_max=rng.choice((3, *[defaults.sessions_max] * 4)),
        session_requests_max=rng.choice((4, *[defaults.session_requests_max] * 4)),
        reads_max=rng.choice((2, *[defaults.reads_max] * 4)),
    )


def _draw_snapshots(rng: random.Random, limits: Limits) -> Limits:
    """Snapshots all the time and little kept, mostly; or as rarely as the defaults have it."""
    tiny = rng.random() < SNAPSHOT_SHARE
    entries, kept = rng.randint(3, 50), rng.choice((0, 0, 1, 5, 20))
    log_bytes, chunk = rng.choice((2_000, 10_000, 10**9)), rng.choice((64, 300, 4_000))
    if not tiny:
        return limits
    return replace(
        limits,
        snapshot_entries=entries,
        snapshot_log_bytes=log_bytes,
        kept_entries=kept,
        kept_bytes=rng.choice((500, limits.kept_bytes)),
        snapshot_chunk_bytes=chunk,
    )


def _draw_churn(rng: random.Random, feature: int) -> tuple[str, ...]:
    """Usually about half of it, or one thing again and again; in most seeds none."""
    chance, one = rng.random(), rng.choice(CHURN)
    some = tuple(name for name in CHURN if rng.random() < 0.6)
    if feature == FEATURE_FIRST or chance >= CHURN_SHARE:
        return ()
    return (one,) if chance < 0.2 * CHURN_SHARE else some


def _draw_faults(rng: random.Random, real_log: bool) -> tuple[str, ...]:
    """Usually about half of all faults; often one again and again; rarely none."""
    spells = [name for name in SPELLS if real_log or name not in REAL_LOG_ONLY]
    chance = rng.random()
    if chance < 0.02:
        return ()
    if chance < 0.3:
        rotting = ROT * 48 if real_log else ()  # few seeds can have it
        one = rng.choice((*spells, *SOUGHT * 2, *rotting))
        background = tuple(name for name in BACKGROUND if rng.random() < 0.3)
        if (one,) == ROT:
            background += tuple(name for name in BESIDE_ROT if rng.random() < 0.6)
        return (one, *background)
    share = rng.choice((0.35, 0.5, 0.65))
    return tuple(name for name in (*spells, *BACKGROUND) if rng.random() < share)
