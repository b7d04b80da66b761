"""Backups: a cluster's whole replicated state at one slot, in one file that can be verified.

Owns the file's format, numbered (``BACKUP_FORMAT``): a line that names it, a line of JSON that says
what it is, the bytes of a snapshot as nodes exchange them, and 16 bytes of BLAKE2b over all before.
It guards that a file under the asked name is whole, verified and durable, or is not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import trio

from paxos.core.config import Member, Part
from paxos.core.errors import PaxosError
from paxos.core.ids import Slot
from paxos.core.messages import SnapshotName
from paxos.core.snapshot import Snapshot, SnapshotHead
from paxos.operations import plans
from paxos.operations.plans import DirectoryTaken
from paxos.operations.survey import Survey
from paxos.runtime.admin import AdminRefused
from paxos.runtime.client import NoReplicaReachable, RequestRefused
from paxos.snapshot_format import SnapshotInvalid, read, verify

BACKUP_FORMAT = 1
DIGEST_BYTES = 16
HEAD_BYTES_MAX = 1024 * 1024
"""The line of JSON holds a cluster file; nothing sensible is longer."""
READ_BYTES = 1024 * 1024
ATTEMPTS = 3
"""How often a snapshot that was superseded while it was fetched is taken anew."""
POLL_S = 0.25
POLLS_MAX = 120
"""A node that is behind, and stands still for so many polls, is waited for no more."""

_MAGIC = f"paxos backup format {BACKUP_FORMAT}\n".encode()

Progress = Callable[[int, int], None]
"""Is told how many of how many bytes there are."""


class Source(Protocol):
    """What a backup asks of a running cluster; see ``paxos.operations.live``."""

    async def survey(self) -> Survey:
        """Ask all members about themselves."""

    async def barrier(self) -> Slot:
        """Return a slot that everything acknowledged before is at or below; see RequestRefused."""

    async def take_snapshot(self, url: str) -> SnapshotName:
        """Have one node take a snapshot now."""

    async def fetch_snapshot(
        self, url: str, name: SnapshotName, write: Callable[[bytes], None]
    ) -> None:
        """Fetch the bytes of a node's snapshot, checked; LookupError if it is gone."""


class BackupInvalid(PaxosError):
    """The file is no backup, or not what was written; the text names it and says what is wrong."""


@dataclass(frozen=True, slots=True)
class BackupHead:
    """What a backup says of itself.

    Attributes:
        cluster_id: Whose state it is.
        node: Which node it was taken from.
        version: The release that made it.
        through: The slot that the state reflects: everything up to it, nothing above.
        size: Bytes of the state.
        digest: Of these bytes, in hex.
        cluster_file: Text of the cluster file, if the one who made it had one.
    """

    cluster_id: str
    node: int
    version: str
    through: int
    size: int
    digest: str
    cluster_file: str | None


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup file that was opened; its state is read from the file as it is asked for."""

    path: Path
    head: BackupHead
    starts_at: int

    @property
    def snapshot(self) -> Snapshot:
        """The state.

        Raises:
            SnapshotInvalid: It is not one.
        """
        return read(self.head.size, self._read_at)

    def _read_at(self, offset: int, length: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.starts_at + offset)
            return file.read(length)


# --- reading ------------------------------------------------------------------------------------


def open_backup(path: Path) -> Backup:
    """Read what a backup says of itself, and nothing else of it.

    Raises:
        BackupInvalid: It is no backup of this format, or was cut.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        first = file.readline(len(_MAGIC))
        if first != _MAGIC:
            raise BackupInvalid(
                f"{path}: is no backup of format {BACKUP_FORMAT}: it does not begin with"
                f" {_MAGIC.decode().strip()!r}"
            )
        line = file.readline(HEAD_BYTES_MAX)
        starts_at = file.tell()
        whole = os.fstat(file.fileno()).st_size
    try:
        head = BackupHead(**json.loads(line))
        wanted = starts_at + head.size + DIGEST_BYTES
    except (TypeError, ValueError) as error:
        raise BackupInvalid(f"{path}: its second line is damaged: {error}") from error
    if whole != wanted:
        raise BackupInvalid(
            f"{path}: has {whole} bytes instead of {wanted}: it was cut or added to"
        )
    return Backup(path, head, starts_at)


def verify_backup(path: Path, progress: Progress | None = None) -> tuple[Backup, SnapshotHead]:
    """Read a backup to its end and check every byte.

    Raises:
        BackupInvalid: Something is wrong with it.
        OSError: It cannot be read.
    """
    backup = open_backup(path)
    total = hashlib.blake2b(digest_size=DIGEST_BYTES)
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with path.open("rb") as file:
        total.update(file.read(backup.starts_at))

        def pieces() -> Iterator[bytes]:
            done = 0
            while done < backup.head.size:
                piece = file.read(min(READ_BYTES, backup.head.size - done))
                if not piece:
                    raise BackupInvalid(f"{path}: ends early")
                total.update(piece)
                state.update(piece)
                done += len(piece)
                if progress is not None:
                    progress(done, backup.head.size)
                yield piece

        try:
            head = verify(pieces())
        except SnapshotInvalid as error:
            raise BackupInvalid(f"{path}: the state in it is damaged: {error}") from error
        said = file.read(DIGEST_BYTES)
    if total.digest() != said or state.hexdigest() != backup.head.digest:
        raise BackupInvalid(f"{path}: is not what was written: its checksum differs")
    if head.through != backup.head.through:
        raise BackupInvalid(
            f"{path}: says slot {backup.head.through} and holds the state of slot {head.through}"
        )
    return backup, head


