"""Founds a new cluster that begins with an old one's state: for restore, and for recovery.

Owns what of the old cluster lives on and what does not. The state machines, replicated time and the
numbers of slots go on, because revisions and stamps are made of them. The cluster's id, the nodes'
incarnations and the configuration are new, so that no old node and no old message can mix in: the
log of every new node begins right behind the state, and the founding configuration governs from
there. The sessions are dropped, and their ids are never given again: what an old client still has
open did perhaps happen, perhaps not; it must end as unknown, never be answered with what somebody
else asked.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from paxos import cluster as cluster_file
from paxos import service
from paxos.cluster import FILE_NAME, ClusterFile, NodeEntry, StorageKind
from paxos.core.config import FEATURE, Governing
from paxos.core.errors import ensure
from paxos.core.messages import SnapshotName
from paxos.core.sessions import SessionTable
from paxos.core.snapshot import SESSIONS, Snapshot, SnapshotPart
from paxos.operations.plans import DirectoryTaken
from paxos.snapshot_format import encode, read

SESSION_IDS_SKIPPED = 2**32
"""More sessions than the old cluster can have opened since the state was taken."""
STATE_NAME = "state.tmp"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Founding:
    """What the new cluster is to be.

    Attributes:
        directory: Must be empty or absent.
        urls: Where each node listens, from node 1 on.
        like: The old cluster's file: machines, bounds and alpha are taken from it. Machines that
            the old cluster did not run begin empty.
        storage: What keeps the logs.
    """

    directory: Path
    urls: Sequence[str]
    like: ClusterFile
    storage: StorageKind


def found_from(
    state: Snapshot, founding: Founding, progress: Progress | None = None
) -> ClusterFile:
    """Found a cluster whose log begins from ``state``. After a failure nothing of it is left.

    Args:
        state: What it begins with; its parts are read once.
        founding: What it is to be.
        progress: Is told how many of how many nodes are made.

    Raises:
        DirectoryTaken: The directory is not empty.
        ClusterFileInvalid: A URL makes no sense.
        SnapshotInvalid: The state is damaged.
        MachineInvalid: A machine of which there is no state cannot be loaded.
        StorageError: A data directory could not be made.
        OSError: The directory or a file could not be written.
    """
    directory = founding.directory
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise DirectoryTaken(
            f"{directory} is not an empty directory", "Name one that is empty or does not exist."
        )
    nodes = tuple(
        NodeEntry(node, url, f"node-{node}", secrets.randbelow(2**62) + 1)
        for node, url in enumerate(founding.urls, 1)
    )
    wanted = replace(
        founding.like,
        path=directory / FILE_NAME,
        cluster=secrets.token_hex(16),
        nodes=nodes,
        joined=(),
        feature=FEATURE,
        storage=founding.storage,
    )
    text = cluster_file.dump(wanted)
    made = cluster_file.parse(text, wanted.path)
    directory.mkdir(parents=True, exist_ok=True)
    held = directory / STATE_NAME
    try:
        size = _write_state(made, state, held)
        for entry in made.nodes:
            cluster_file.create_data_directory(made, entry.id)
            _fill(made, entry.id, _opened(held, size))
            if progress is not None:
                progress(entry.id, len(made.nodes))
        held.unlink()
        cluster_file.write_durably(made.path, text)
    except BaseException:
        for entry in made.nodes:
            shutil.rmtree(made.data_directory(entry.id), ignore_errors=True)
        held.unlink(missing_ok=True)
        made.path.unlink(missing_ok=True)
        raise
    return made


def _write_state(cluster: ClusterFile, state: Snapshot, path: Path) -> int:
    """Write the new cluster's first snapshot once, because its parts can be read only once."""
    founding = Governing(1, cluster.configurations().latest)
    head = state.head._replace(governing=(founding,))
    size = 0
    with path.open("xb") as file:
        for piece in encode(Snapshot(head, lambda: _founding_parts(cluster, state))):
            size += file.write(piece)
    return size


def _founding_parts(cluster: ClusterFile, state: Snapshot) -> Iterator[SnapshotPart]:
    """Let the machines that the old cluster did not run begin empty, on every node alike."""
    ahead = sorted(cluster.machines)
    for section, parts in groupby(_without_sessions(state), key=attrgetter("section")):
        while ahead and ahead[0] < section:
            yield from _empty(cluster, ahead.pop(0))
        if ahead and ahead[0] == section:
            ahead.pop(0)
        yield from parts
    for name in ahead:
        yield from _empty(cluster, name)


def _empty(cluster: ClusterFile, name: str) -> Iterator[SnapshotPart]:
    """Give the state of a fresh machine; none if that is no chunks at all."""
    (machine,) = service.load_machines({name: cluster.machines[name]}).values()
    for chunk in machine.snapshot():
        yield SnapshotPart(name, chunk)


def _without_sessions(state: Snapshot) -> Iterator[SnapshotPart]:
    for section, parts in groupby(state.parts(), key=attrgetter("section")):
        if section != SESSIONS:
            yield from parts
            continue
        table = SessionTable(1)
        table.restore(part.chunk for part in parts)
        table.forget_all(SESSION_IDS_SKIPPED)
        for chunk in table.chunks():
            yield SnapshotPart(SESSIONS, chunk)


def _opened(path: Path, size: int) -> Snapshot:
    def read_at(offset: int, length: int) -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    return read(size, read_at)


def _fill(cluster: ClusterFile, node: int, state: Snapshot) -> SnapshotName:
    """Make ``state`` all that a fresh node knows: its snapshot, and a log compacted up to it."""
    through = state.head.through
    storage = service.open_storage(cluster, node)
    try:
        loaded = storage.load()
        ensure(not loaded.records and loaded.snapshot is None, "a fresh directory holds something")
        writer = storage.begin_snapshot(through)
        for piece in encode(state):
            writer.write(piece)
        name = writer.finish()
        storage.compact(through)
        storage.sync()
        return name
    finally:
        storage.close()


def urls_from(transport: str, base_port: int, replicas: int) -> list[str]:
    """Return URLs on this machine, as ``paxos init`` gives them."""
    return [f"{transport}://127.0.0.1:{base_port + node}" for node in range(replicas)]
