"""What an administrator does: a task is a few things asked for in turn, with machines in between.

Each is a generator (see ``administrator.Task``) that draws its choices from its own chance.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from jepsen_like.sim import changes
from jepsen_like.sim.administrator import Administrator, Task
from jepsen_like.sim.node import SimNode
from paxos.core.config import Configuration, Member, Part
from paxos.core.messages import TakeSnapshot, TransferLeader

TaskOf = Callable[[Administrator, random.Random], Task]


def add_member(admin: Administrator, rng: random.Random) -> Task:
    """Let a new node join, mostly as a learner first."""
    node = admin.new_machine(rng)
    if node is None:
        return
    new, part = node.voter, rng.choice((Part.LEARNER, Part.LEARNER, Part.VOTER))
    done = yield lambda latest: changes.joined(latest, [Member(*new, part)], rng)
    if done and part is Part.LEARNER and rng.random() < 0.8:
        yield lambda latest: changes.with_parts(latest, {new.node: Part.VOTER}, rng)


def add_witness(admin: Administrator, rng: random.Random) -> Task:
    """Let a new node join that votes and keeps no state, and perhaps leave again."""
    node = admin.new_machine(rng, witness=True)
    if node is None:
        return
    new = node.voter
    done = yield lambda latest: changes.joined(latest, [Member(*new, Part.WITNESS)], rng)
    if done and rng.random() < 0.4:
        done = yield lambda latest: changes.without(latest, {new.node}, rng)
        if done:
            admin.wipe(node)


def remove_member(admin: Administrator, rng: random.Random) -> Task:
    """Remove a member, by demoting it first or at once; then wipe it, mostly."""
    node = _victim(admin, rng)
    if node is None:
        return
    yield from _remove(admin, rng, [node])


def _remove(admin: Administrator, rng: random.Random, nodes: list[SimNode]) -> Task:
    ids = {node.voter.node for node in nodes}
    if rng.random() < 0.5:
        parts = dict.fromkeys(sorted(ids), Part.LEARNER)
        done = yield lambda latest: changes.with_parts(latest, parts, rng)
        if not done:
            return
    done = yield lambda latest: changes.without(latest, ids, rng)
    if done:
        for node in nodes:
            if rng.random() < 0.8:
                admin.wipe(node)


def replace_member(admin: Administrator, rng: random.Random) -> Task:
    """Put new nodes in the place of one, mostly a broken one, or of all."""
    victim = _victim(admin, rng)
    if victim is None:
        return
    old = [victim]
    if rng.random() < 0.25:
        old = [node for node in admin.cluster.nodes if _is_member(admin, node)]
    made = [admin.new_machine(rng) for _ in old]
    new = [node for node in made if node is not None]
    if len(new) < len(old):
        return
    learners = [Member(*node.voter, Part.LEARNER) for node in new]
    done = yield lambda latest: changes.joined(latest, learners, rng)
    if not done:
        return
    gone = {node.voter.node for node in old}
    parts = {node.voter.node: Part.VOTER for node in new}
    if rng.random() < 0.5:
        parts |= dict.fromkeys(sorted(gone), Part.LEARNER)
        done = yield lambda latest: changes.with_parts(latest, parts, rng)
        if done:
            done = yield lambda latest: changes.without(latest, gone, rng)
    else:
        done = yield lambda latest: _exchange(latest, gone, parts, rng)
    if done:
        for node in old:
            admin.wipe(node)


def _exchange(
    latest: Configuration, gone: set[int], parts: dict[int, Part], rng: random.Random
) -> Configuration | None:
    members = [
        member._replace(part=parts.get(member.node, member.part))
        for member in latest.members
        if member.node not in gone
    ]
    if not any(member.part for member in members):
        return None
    return changes.following(latest, members, rng)


def change_quorums(_admin: Administrator, rng: random.Random) -> Task:
    """Let other sets of the same voters suffice."""
    yield lambda latest: changes.with_quorums(latest, rng)


def transfer_leader(admin: Administrator, rng: random.Random) -> Task:
    """Let the leader hand over, to a node or to whom it likes."""
    nodes = [node.voter.node for node in admin.cluster.nodes]
    yield TransferLeader(0, rng.choice((0, *nodes)))


def take_snapshot(_admin: Administrator, _rng: random.Random) -> Task:
    """Let some node take a snapshot now."""
    yield TakeSnapshot(0)


def _is_member(admin: Administrator, node: SimNode) -> bool:
    member = admin.cluster.invariants.timeline.latest.member(node.voter.node)
    return member is not None and bool(member.part)


def _victim(admin: Administrator, rng: random.Random) -> SimNode | None:
    """Choose a member: one that is lost or down, the leader, or any."""
    nodes = [node for node in admin.cluster.nodes if _is_member(admin, node)]
    if not nodes:
        return None
    broken = [node for node in nodes if node.lost] or [node for node in nodes if not node.up]
    leaders = [node for node in nodes if node.leading]
    chance = rng.random()
    if broken and chance < 0.5:
        return rng.choice(broken)
    return rng.choice(leaders if leaders and chance < 0.8 else nodes)


TASKS: dict[str, tuple[TaskOf, str]] = {
    "add member": (add_member, "member added"),
    "remove member": (remove_member, "member removed"),
    "replace member": (replace_member, "member replaced"),
    "add witness": (add_witness, "witness added"),
    "change quorums": (change_quorums, "quorums changed"),
    "transfer leader": (transfer_leader, "leader transferred"),
    "take snapshot": (take_snapshot, "snapshot taken"),
}
"""What each kind of task does, and what it counts as done. Its names are ``plan.CHURN``."""
