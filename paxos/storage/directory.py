"""A node's data directory: whose it is, and that one process at a time uses it.

Owns the identity file (format 1). It must never know how the log beside it is kept. It guards the
rule that a node's promises are relied on only together with the directory that holds them: a lost,
copied or mixed-up directory is told apart, never silently taken for another.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from paxos.storage.base import DataDamaged, Identity, StorageError, WrongIdentity
from paxos.storage.disk import LOCK_NAME, Disk, Lock, ReadableDisk

IDENTITY_NAME = "identity"
IDENTITY_FORMAT = 1
TEMPORARY_SUFFIX = ".tmp"
"""Files named so are unfinished. They hold nothing durable and are deleted at start."""

_IDENTITY = re.compile(
    rb"paxos identity format 1\ncluster ([0-9a-f]+)\nnode (\d{1,19})\nincarnation (\d{1,19})\n"
)
_CHECKSUM = re.compile(rb"(.*\n)crc32 ([0-9a-f]{8})\n", re.DOTALL)
_FORMAT = re.compile(rb"paxos identity format (\d+)\n")


def encode_identity(identity: Identity) -> bytes:
    """Return the contents of an identity file: text, so that a person can read it."""
    text = (
        f"paxos identity format {IDENTITY_FORMAT}\ncluster {identity.cluster}\n"
        f"node {identity.node}\nincarnation {identity.incarnation}\n"
    ).encode("ascii")
    return text + f"crc32 {zlib.crc32(text):08x}\n".encode("ascii")


def decode_identity(data: bytes, source: Path) -> Identity:
    """Read the contents of an identity file.

    Args:
        data: All of the file.
        source: Its path, for the error.

    Raises:
        DataDamaged: Not one bit may be wrong, and one is.
        StorageError: A later version of this program wrote it.
    """
    whole = _CHECKSUM.fullmatch(data)
    if whole is None or int(whole[2], 16) != zlib.crc32(whole[1]):
        raise DataDamaged(
            f"{source}: the identity file is damaged, so nobody can tell whose promises this"
            " directory holds; replace the node by one with a new id"
        )
    found = _IDENTITY.fullmatch(whole[1])
    if found is None:
        written = _FORMAT.match(whole[1])
        number = "unknown" if written is None else written[1].decode()
        raise StorageError(
            f"{source}: identity format {number}, this program reads format {IDENTITY_FORMAT};"
            " start the version that wrote it"
        )
    return Identity(found[1].decode(), int(found[2]), int(found[3]))


def read_identity(disk: ReadableDisk, directory: Path) -> Identity:
    """Return whose data directory this is.

    Raises:
        WrongIdentity: It has no identity yet, or no more, or does not exist.
        DataDamaged: The identity file is damaged.
    """
    path = directory / IDENTITY_NAME
    try:
        data = disk.read(path)
    except (FileNotFoundError, NotADirectoryError):
        raise WrongIdentity(
            f"{directory}: not a data directory: it has no file '{IDENTITY_NAME}'. If this node's"
            " data was lost, do not make it again under its old identity: the votes it gave would"
            " be forgotten and decided commands could be lost. Replace the node by one with a new"
            " id; `paxos init` is only for a cluster that never ran"
        ) from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    return decode_identity(data, path)


def check_identity(directory: Path, found: Identity, expected: Identity | None) -> None:
    """Refuse a directory of somebody else.

    Raises:
        WrongIdentity: It is not the expected one; the text says what is there.
    """
    if expected is None or found == expected:
        return
    wrong = [
        f"{name} {have} instead of {want}"
        for name, have, want in zip(Identity._fields, found, expected, strict=True)
        if have != want
    ]
    raise WrongIdentity(
        f"{directory}: belongs to another node: {', '.join(wrong)};"
        " correct the data directory or the node id in the configuration"
    )


def take_directory(disk: Disk, directory: Path, expected: Identity | None) -> tuple[Lock, Identity]:
    """Hold a data directory for this process.

    The identity is looked at first, so that nothing is written into a stranger's directory.

    Raises:
        WrongIdentity: It belongs to another node, or to nobody.
        DirectoryInUse: Another process holds it.
        DataDamaged: The identity file is damaged.
    """
    identity = read_identity(disk, directory)
    check_identity(directory, identity, expected)
    return _locked(disk, directory), identity


def start_directory(disk: Disk, directory: Path) -> Lock:
    """Make an empty directory, or take one, and hold it.

    Raises:
        StorageError: There is something in it.
    """
    try:
        disk.make_directory(directory)
    except OSError as error:
        raise StorageError(f"{directory}: cannot be made: {error.strerror or error}") from error
    found = [name for name in disk.names(directory) if name != LOCK_NAME]
    if found:
        raise StorageError(
            f"{directory}: is not empty (it holds {', '.join(found[:3])}); a data directory is made"
            " once, in an empty place"
        )
    return _locked(disk, directory)


def _locked(disk: Disk, directory: Path) -> Lock:
    try:
        return disk.lock(directory)
    except OSError as error:
        raise StorageError(f"{directory}: cannot be used: {error.strerror or error}") from error


def write_identity(disk: Disk, directory: Path, identity: Identity) -> None:
    """Say durably whose directory this is. The last step of making one."""
    path = directory / IDENTITY_NAME
    beside = path.with_suffix(TEMPORARY_SUFFIX)
    file = disk.create(beside)
    try:
        data = encode_identity(identity)
        if file.write((data,), 0) != len(data):
            raise StorageError(f"{beside}: could not be written in full")
        file.sync()
    finally:
        file.close()
    disk.rename(beside, path)
    disk.sync_directory(directory)
