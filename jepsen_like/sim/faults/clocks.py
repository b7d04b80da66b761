"""Faults of clocks: the wall clock is set wrong, the monotonic one leaps ahead."""

from __future__ import annotations

from jepsen_like.sim.faults.site import Begin, Strike, Undo


def clock_jump(strike: Strike) -> Undo | None:
    """Set one node's wall clock wrong, by a millisecond or by hours."""
    node = strike.rng.choice(strike.site.nodes)
    strike.aim(node)
    jump = strike.rng.choice((-1, 1)) * int(10 ** strike.rng.uniform(3, 10))
    node.clock.wall_error_us += jump
    strike.effect("clock jump")
    return None


def time_jump(strike: Strike) -> Undo | None:
    """Let one node's monotonic clock leap ahead, as over a suspend."""
    node = strike.leader_or_any()
    if not node.up or node.paused:
        return None
    node.leap(strike.site.plan.timing.election_timeout_s * 10 ** strike.rng.uniform(-1, 2))
    strike.effect("time jump")
    return None


KINDS: dict[str, Begin] = {"clock jump": clock_jump, "time jump": time_jump}