# --- writing ------------------------------------------------------------------------------------


class _Writer:
    """A backup that is being written, beside its name."""

    def __init__(self, path: Path, head: BackupHead, progress: Progress | None) -> None:
        self._path = path
        self._head = head
        self._progress = progress
        self._written = 0
        self._digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self._beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        self._file: BinaryIO = self._beside.open("xb")
        self._put(_MAGIC + json.dumps(asdict(head), separators=(",", ":")).encode() + b"\n")

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)

    def write(self, data: bytes) -> None:
        """Write what comes next of the state."""
        self._put(data)
        self._written += len(data)
        if self._progress is not None:
            self._progress(self._written, self._head.size)

    def finish(self) -> None:
        """Make it durable, verify it, and only then give it its name."""
        self._file.write(self._digest.digest())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        verify_backup(self._beside)
        _refuse_existing(self._path)
        self._beside.rename(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def discard(self) -> None:
        """Delete what was written, unless it has its name by now."""
        self._file.close()
        self._beside.unlink(missing_ok=True)


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise DirectoryTaken(
            f"{path} exists, and a backup is never written over another",
            "Name a new file, or move that one away.",
        )


async def take_backup(
    cluster: Source,
    path: Path,
    *,
    node: int | None = None,
    cluster_file: str | None = None,
    version: str,
    progress: Progress | None = None,
) -> BackupHead:
    """Back a running cluster up. It reflects at least all that was acknowledged before.

    Who names a node may do so without a quorum too: then it reflects what that node knows, and at
    least what any node that answers knows to be decided.

    Args:
        cluster: The running cluster.
        path: Must not exist. When this returns, it is durable and verified.
        node: Take it from this node; if None, from a follower, which is disturbed least.
        cluster_file: Text of the cluster file, to be kept with it.
        version: This release.
        progress: Is told how far it is.

    Raises:
        DirectoryTaken: The file exists.
        AdminRefused, NoReplicaReachable: No node gave its state.
        RequestRefused: No leader could say what was acknowledged.
        OSError: The file cannot be written.
    """
    _refuse_existing(path)
    found = await cluster.survey()
    wanted = await _wanted(cluster, found, node)
    cluster_id = next(iter(found.documents.values()))["cluster_id"]
    trouble: AdminRefused | NoReplicaReachable | None = None
    for member in _sources(found, node):
        empty = BackupHead(cluster_id, member.node, version, 0, 0, "", cluster_file)
        try:
            return await _take_from(cluster, member, wanted, path, empty, progress)
        except (AdminRefused, NoReplicaReachable) as error:
            trouble = error
    if trouble is not None:
        raise trouble
    raise NoReplicaReachable("no member that keeps the state answered")


def _sources(found: Survey, node: int | None) -> list[Member]:
    """Whom to take it from, the best first."""
    configuration = found.governing.configuration
    if node is not None:
        return [plans.the_member(configuration, node)]
    usable = []
    for member in configuration.members:
        document = found.of(member)
        if document is not None and member.part is not Part.WITNESS:
            leads = member.node == found.leader
            usable.append((leads, -document["applied_through"], member))
    return [member for _, _, member in sorted(usable)]


async def _wanted(cluster: Source, found: Survey, node: int | None) -> Slot:
    """Return the slot through which the backup must reflect everything."""
    try:
        return max(found.decided_through, await cluster.barrier())
    except RequestRefused as error:
        if node is not None:
            return found.decided_through
        raise RequestRefused(
            f"no leader can say what was acknowledged last ({error.reason}); wait for one, or take"
            " what one node knows with --node"
        ) from error


async def _take_from(
    cluster: Source,
    member: Member,
    wanted: Slot,
    path: Path,
    empty: BackupHead,
    progress: Progress | None,
) -> BackupHead:
    attempts, polls, reached = ATTEMPTS, 0, 0
    while True:
        name = await cluster.take_snapshot(member.url)
        if name.through < wanted:
            # It is behind, and would leave out what was acknowledged before.
            polls = polls + 1 if name.through == reached else 0
            reached = name.through
            if polls == POLLS_MAX:
                raise NoReplicaReachable(
                    f"node {member.node} is at slot {reached}, behind slot {wanted}, and does not"
                    " catch up"
                )
            await trio.sleep(POLL_S)
            continue
        head = replace(empty, through=name.through, size=name.size, digest=name.digest.hex())
        try:
            await _fetch(cluster, member, name, path, head, progress)
        except LookupError as error:
            attempts -= 1
            if attempts == 0:
                raise NoReplicaReachable(
                    f"node {member.node} did not keep its snapshot long enough: {error}"
                ) from error
            continue
        return head


async def _fetch(
    cluster: Source,
    member: Member,
    name: SnapshotName,
    path: Path,
    head: BackupHead,
    progress: Progress | None,
) -> None:
    writer = _Writer(path, head, progress)
    try:
        await cluster.fetch_snapshot(member.url, name, writer.write)
        await trio.to_thread.run_sync(writer.finish)
    finally:
        writer.discard()


def backup_fields(head: BackupHead) -> dict[str, Any]:
    """Return a backup's head with the fields that scripts rely on."""
    fields = asdict(head)
    del fields["cluster_file"]
    return fields
