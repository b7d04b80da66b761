"""The next configuration, made from the latest one: pure, and refused with what to do instead.

Owns what an operator's wish means for members, parts and quorums. It guards nothing that the log
has to guard: whether a change is reachable, caught up or the only one is the leader's to judge.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from paxos.core.config import Configuration, Member, Part
from paxos.core.errors import PaxosError
from paxos.core.ids import NodeId, Voter
from paxos.core.quorum import Quorums, QuorumSets, QuorumSystem


class PlanRefused(PaxosError):
    """What was asked for makes no sense for this cluster; the text says why.

    Attributes:
        hint: What to do instead.
    """

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


class DirectoryTaken(PlanRefused):
    """A directory that is to be made is not empty, or somebody else's."""


@dataclass(frozen=True, slots=True)
class QuorumChoice:
    """What an operator says about quorums; nothing at all means: as they are.

    Attributes:
        majority: Any majority of the voters, for both phases.
        sizes: How many voters form a phase-1 and a phase-2 quorum.
        phase1_sets: The smallest phase-1 quorums, by node id.
        phase2_sets: The smallest phase-2 quorums, by node id.
    """

    majority: bool = False
    sizes: tuple[int, int] | None = None
    phase1_sets: tuple[tuple[NodeId, ...], ...] = ()
    phase2_sets: tuple[tuple[NodeId, ...], ...] = ()


AS_BEFORE = QuorumChoice()


def with_joined(
    configuration: Configuration, joining: Member, quorums: QuorumChoice = AS_BEFORE
) -> Configuration:
    """Return the next configuration with a learner more, or with a witness.

    A witness votes from the start, because it has no state to catch up with.

    Raises:
        PlanRefused: Its id was used before, or is not the next one; or as ``with_changed``.
    """
    refuse_used_id(configuration, joining)
    part = Part.WITNESS if joining.part is Part.WITNESS else Part.LEARNER
    members = (*configuration.members, joining._replace(part=part))
    choice = quorums if part else AS_BEFORE
    return _next(configuration, members, choice, next_node=joining.node + 1)


def refuse_used_id(configuration: Configuration, joining: Member) -> None:
    """Refuse a new node whose id is not the next one.

    Raises:
        PlanRefused: It was used before, or skips some.
    """
    if joining.node != configuration.next_node:
        raise PlanRefused(
            f"the next node of this cluster is node {configuration.next_node}, not"
            f" {joining.node}: ids are never used again",
            "Delete its directory, or name an empty one, so that a fresh one is made.",
        )


def with_changed(
    configuration: Configuration, changed: Iterable[Member], quorums: QuorumChoice = AS_BEFORE
) -> Configuration:
    """Return the next configuration with some members otherwise, and perhaps other quorums.

    Raises:
        PlanRefused: A member is not there, or nobody said what a quorum is among other voters.
    """
    by_node = {member.node: member for member in configuration.members}
    for member in changed:
        the_member(configuration, member.node)
        by_node[member.node] = member
    return _next(configuration, tuple(by_node.values()), quorums)


def without(
    configuration: Configuration, nodes: Collection[NodeId], quorums: QuorumChoice = AS_BEFORE
) -> Configuration:
    """Return the next configuration without some members.

    Raises:
        PlanRefused: As ``with_changed``; or nobody is left who could vote.
    """
    for node in nodes:
        the_member(configuration, node)
    left = tuple(member for member in configuration.members if member.node not in nodes)
    return _next(configuration, left, quorums)


def demoted(
    configuration: Configuration, nodes: Collection[NodeId], quorums: QuorumChoice = AS_BEFORE
) -> Configuration:
    """Return the next configuration in which some members vote no more.

    Voters learn from then on. A witness has nothing to learn with, and is no member any more.

    Raises:
        PlanRefused: As ``without``.
    """
    gone = {node for node in nodes if the_member(configuration, node).part is Part.WITNESS}
    members = [
        each._replace(part=Part.LEARNER) if each.node in nodes else each
        for each in configuration.members
        if each.node not in gone
    ]
    return _next(configuration, members, quorums)


def with_replaced(
    configuration: Configuration, successors: Mapping[NodeId, Member]
) -> Configuration:
    """Return the next configuration in which new members take others' part, priority and quorums.

    Whoever is replaced learns from then on; a witness is no member any more. Where that has been
    done already, nothing is changed.

    Args:
        configuration: The latest one.
        successors: By the node that is replaced: a learner, or a witness that is no member yet.

    Raises:
        PlanRefused: A node is not a member, or a new one's id was used before.
    """
    by_node = {member.node: member for member in configuration.members}
    renamed: dict[Voter, Voter] = {}
    next_node = configuration.next_node
    for old_node, new in successors.items():
        old = by_node.get(old_node)
        if old is None or not old.part:
            continue
        if new.node not in by_node:
            refuse_used_id(replace(configuration, next_node=next_node), new)
            next_node = new.node + 1
        by_node[new.node] = new._replace(part=old.part, priority=old.priority)
        if old.part is Part.WITNESS:
            del by_node[old_node]
        else:
            by_node[old_node] = old._replace(part=Part.LEARNER)
        renamed[old.voter] = new.voter
    return replace(
        configuration,
        version=configuration.version + 1,
        members=tuple(sorted(by_node.values())),
        quorums=_renamed(configuration.quorums, renamed),
        next_node=next_node,
    )


