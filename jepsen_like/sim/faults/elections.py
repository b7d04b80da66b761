"""Faults that seek out rare states around elections: each aims at a leader, or at who would be one.

A leader dies of which only the last words arrived; a candidate dies with its ballot on disk; one
leads that nobody follows any more. Chance alone finds these once in a thousand runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from jepsen_like.sim.faults.links import cut
from jepsen_like.sim.faults.site import Begin, Strike, Undo, links_between
from jepsen_like.sim.node import SimNode
from paxos.core.records import IssuedRecord, Record

LOSS = 0.9
"""Of what the dying send."""


def sleeping_leader(strike: Strike) -> Undo | None:
    """Stop a leader until another leads, and let its clients reach it before its peers do."""
    site, rng = strike.site, strike.rng
    leaders = [node for node in site.leaders() if not node.paused]
    if not leaders or len(site.nodes) < 2:
        return None
    node = rng.choice(leaders)
    strike.aim(node)
    number, life = node.voter.node, node.life
    others = [other for other in site.ids if other != number]
    mend = cut(strike, links_between([number], others), rng.choice(("drop", "hold")))
    node.pause()
    strike.effect("pause")

    def wake() -> None:
        if node.life == life:
            node.resume()

    timeout = site.plan.timing.election_timeout_s
    slept = timeout * rng.uniform(1.5, 5.0)
    site.world.after(slept, wake)
    site.world.after(slept + 0.2 * timeout, mend)
    return None


def stale_leader(strike: Strike) -> Undo | None:
    """Hold up everything between a leader and the rest, who think that it is gone.

    They elect another. When what was held passes, the old leader has answers to old questions, and
    they have its questions, while clients that know no better still read from it.
    """
    site, rng = strike.site, strike.rng
    leaders = [node for node in site.leaders() if not node.paused]
    if not leaders or len(site.nodes) < 2:
        return None
    node = rng.choice(leaders)
    strike.aim(node)
    others = [other for other in site.nodes if other is not node]
    ids = [other.voter.node for other in others]
    inward = [(other, node.voter.node) for other in ids]
    outward = [(node.voter.node, other) for other in ids]
    mend_inward, mend_outward = cut(strike, inward, "hold"), cut(strike, outward, "hold")
    for other in others:
        if other.up:
            other.peer_disconnected(node.voter)  # half of a connection closed
    timeout = site.plan.timing.election_timeout_s
    passed = timeout * rng.uniform(0.2, 1.5)
    site.world.after(passed, mend_inward)
    site.world.after(passed + timeout * rng.uniform(-0.2, 0.2), mend_outward)
    return None


def dying_leader(strike: Strike) -> Undo | None:
    """Lose what a leader sends, let what it sends next pass, and stop it.

    Its successor finds holes below what passed.
    """
    leaders = strike.site.leaders()
    if not leaders:
        return None
    _die(strike, strike.rng.choice(leaders))
    return None


def dying_leaders(strike: Strike) -> Undo | None:
    """The same, and then to its successor: two ballots for the slots of one hole."""
    site, rng = strike.site, strike.rng
    leaders = site.leaders()
    if not leaders:
        return None
    first = rng.choice(leaders)
    _die(strike, first)
    timeout = site.plan.timing.election_timeout_s
    until = site.world.now + 6 * timeout

    def look() -> None:
        if not site.active or site.world.now > until:
            return
        successors = [node for node in site.leaders() if node is not first]
        if successors:
            site.world.after(rng.random() * 0.3 * timeout, _die, strike, successors[0])
        else:
            site.world.after(0.05 * timeout, look)

    look()
    return None


def _die(strike: Strike, node: SimNode) -> None:
    site, rng, plan = strike.site, strike.rng, strike.site.plan
    strike.aim(node)
    number, life = node.voter.node, node.life
    site.network.lose(number, LOSS)
    shortest, mean = plan.latency_s
    resend = plan.timing.resend_interval_s  # both end before anything is sent again
    lossy = resend * rng.uniform(0.1, 0.4)
    clear = resend * rng.uniform(0.1, 0.5) + shortest + mean

    def act() -> None:
        if site.active and node.life == life:
            undo = strike.stop([node], rng.random() < 0.5)
            site.world.after(plan.spell_s * (0.5 + rng.random()), undo)

    site.world.after(lossy, site.network.lose, number, 0.0)
    site.world.after(lossy + clear, act)


def dying_candidate(strike: Strike) -> Undo | None:
    """Let whoever next has a ballot on disk send few of its requests, and die at its next write.

    It must never issue that ballot again.
    """
    site, rng = strike.site, strike.rng

    def seize(node: SimNode, records: Sequence[Record]) -> None:
        if not site.active or not any(isinstance(record, IssuedRecord) for record in records):
            return
        forget()
        strike.aim(node)
        number, life = node.voter.node, node.life
        site.network.lose(number, LOSS)

        def act() -> None:
            site.network.lose(number, 0.0)
            if site.active and node.life == life:
                undo = strike.stop([node], rng.random() < 0.5)
                site.world.after(rng.random() * site.plan.spell_s, undo)

        node.at_write = act
        site.world.after(site.plan.timing.resend_interval_s, site.network.lose, number, 0.0)

    def forget() -> None:
        for node in site.nodes:
            if node.at_durable is seize:
                node.at_durable = None

    for node in site.nodes:
        node.at_durable = seize
    return forget


KINDS: dict[str, Begin] = {
    "sleeping leader": sleeping_leader,
    "stale leader": stale_leader,
    "dying leader": dying_leader,
    "dying leaders": dying_leaders,
    "dying candidate": dying_candidate,
}
