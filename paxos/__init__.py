"""Multi-Paxos: bring a state machine, get a replicated one.

    async with paxos.open_node("cluster.toml", 1, machines={"counter": Counter()}):
        async with paxos.open_client("cluster.toml") as client:
            done = await client.submit("counter", b"+1")

Everything listed in ``__all__`` is public. Names are loaded when they are first used, so that
``paxos.core`` can be imported without trio, msgpack or a socket.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paxos.cluster import ClusterFile, ClusterFileInvalid
    from paxos.core.client import Done, Failed, Outcome, Refused, Unknown
    from paxos.core.errors import ConfigurationInvalid, InvariantBroken, PaxosError
    from paxos.core.state_machine import CommandFailed, Stamp, StateMachine, Watchable
    from paxos.runtime.client import (
        Answer,
        Client,
        NoReplicaReachable,
        OutcomeUnknown,
        RequestFailed,
        RequestRefused,
    )
    from paxos.runtime.node import Node
    from paxos.service import (
        MachineInvalid,
        memory_cluster,
        node_status,
        open_client,
        open_local,
        open_node,
        serve,
    )
    from paxos.storage.base import StorageError
    from paxos.transport import TransportError

_HOME = {
    "Answer": "paxos.runtime.client",
    "Client": "paxos.runtime.client",
    "ClusterFile": "paxos.cluster",
    "ClusterFileInvalid": "paxos.cluster",
    "CommandFailed": "paxos.core.state_machine",
    "ConfigurationInvalid": "paxos.core.errors",
    "Done": "paxos.core.client",
    "Failed": "paxos.core.client",
    "InvariantBroken": "paxos.core.errors",
    "MachineInvalid": "paxos.service",
    "NoReplicaReachable": "paxos.runtime.client",
    "Node": "paxos.runtime.node",
    "Outcome": "paxos.core.client",
    "OutcomeUnknown": "paxos.runtime.client",
    "PaxosError": "paxos.core.errors",
    "Refused": "paxos.core.client",
    "RequestFailed": "paxos.runtime.client",
    "RequestRefused": "paxos.runtime.client",
    "Stamp": "paxos.core.state_machine",
    "StateMachine": "paxos.core.state_machine",
    "StorageError": "paxos.storage.base",
    "TransportError": "paxos.transport",
    "Unknown": "paxos.core.client",
    "Watchable": "paxos.core.state_machine",
    "memory_cluster": "paxos.service",
    "node_status": "paxos.service",
    "open_client": "paxos.service",
    "open_local": "paxos.service",
    "open_node": "paxos.service",
    "serve": "paxos.service",
}
"""Where each public name is defined."""

__all__ = [
    "Answer",
    "Client",
    "ClusterFile",
    "ClusterFileInvalid",
    "CommandFailed",
    "ConfigurationInvalid",
    "Done",
    "Failed",
    "InvariantBroken",
    "MachineInvalid",
    "NoReplicaReachable",
    "Node",
    "Outcome",
    "OutcomeUnknown",
    "PaxosError",
    "Refused",
    "RequestFailed",
    "RequestRefused",
    "Stamp",
    "StateMachine",
    "StorageError",
    "TransportError",
    "Unknown",
    "Watchable",
    "memory_cluster",
    "node_status",
    "open_client",
    "open_local",
    "open_node",
    "serve",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