def _renamed(quorums: QuorumSystem, renamed: Mapping[Voter, Voter]) -> QuorumSystem:
    def rename(voters: frozenset[Voter]) -> frozenset[Voter]:
        return frozenset(renamed.get(voter, voter) for voter in voters)

    if isinstance(quorums, Quorums):
        return replace(quorums, voters=rename(quorums.voters))
    return QuorumSets(
        rename(quorums.voters),
        frozenset(map(rename, quorums.phase1_sets)),
        frozenset(map(rename, quorums.phase2_sets)),
    )


def with_feature(configuration: Configuration, feature: int) -> Configuration:
    """Return the next configuration with a higher feature version.

    Raises:
        PlanRefused: It would be lower.
    """
    if feature < configuration.feature:
        raise PlanRefused(
            f"this cluster has feature version {configuration.feature} already, and what it has"
            f" written since cannot be read with {feature}",
            "A feature version is only ever raised.",
        )
    return replace(configuration, version=configuration.version + 1, feature=feature)


def the_member(configuration: Configuration, node: NodeId) -> Member:
    """Return the member with this id.

    Raises:
        PlanRefused: There is none.
    """
    member = configuration.member(node)
    if member is None:
        known = ", ".join(str(each.node) for each in configuration.members)
        if was_removed(configuration, node):
            raise PlanRefused(
                f"node {node} is no longer a member of this cluster; it has {known}",
                f"A new node gets a new id. `paxos member remove {node}`, again, says once what is"
                " left of it may be wiped.",
            )
        raise PlanRefused(
            f"node {node} is not a member of this cluster; it has {known}",
            "`paxos member list` shows them.",
        )
    return member


def was_removed(configuration: Configuration, node: NodeId) -> bool:
    """Say whether a node was a member once, and is none any more."""
    return 0 < node < configuration.next_node and configuration.member(node) is None


def same_members(first: Configuration, second: Configuration) -> bool:
    """Whether two configurations say the same but for their versions."""
    return replace(first, version=second.version) == second


def _next(
    configuration: Configuration,
    members: Sequence[Member],
    choice: QuorumChoice,
    next_node: NodeId = 0,
) -> Configuration:
    voters = frozenset(member.voter for member in members if member.part)
    if not voters:
        raise PlanRefused(
            "nobody would be left who votes",
            "Add and promote the members that are to stay first; or, to end a cluster, stop its"
            " nodes.",
        )
    return replace(
        configuration,
        version=configuration.version + 1,
        members=tuple(sorted(members)),
        quorums=_quorums(configuration.quorums, voters, choice),
        next_node=next_node or configuration.next_node,
    )


def _quorums(before: QuorumSystem, voters: frozenset[Voter], choice: QuorumChoice) -> QuorumSystem:
    if choice.sizes is not None:
        return Quorums(voters, *choice.sizes)
    if choice.phase1_sets or choice.phase2_sets:
        by_node = {voter.node: voter for voter in voters}
        return QuorumSets(
            voters, _named(choice.phase1_sets, by_node), _named(choice.phase2_sets, by_node)
        )
    if choice.majority or (before.voters != voters and before == Quorums.majority(before.voters)):
        return Quorums.majority(voters)
    if before.voters == voters:
        return before
    raise PlanRefused(
        f"this cluster has quorums of its own ({quorums_text(before)}), and the voters would"
        f" change to {', '.join(str(voter.node) for voter in sorted(voters))}",
        "Say what a quorum is then: --majority, --phase1 N --phase2 N, or sets.",
    )


def _named(
    sets: Sequence[Sequence[NodeId]], voters: Mapping[NodeId, Voter]
) -> frozenset[frozenset[Voter]]:
    for quorum in sets:
        for node in quorum:
            if node not in voters:
                raise PlanRefused(
                    f"the quorum {','.join(map(str, quorum))} names node {node}, which would not"
                    " vote",
                    f"The voters would be {', '.join(map(str, sorted(voters)))}.",
                )
    return frozenset(frozenset(voters[node] for node in quorum) for quorum in sets)


def quorums_text(quorums: QuorumSystem) -> str:
    """Return in words what a quorum is."""
    count = len(quorums.voters)
    if isinstance(quorums, Quorums):
        if quorums == Quorums.majority(quorums.voters):
            return f"majority: any {quorums.phase1} of {count}"
        return f"phase 1: any {quorums.phase1} of {count}, phase 2: any {quorums.phase2}"
    return f"phase 1: {_sets_text(quorums.phase1_sets)}; phase 2: {_sets_text(quorums.phase2_sets)}"


def _sets_text(sets: frozenset[frozenset[Voter]]) -> str:
    names = sorted(tuple(sorted(voter.node for voter in quorum)) for quorum in sets)
    return " or ".join("{" + ",".join(map(str, quorum)) + "}" for quorum in names)
