"""A leader's part in a change of membership: what it refuses, what it waits for, whom it answers.

It owns the change that this leader was asked for until that is decided, and the settling of the
latest one: a change is done, and whom it removed may be wiped, once a phase-2 quorum of full voters
of the new configuration has everything below it durable *as decided*. All of it is this leader's
alone: losing it costs an administrator a question asked again, which does no harm. It never decides
which configuration governs (``Configurations`` does, from the log) and never sends.

After Lamport, Malkhi, Zhou, "Reconfiguring a State Machine" (2010), and etcd's learners: nobody
becomes a voter before it is known to be there and to have caught up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from paxos.core.config import FEATURE, FEATURE_MEMBERSHIP, Configuration, Part
from paxos.core.ids import ClientId, Instant, NodeId, Slot, Voter
from paxos.core.messages import AdminAnswer, Status

ASKERS_MAX = 64
"""Requests that wait for one configuration, or for one hand-over; more are refused."""

Asker = tuple[ClientId, int]
"""A client that waits, and the number of its request."""

Answer = tuple[ClientId, AdminAnswer]


class Standing(NamedTuple):
    """What a leader knows about one node, from its promise and its recent answers."""

    reached: bool = False
    sound: bool = False
    outbid: bool = False
    """It has promised a ballot above the leader's."""
    behind: Slot = 0
    """How many slots it lacked of what the leader knew a moment before."""
    promised: bool = False
    """It has promised the leader's ballot."""

    def complaint(self, alpha: int) -> str:
        """Say what is wrong with the node; empty if it could carry its part at once."""
        if not self.reached:
            return "does not answer"
        if not self.sound:
            return "does not vote at present: is its disk full?"
        if self.outbid:
            return "has promised a higher ballot"
        return f"is {self.behind} slots behind" if self.behind > alpha else ""


NOBODY = Standing()


def obstacles(
    wanted: Configuration,
    latest: Configuration,
    standings: Mapping[Voter, Standing],
    alpha: int,
) -> list[str]:
    """Say what keeps ``wanted`` from being proposed by this leader now.

    Every voter that is new must be there and caught up, and with the others form a phase-2 quorum;
    and a phase-1 quorum must have promised the leader's ballot. Learners are not waited for.
    """
    complaints = {
        voter: text
        for voter in wanted.voters
        if (text := standings.get(voter, NOBODY).complaint(alpha))
    }
    new = {voter: complaints[voter] for voter in complaints if voter not in latest.quorums.voters}
    if not wanted.quorums.is_phase2(wanted.quorums.voters - complaints.keys()):
        new = complaints
    if new:
        return [f"n{voter.node} {text}" for voter, text in new.items()]
    promised = {voter for voter in wanted.voters if standings.get(voter, NOBODY).promised}
    if wanted.quorums.is_phase1(promised):
        return []
    return [f"n{v.node} has not promised" for v in wanted.voters if v not in promised]


def refusal(wanted: Configuration, latest: Configuration, features: Mapping[Voter, int]) -> str:
    """Say why ``wanted`` can never follow ``latest``, and what to do; empty if it can.

    Args:
        wanted: What an administrator asks for.
        latest: The latest decided one.
        features: The highest feature that each node that ever connected understands.
    """
    if wanted.version != latest.version + 1:
        return (
            f"configuration {wanted.version} was made from {wanted.version - 1}, but the latest is"
            f" {latest.version}: read the members again and make the change from them"
        )
    return (
        _refusal_of_feature(wanted, latest, features)
        or _refusal_of_ids(wanted, latest)
        or _refusal_of_parts(wanted, latest)
    )


def _refusal_of_feature(
    wanted: Configuration, latest: Configuration, features: Mapping[Voter, int]
) -> str:
    if not latest.feature <= wanted.feature <= FEATURE:
        return (
            f"feature version {wanted.feature}: it is {latest.feature} now, never goes down, and"
            f" this release understands {FEATURE} at most"
        )
    same = (wanted.members, wanted.quorums) == (latest.members, latest.quorums)
    if latest.feature < FEATURE_MEMBERSHIP and not same:
        return (
            f"at feature version {latest.feature} the members are fixed:"
            f" raise it to {FEATURE_MEMBERSHIP} first (paxos upgrade)"
        )
    if wanted.feature == latest.feature:
        known_old = [v for v in wanted.everyone if features.get(v, FEATURE) < wanted.feature]
    else:
        known_old = [v for v in wanted.everyone if features.get(v, 0) < wanted.feature]
    if known_old:
        return (
            f"not known to understand feature version {wanted.feature}: {_names(known_old)};"
            " start this release there, let it connect, and ask again"
        )
    return ""


def _refusal_of_ids(wanted: Configuration, latest: Configuration) -> str:
    for member in wanted.members:
        before = latest.member(member.node)
        if before is None and member.node < latest.next_node:
            return (
                f"node id {member.node} was used before, and ids are never used again:"
                f" make the new node's directory anew (the next id is {latest.next_node})"
            )
        if before is not None and before.incarnation != member.incarnation:
            return (
                f"n{member.node} has another incarnation than the member of that id: a directory"
                f" that was made anew is a new node; add it with id {latest.next_node}"
            )
    if wanted.next_node < latest.next_node:
        return f"next_node must not go back: it is {latest.next_node}"
    return ""


