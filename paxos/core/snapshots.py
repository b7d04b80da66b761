"""Snapshots: the part of a replica's routing that saves, serves, fetches and installs them.

It is the replica's hand, not a role: it carries facts between the acceptor, the executor, the
configurations and its own three parts (when and what to forget: ``compaction``; one fetched from
peers: ``fetching``; whether states are equal: ``divergence``). It guards that nothing is forgotten
but in consequence of something durable, and that a snapshot at or below what this node knows is
never installed. It never decides who leads, and the replica never asks it anything about votes.

A node that runs no state machine (a witness) saves heads without state: the configurations. It
forgets only what full voters hold in snapshots of theirs, even what it has fetched itself, and
serves none.
"""

from __future__ import annotations

from paxos.core.acceptor import Acceptor
from paxos.core.compaction import Compaction, covered_by_voters
from paxos.core.config import FEATURE_MEMBERSHIP, Configurations
from paxos.core.divergence import Divergence
from paxos.core.effects import Compact, Effect, Reply, SaveSnapshot, Send, ServeSnapshot
from paxos.core.errors import ensure
from paxos.core.events import (
    SnapshotFetched,
    SnapshotNotSaved,
    SnapshotSaved,
    SnapshotSpoilt,
)
from paxos.core.executor import Executor
from paxos.core.fetching import CHUNK_PATIENCE_TIMEOUTS, Fetcher
from paxos.core.ids import ClientId, Instant, Slot, Voter
from paxos.core.learner import Learner
from paxos.core.limits import Limits, Timing
from paxos.core.messages import (
    NO_DIGEST,
    AdminAnswer,
    Heartbeat,
    HeartbeatAnswer,
    SnapshotChunk,
    SnapshotName,
    SnapshotOffer,
    SnapshotRequest,
    StateDigest,
    Status,
    TakeSnapshot,
)
from paxos.core.records import Recovered
from paxos.core.snapshot import Snapshot, SnapshotHead

REQUESTS_MAX = 64
"""Administrators that wait for a snapshot; more are refused."""


