"""Makes the directory of a node that joins: its own cluster file, and a data directory beside it.

Owns what is in such a directory and when it may be taken up again after a command that was cut
short. The cluster file is written last, so that a directory which has one is complete. The
founding nodes stand in it as they were: they are the cluster's history, not its present.
"""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from paxos import cluster as cluster_file
from paxos.cluster import FILE_NAME, ClusterFile, NodeEntry, PartName
from paxos.core.config import Configuration, Member, Part
from paxos.core.ids import NodeId
from paxos.operations.plans import DirectoryTaken


@dataclass(frozen=True, slots=True)
class NewNode:
    """A node's directory, made for it alone.

    Attributes:
        file: Its own cluster file.
        entry: Who it is.
    """

    file: ClusterFile
    entry: NodeEntry

    def member(self, priority: int = 0) -> Member:
        """Return it as a member of a configuration: a witness, or at first a learner."""
        entry = self.entry
        part = Part.WITNESS if entry.part == "witness" else Part.LEARNER
        return Member(entry.id, entry.incarnation, part, entry.url, priority)


def make_directory(
    file: ClusterFile,
    configuration: Configuration,
    directory: Path,
    url: str,
    *,
    is_witness: bool = False,
) -> NewNode:
    """Make the directory of the next node. After a failure nothing that was made here is left.

    Args:
        file: A cluster file of any member: for the cluster's id, its machines and its bounds.
        configuration: The latest one, for the node's id and who else is there.
        directory: Must be empty or absent.
        url: Where the node will listen.
        is_witness: Whether it will only vote.

    Raises:
        DirectoryTaken: The directory is not empty.
        ClusterFileInvalid: The URL makes no sense.
        StorageError: The data directory could not be made.
        OSError: The directory or the file could not be written.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise DirectoryTaken(
            f"{directory} is not an empty directory", "Name one that is empty or does not exist."
        )
    node = configuration.next_node
    part: PartName = "witness" if is_witness else "voter"
    incarnation = secrets.randbelow(2**62) + 1
    entry = NodeEntry(node, url, f"node-{node}", incarnation, part)
    text = cluster_file.dump(_file_for(file, configuration, directory / FILE_NAME, entry))
    made = cluster_file.parse(text, directory / FILE_NAME)
    directory.mkdir(parents=True, exist_ok=True)
    try:
        cluster_file.create_data_directory(made, node)
        cluster_file.write_durably(made.path, text)
    except BaseException:
        unmake(NewNode(made, entry))
        raise
    return NewNode(made, made.node(node))


def _file_for(
    file: ClusterFile, configuration: Configuration, path: Path, entry: NodeEntry
) -> ClusterFile:
    """The file of the joining node: the founders as they were, and who came later, to be found."""
    founders = {each.id for each in file.nodes}
    others = tuple(
        NodeEntry(member.node, member.url, f"node-{member.node}", member.incarnation)
        for member in configuration.members
        if member.node not in founders and member.url
    )
    return replace(file, path=path, joined=(*others, entry))


def take_up(file: ClusterFile, directory: Path, node: NodeId | None = None) -> NewNode | None:
    """Return the node whose directory this is already; None if it is nobody's.

    Args:
        file: A cluster file of the cluster it must belong to.
        directory: Perhaps made by a command that did not come to its end.
        node: Which node it must be; if None, the latest that its file names.

    Raises:
        DirectoryTaken: It belongs to another cluster.
        ClusterFileInvalid: Its cluster file cannot be used.
    """
    path = directory / FILE_NAME
    if not path.exists():
        return None
    found = cluster_file.load(path)
    if found.cluster != file.cluster:
        raise DirectoryTaken(
            f"{path} is of cluster {found.cluster}, not of {file.cluster}",
            "Name an empty directory.",
        )
    if not found.joined or (node is not None and found.joined[-1].id != node):
        raise DirectoryTaken(
            f"{path} is not the file of a node that joins", "Name an empty directory."
        )
    return NewNode(found, found.joined[-1])


def unmake(node: NewNode) -> None:
    """Delete what was made for a node that never joined. The directory stays, empty."""
    node.file.path.unlink(missing_ok=True)
    shutil.rmtree(node.file.data_directory(node.entry.id), ignore_errors=True)
