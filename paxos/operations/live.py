"""A running cluster as operators' tasks see it: every request of theirs in one place.

Owns where requests go: to all members of the latest configuration, not only to those that the
operator's file or URLs name. Which transport and how to find the leader is ``paxos.service``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from paxos import service
from paxos.core.config import Configuration
from paxos.core.ids import NodeId, Slot
from paxos.core.messages import SnapshotName
from paxos.operations.survey import Survey, survey
from paxos.runtime.admin import AdminDone
from paxos.runtime.client import NoReplicaReachable

STATUS_TIMEOUT_S = 2.0
"""A replica that is well answers sooner; one that hangs must not hold up what the rest say."""

BARRIER_TIMEOUT_S = 10.0
"""A cluster that is well has a leader long before."""


class LiveCluster:
    """A running cluster.

    Args:
        endpoints: URLs of some of its nodes.
        cluster: Its id; empty for the one that answers.
        timeout_s: How long a request may take.
    """

    def __init__(self, endpoints: Sequence[str], cluster: str, timeout_s: float) -> None:
        self._endpoints = tuple(endpoints)
        self._cluster = cluster
        self._timeout_s = timeout_s

    async def survey(self) -> Survey:
        """Ask all members about themselves.

        Raises:
            NoReplicaReachable: Nobody answered.
        """
        found = await survey(self._ask, self._endpoints)
        named = [member.url for member in found.governing.configuration.members if member.url]
        # Those that answered first: a request that goes to a dead node only loses time.
        known = dict.fromkeys((*found.documents, *named, *self._endpoints))
        self._endpoints = tuple(known)
        self._cluster = next(iter(found.documents.values()))["cluster_id"]
        return found

    async def status(self, url: str) -> Mapping[str, Any] | str:
        """Ask one node about itself; a text says why there is no answer."""
        try:
            return await self._ask(url)
        except NoReplicaReachable as error:
            return error.reason

    async def _ask(self, url: str) -> Mapping[str, Any]:
        timeout = min(self._timeout_s, STATUS_TIMEOUT_S)
        return await service.node_status(url, cluster=self._cluster, timeout=timeout)

    async def reconfigure(self, configuration: Configuration) -> AdminDone:
        """Have a configuration decided and settled; also if it is the latest one already.

        Raises:
            AdminRefused: The leader's reason, and what to do.
            NoReplicaReachable: It was never asked for.
            OutcomeUnknown: Asked for, and no answer. To ask again does no harm.
        """
        return await service.reconfigure(
            self._endpoints, configuration, cluster=self._cluster, timeout=self._timeout_s
        )

    async def transfer_leader(self, to: NodeId = 0) -> AdminDone:
        """Have the leader hand over.

        Raises:
            AdminRefused, NoReplicaReachable, OutcomeUnknown: As ``reconfigure``.
        """
        return await service.transfer_leader(
            self._endpoints, to, cluster=self._cluster, timeout=self._timeout_s
        )

    async def barrier(self) -> Slot:
        """Return a slot that everything acknowledged before is at or below.

        Raises:
            RequestRefused: No leader with a quorum answered in time.
        """
        timeout = min(self._timeout_s, BARRIER_TIMEOUT_S)
        async with service.open_client(
            self._endpoints, cluster=self._cluster, timeout=timeout
        ) as client:
            return await client.barrier()

    async def take_snapshot(self, url: str) -> SnapshotName:
        """Have one node take a snapshot and compact its log by it.

        Raises:
            AdminRefused, NoReplicaReachable, OutcomeUnknown: As ``reconfigure``.
        """
        return await service.take_snapshot(url, cluster=self._cluster, timeout=self._timeout_s)

    async def fetch_snapshot(
        self, url: str, name: SnapshotName, write: Callable[[bytes], None]
    ) -> None:
        """Fetch the bytes of a node's snapshot, checked.

        Raises:
            LookupError: The node does not have it (any more).
            NoReplicaReachable: The node fell silent.
        """
        await service.fetch_snapshot(
            url, name, write, cluster=self._cluster, timeout=self._timeout_s
        )