class Snapshots:
    """What one node does about snapshots.

    Args:
        executing: This node, if it runs state machines.
        configurations: Taken over from a snapshot, and cut where the log is.
        acceptor: Forgets what is covered.
        learner: Says what is known decided.
        executor: Makes the state, and takes it over.
        limits: Bounds.
        timing: Durations.
        recovered: What this node remembers; its snapshot is installed here and now.
    """

    def __init__(
        self,
        executing: Voter | None,
        configurations: Configurations,
        acceptor: Acceptor,
        learner: Learner,
        executor: Executor,
        *,
        limits: Limits,
        timing: Timing,
        recovered: Recovered,
    ) -> None:
        self._executes = executing is not None
        self._configurations = configurations
        self._acceptor = acceptor
        self._learner = learner
        self._executor = executor
        self._limits = limits
        self._taken: Snapshot | None = None  # and not yet given to the shell
        # Who asked for a snapshot, and the slot that it must reach.
        self._waiting: list[tuple[ClientId, TakeSnapshot, Slot]] = []
        self._wanted = False  # one more, beside those that are due
        self._saved_by: dict[Voter, Slot] = {}  # how far each node's latest snapshot reaches
        self._recovered_through: Slot = 0
        name, log_bytes = None, 0
        if recovered.snapshot is not None:
            found, snapshot = recovered.snapshot
            if not self._executes or executor.restore(snapshot):
                configurations.install(snapshot.head.governing)
                self._recovered_through = found.through
            if self._recovered_through and self._executes:
                name, log_bytes = found, snapshot.head.log_bytes
        # Without state: what is durable of the configurations.
        self._head_through = self._recovered_through
        self._compaction = Compaction(limits, name, log_bytes)
        if not self._executes:
            self._compaction.cover(recovered.compacted_through)
        self._fetcher = Fetcher(CHUNK_PATIENCE_TIMEOUTS * timing.election_timeout_s)
        self._divergence = Divergence(executing, name)

    # --- what it is ---

    @property
    def recovered_through(self) -> Slot:
        """Everything through this slot is decided, as the snapshot at start says; 0 without one."""
        return self._recovered_through

    @property
    def keeps_what_left_the_log(self) -> bool:
        """Whether a restart would find again what the log no longer says, with its state."""
        through, latest = self._acceptor.compacted_through, self._compaction.latest
        return not through or (latest is not None and latest.through >= through)

    @property
    def latest(self) -> SnapshotName | None:
        """This node's latest durable snapshot that holds state."""
        return self._compaction.latest

    @property
    def fetcher(self) -> Fetcher:
        """What is being fetched: for status, and for what asks whether that makes progress."""
        return self._fetcher

    @property
    def differing(self) -> dict[Voter, Slot]:
        """Whose results differ from this node's, each with the first slot known to."""
        return self._divergence.differing

    @property
    def digest(self) -> StateDigest:
        """Of the latest durable snapshot, for heartbeats and answers."""
        latest = self._compaction.latest
        return NO_DIGEST if latest is None else StateDigest(latest.through, latest.digest)

    def results(self, to: Voter | None) -> StateDigest:
        """Of results, for a heartbeat, or for an answer to ``to``."""
        through = self._executor.applied_through
        if not self._executes or not self._is_on(through):
            return NO_DIGEST
        return self._divergence.to_tell(to, through, self._executor.results_digest_at)

    # --- taking ---

    def applied(self, slot: Slot) -> None:
        """``slot`` is applied, and the configurations know it: take the snapshot that is due."""
        if not self._is_on(slot):
            return
        if self._compaction.is_due(slot, self._executor.log_bytes):
            self._taken = self._executor.snapshot(self._configurations.recorded(slot))

    def flush(self, out: list[Effect]) -> None:
        """Give the shell what was taken, if one was."""
        if self._wanted and not self._compaction.saving and self._taken is None:
            through = self._executor.applied_through
            self._taken = self._executor.snapshot(self._configurations.recorded(through))
        if self._taken is not None:
            self._wanted = False
            self._compaction.began(self._taken.head.through)
            out.append(SaveSnapshot(self._taken))
            self._taken = None

    def on_take(self, client: ClientId, request: TakeSnapshot, out: list[Effect]) -> None:
        """An administrator asks for a snapshot now."""
        latest, through = self._compaction.latest, self._executor.applied_through
        if not self._executes:
            self._refuse(client, request, "this node runs no state machine: ask another", out)
        elif not through:
            self._refuse(client, request, "nothing has been decided yet", out)
        elif not self._is_on(through):
            text = (
                "this cluster's feature version knows no snapshots: raise it with `paxos upgrade`"
            )
            self._refuse(client, request, text, out)
        elif latest is not None and latest.through == through:
            out.append(Reply(client, SnapshotOffer(latest, through)))
        elif len(self._waiting) >= REQUESTS_MAX:
            self._refuse(client, request, "too many wait for a snapshot: ask later", out)
        else:
            self._waiting.append((client, request, through))
            self._wanted = True

    def client_gone(self, client: ClientId) -> None:
        """A client's connection is closed."""
        self._waiting = [each for each in self._waiting if each[0] != client]

    def on_saved(self, event: SnapshotSaved, now: Instant, out: list[Effect]) -> None:
        """The snapshot that was given to the shell is durable."""
        name = event.name
        self._compaction.ended()
        if self._executes:
            self._keep(name)
            served = [each for each in self._waiting if each[2] <= name.through]
            self._waiting = [each for each in self._waiting if each[2] > name.through]
            offered = SnapshotOffer(name, name.through)
            out.extend(Reply(client, offered) for client, _, _ in served)
            self._wanted = bool(self._waiting)
        else:
            self._head_through = max(self._head_through, name.through)
            self._compaction.cover(name.through)
            self._follow_voters(now, out)
        self._compact(now, out)

    def on_not_saved(self, event: SnapshotNotSaved, now: Instant, out: list[Effect]) -> None:
        """There was no room for it: the log goes on growing."""
        self._compaction.ended()
        self._executor.release_snapshot()
        self._wanted = False
        waiting, self._waiting = self._waiting, []
        for client, request, _ in waiting:
            self._refuse(client, request, "there is no room on this node's disk", out)

    # --- forgetting ---

    def _compact(self, now: Instant, out: list[Effect]) -> None:
        """Forget what is durable elsewhere, but for what peers a little behind will ask for."""
        covered = self._compaction.covered
        entries_max, bytes_max = self._limits.kept_entries, self._limits.kept_bytes
        through = self._acceptor.kept_from(covered, entries_max, bytes_max)
        pinned = self._compaction.pinned(now)
        if pinned is not None:
            through = min(through, pinned)
        if through > self._acceptor.compacted_through:
            self._acceptor.compact(through)
            self._configurations.forget(through)
            out.append(Compact(through))

    def _follow_voters(self, now: Instant, out: list[Effect]) -> None:
        """A node without state: forget what full voters have made durable.

        Not before the configurations that govern what follows are in a head of its own.
        """
        decided_through = self._learner.decided_through
        live = self._configurations.live(decided_through)
        through = min(covered_by_voters(self._saved_by, live), decided_through)
        if through <= self._head_through:
            self._compaction.cover(through)
            self._compact(now, out)
        elif not self._compaction.saving:
            governing = self._configurations.recorded(through)
            self._taken = Snapshot(SnapshotHead(through, 0, 0, b"", governing), tuple)

    # --- serving ---

    def offer(self, peer: Voter, after: Slot, out: list[Effect]) -> None:
        """A peer asked for what this node has forgotten: offer the latest snapshot instead."""
        latest = self._compaction.latest
        if latest is not None and latest.through > after:
            offer = SnapshotOffer(latest, self._learner.decided_through)
            out.append(Send(peer.node, offer))

    def on_request(self, peer: Voter, m: SnapshotRequest, now: Instant, out: list[Effect]) -> None:
        """A peer asks for a piece; or, at the end, for nothing any more."""
        if not self._compaction.has(m.name):
            self._compaction.unpin(peer)
            out.append(Send(peer.node, SnapshotChunk(m.name, m.offset, b"")))
        elif m.offset < m.name.size:
            self._compaction.pin(peer, m.name.through, now)
            out.append(ServeSnapshot(peer.node, m.name, m.offset))
        else:
            self._compaction.unpin(peer)
            self._compact(now, out)

    # --- fetching ---

    def on_offer(self, peer: Voter, m: SnapshotOffer, now: Instant, out: list[Effect]) -> None:
        """A peer has a snapshot above what this node knows."""
        through = self._learner.decided_through
        out.extend(self._fetcher.handle_offer(peer, m.name, through, now))

    def on_chunk(
        self, peer: Voter, m: SnapshotChunk, reached: list[Voter], now: Instant, out: list[Effect]
    ) -> bool:
        """A piece has come; return whether that was progress."""
        before = self._fetcher.progress
        out.extend(self._fetcher.handle_chunk(peer, m, reached, now))
        return self._fetcher.progress > before

    def caught_up(self) -> None:
        """The log has grown; if beyond what is being fetched, that is not needed any more.

        If it is beyond what was compacted by a snapshot that is lost, a new one is wanted now.
        """
        name, through = self._fetcher.name, self._learner.decided_through
        if name is not None and name.through <= through and not self._fetcher.is_whole:
            self._fetcher.drop()
        if (
            self._executes
            and self._compaction.covered < self._acceptor.compacted_through <= through
        ):
            self._wanted = True

    def on_spoilt(self, event: SnapshotSpoilt, now: Instant, out: list[Effect]) -> None:
        """What was fetched is useless; or one that was durable here can no longer be read."""
        if self._compaction.spoilt(event.name):
            self._wanted = self._executes
        self._fetcher.handle_spoilt(event.name, now)

    def on_fetched(self, event: SnapshotFetched, now: Instant, out: list[Effect]) -> bool:
        """A snapshot of a peer is whole and durable: take it over.

        Returns:
            Whether that was done; not if this node knows as much by itself. Then everything through
            that snapshot is decided, and the learner must be told.
        """
        name, snapshot = event.name, event.snapshot
        through = snapshot.head.through
        if through != name.through:
            self._fetcher.handle_spoilt(name, now)
            return False
        if name == self._fetcher.name:
            self._fetcher.drop()
        is_news = through > self._learner.decided_through
        if is_news:
            self._configurations.install(snapshot.head.governing)
        if not self._executes:
            self._head_through = max(self._head_through, through)
            return is_news
        if is_news:
            whole = self._executor.restore(snapshot)
            ensure(whole, f"the snapshot at slot {through} has no state")
            if through > self._acceptor.compacted_through:  # not if a lost one went further
                self._acceptor.compact(through)
                out.append(Compact(through))
        self._keep(name)
        self._compact(now, out)
        return is_news

    def _keep(self, name: SnapshotName) -> None:
        executor = self._executor
        self._compaction.saved(name, executor.applied_through, executor.log_bytes)
        self._divergence.saved(name)

    # --- signs of life ---

    def heard(
        self,
        peer: Voter,
        m: Heartbeat | HeartbeatAnswer,
        now: Instant,
        out: list[Effect],
    ) -> bool:
        """A heartbeat, or an answer to one, has come.

        Returns:
            Whether its sender's state differs from this node's.

        Raises:
            InvariantBroken: It is this node's state that is wrong.
        """
        if self._fetcher.name is not None:
            out.extend(self._fetcher.handle_alive(peer, now))
        if m.snapshot.slot != self._saved_by.get(peer, 0):
            self._saved_by[peer] = m.snapshot.slot
            if not self._executes:
                self._follow_voters(now, out)
        if not self._executes:
            return False
        at = self._executor.results_digest_at
        differs = self._divergence.heard(peer, m.snapshot, m.results, at)
        if differs:
            live = self._configurations.live(self._learner.decided_through)
            why = self._divergence.contradiction(live)
            ensure(not why, f"{why}. Replace this node: `paxos member replace`")
        return differs

    def on_disconnected(
        self, peer: Voter, reached: list[Voter], now: Instant, out: list[Effect]
    ) -> None:
        """A connection broke: of one who fetched here, or of one who helped."""
        self._compaction.unpin(peer)
        self._divergence.forget(peer)
        self._saved_by.pop(peer, None)
        out.extend(self._fetcher.handle_disconnected(peer, reached, now))

    def on_deadline(self, reached: list[Voter], now: Instant, out: list[Effect]) -> None:
        """Ask again for what does not come. Called with every heartbeat, at least."""
        out.extend(self._fetcher.repeat(reached, now))
        self._compaction.pinned(now)

    def _is_on(self, slot: Slot) -> bool:
        return self._configurations.at(slot).feature >= FEATURE_MEMBERSHIP

    def _refuse(
        self, client: ClientId, request: TakeSnapshot, text: str, out: list[Effect]
    ) -> None:
        slot = self._executor.applied_through
        out.append(Reply(client, AdminAnswer(request.number, Status.REFUSED, slot, text)))
