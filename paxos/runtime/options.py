"""The bounds and choices of one node's shell, with defaults and reasons. Knows no I/O.

Unlike the core's limits these are local: two nodes of a cluster may differ in any of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SyncMode = Literal["inline", "thread"]
"""Where ``Storage.sync`` runs: in the node's one task, or on a thread of its own."""


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """How one node runs its replica.

    Attributes:
        sync: "inline" costs least where a sync takes well under a millisecond; "thread" keeps
            heartbeats and reads going while a slow disk syncs.
        clients_max: Client connections. One over it is closed with a text that says so.
        client_unsent_bytes_max: Answers a client has not taken. A client that reads slower than
            this is disconnected, so that it cannot make the node grow.
        peer_unsent_bytes_max: Frames a peer has not taken. Above it, frames to that peer are
            dropped and counted: the protocol sends them again.
        disk_retry_s: A full disk is looked at again this often, in seconds.
        snapshot_slice_s: A snapshot is made in slices of at most this long, in seconds: far below
            a heartbeat interval, so that heartbeats and writes go on between them.
        snapshot_pause_s: The pause after a slice, in seconds. With the default a snapshot takes a
            third of one processor while it is made, and the rest stays for clients.
        snapshot_bytes_per_s: Bytes of snapshots served per second, to all who fetch together.
            More than a disk or network usually gives; lower it where catching up must not take
            the network from clients.
        snapshot_unsent_bytes_max: While a peer or client has not taken so many bytes, no further
            piece of a snapshot is put before what else is for it.
    """

    sync: SyncMode = "inline"
    clients_max: int = 1_000
    client_unsent_bytes_max: int = 16 * 1024 * 1024
    peer_unsent_bytes_max: int = 32 * 1024 * 1024
    disk_retry_s: float = 1.0
    snapshot_slice_s: float = 0.002
    snapshot_pause_s: float = 0.004
    snapshot_bytes_per_s: int = 512 * 1024 * 1024
    snapshot_unsent_bytes_max: int = 512 * 1024