def _refusal_of_parts(wanted: Configuration, latest: Configuration) -> str:
    urls: dict[str, NodeId] = {}
    for member in wanted.members:
        before = latest.member(member.node)
        if before is not None and (before.part is Part.WITNESS) != (member.part is Part.WITNESS):
            return (
                f"n{member.node} cannot become a witness, or stop being one: what it keeps differs;"
                " add a new node and remove this one"
            )
        if member.url and member.url in urls:
            return f"n{urls[member.url]} and n{member.node} cannot both listen at {member.url}"
        urls[member.url] = member.node
    return ""


def _names(voters: list[Voter]) -> str:
    return ", ".join(f"n{voter.node}" for voter in voters)


class Membership:
    """What one node, while it leads, does about changes of its cluster's configuration.

    Args:
        patience_s: How long a change waits for its voters before it is refused, in seconds.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._wanted: Configuration | None = None  # asked for and not yet decided
        self._until = 0.0  # refused then, unless it is proposed
        self._askers: dict[int, list[Asker]] = {}  # who waits for a configuration, by its version
        self._settled_version = 1  # up to here configurations are settled; founding is
        self._settled: set[Voter] = set()  # who has the log below the latest one durable
        self._asked_version = 1  # the configuration for which that was last asked

    @property
    def wanted(self) -> Configuration | None:
        """The configuration that was asked for and is not decided yet."""
        return self._wanted

    def is_settled(self, version: int) -> bool:
        """Whether this node knows that the configuration of that version is settled."""
        return version <= self._settled_version

    def is_idle(self, version: int) -> bool:
        """Whether no change was asked for, and the configuration of that version is settled."""
        return self._wanted is None and version <= self._settled_version

    def ask(
        self,
        asker: Asker,
        wanted: Configuration,
        latest: Configuration,
        features: Mapping[Voter, int],
        now: Instant,
    ) -> AdminAnswer | None:
        """Take a request for a change.

        Returns:
            The answer if it can be given at once: it is done already, or it is refused.
        """
        number = asker[1]
        if wanted == latest and self.is_settled(latest.version):
            return AdminAnswer(number, Status.DONE, 0, done_text(latest))
        text = ""
        if self._wanted not in (None, wanted):
            text = (
                f"another change is under way, to configuration {wanted.version}: wait until it is"
                " done, read the members again and make the change from them"
            )
        elif wanted not in (latest, self._wanted):
            text = refusal(wanted, latest, features)
        askers = self._askers.get(wanted.version, [])
        if len(askers) >= ASKERS_MAX:
            text = "too many wait for this change: ask again once it is done"
        if text:
            return AdminAnswer(number, Status.REFUSED, 0, text)
        self._askers[wanted.version] = [*askers, asker]
        if wanted != latest and self._wanted is None:
            self._wanted = wanted
            self._until = now.monotonic + self._patience_s
        return None

    def give_up(self, reasons: list[str], slot: Slot, now: Instant) -> list[Answer]:
        """Refuse the wanted change, if it could not be proposed for too long, for ``reasons``."""
        if self._wanted is None or not reasons or now.monotonic < self._until:
            return []
        text = (
            f"configuration {self._wanted.version} was not proposed: {'; '.join(reasons)}. Start"
            " what is down, check addresses and network, let new nodes catch up; then ask again"
        )
        version, self._wanted = self._wanted.version, None
        return self._answer(version, Status.REFUSED, slot, text)

    def decided(self, latest: Configuration, slot: Slot) -> list[Answer]:
        """Note that ``latest`` was decided, in ``slot``; refuse who asked for another one."""
        self._settled = set()
        wanted, self._wanted = self._wanted, None
        if wanted in (None, latest):
            return []
        text = (
            f"another change became configuration {latest.version} first:"
            " read the members again and make the change from them"
        )
        return self._answer(latest.version, Status.REFUSED, slot, text)

    def unsettled(self, latest: Configuration) -> list[Voter]:
        """Return who has yet to say that the log below ``latest`` is durable there."""
        return sorted(latest.full_voters - self._settled)

    def asked_settling(self, latest: Configuration) -> None:
        """Note that all of those were asked, for the first time or again."""
        self._asked_version = latest.version

    def is_asking(self, latest: Configuration) -> bool:
        """Whether they were asked already."""
        return self._asked_version == latest.version

    def handle_settled(self, voter: Voter, latest: Configuration, slot: Slot) -> list[Answer]:
        """Note that a node has everything below ``latest`` durable as decided.

        Once enough have, so are all configurations before it, whether or not they were confirmed.
        """
        self._settled.add(voter)
        if not latest.quorums.is_phase2(self._settled & latest.full_voters):
            return []
        self._settled_version = latest.version
        done = sorted(version for version in self._askers if version <= latest.version)
        text = done_text(latest)
        return [each for v in done for each in self._answer(v, Status.DONE, slot, text)]

    def forget(self, client: ClientId) -> None:
        """A client is gone; what it asked for goes on."""
        for version, askers in self._askers.items():
            self._askers[version] = [asker for asker in askers if asker[0] != client]

    def stop(self) -> list[ClientId]:
        """This node leads no more: return who waits, to be sent elsewhere."""
        clients = [client for askers in self._askers.values() for client, _ in askers]
        self._askers, self._wanted, self._settled = {}, None, set()
        self._asked_version = 1
        return clients

    def _answer(self, version: int, status: Status, slot: Slot, text: str) -> list[Answer]:
        askers = self._askers.pop(version, [])
        return [(client, AdminAnswer(number, status, slot, text)) for client, number in askers]


def done_text(latest: Configuration) -> str:
    """Say that a configuration is settled."""
    members = ", ".join(f"n{m.node} {m.part.name.lower()}" for m in latest.members)
    return f"configuration {latest.version} is settled: {members}"
