"""The cluster file: who the nodes are, where they listen and keep their data, and every bound.

Owns the meaning of ``cluster.toml``: it is read, checked and written nowhere else. A file that
could not be run safely is refused here, with a text that names the file, the table, the key and
what to do. Knows nothing of trio, transports or how a node runs.

Its nodes are the founding ones, and with ``alpha`` and ``feature`` they are history: the founding
configuration, from which the log goes on. They are never edited, and every node has the same. Who
is a member today stands in the log. A node that joined later has a file of its own, which names it,
and whom it may look for, under ``[[joined]]``: that only says where to begin.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import secrets
import shutil
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args
from urllib.parse import urlsplit

from paxos.codec import SNAPSHOT_CHUNK_BYTES_MAX
from paxos.core.config import (
    FEATURE,
    FEATURE_FIRST,
    FEATURE_MEMBERSHIP,
    Configuration,
    Configurations,
    Member,
    Part,
)
from paxos.core.config import NODES_MAX as MEMBERS_MAX
from paxos.core.errors import ConfigurationInvalid
from paxos.core.ids import NodeId, Voter
from paxos.core.limits import Limits, Timing
from paxos.core.quorum import Quorums
from paxos.runtime.options import NodeOptions, SyncMode
from paxos.storage.base import Identity
from paxos.transport import FRAME_BYTES_MAX

FILE_NAME = "cluster.toml"
ALPHA = 64
"""Slots in flight: enough to hide a round trip across clouds behind one write per slot."""
NODES_MAX = 9
"""More voters make every decision slower and lose nothing less likely."""
FRAME_SLACK = 64 * 1024
"""Room in a frame for everything around the values it carries."""
SCHEMES = ("tcp", "ws", "memory")

StorageKind = Literal["segments", "sqlite"]
PartName = Literal["voter", "witness", "learner"]

KEYS: Mapping[str, Mapping[str, str]] = {
    "": {
        "cluster": "32 hex digits, drawn once; keeps nodes of different clusters apart",
        "alpha": "slots, default 64: how many may be in flight; the same on all nodes, for ever",
        "feature": "what the founding nodes understood, default 1; never edited",
        "storage": '"segments" or "sqlite", default "segments": what keeps each node\'s log',
    },
    "nodes": {
        "id": "1, 2, 3, ... without a gap; never used again for another machine",
        "url": "tcp://host:port or ws://host:port: replicas and clients connect here",
        "data": "directory of the node's log, relative to this file",
        "incarnation": "drawn when the directory was made; a copied or re-made one does not match",
        "part": '"voter" (default), "witness" (votes, keeps no state) or "learner", at founding',
    },
    "joined": {
        "id": "above those of [[nodes]]; given by 'paxos member add'",
        "url": "where it listens, or where this node may look for it",
        "data": "directory of its log, relative to this file",
        "incarnation": "drawn when its directory was made",
        "part": '"voter" (default, a learner first) or "witness": as which it joins',
    },
    "limits": {
        "command_bytes_max": "bytes, default 2 MiB: one command; larger ones are refused",
        "submission_bytes_max": "bytes, default 4 MiB: one client frame of commands",
        "batch_bytes_max": "bytes, default 1 MiB: one slot; bounds a disk write and a frame",
        "pending_bytes_max": "bytes, default 64 MiB: what a leader holds before it says overloaded",
        "promise_bytes_max": "bytes, default 1 MiB: values in one frame of an election or catch-up",
        "sessions_max": "default 10,000, the same on all nodes: the least recently used goes first",
        "session_requests_max": "default 10,000, the same on all nodes: one client's open requests",
        "reads_max": "default 10,000: reads that wait, per client connection",
        "watches_max": "default 1,000: watches that wait, per client connection",
        "routes_max": "default 8: sessions whose results one client connection waits for",
        "snapshot_log_bytes": "bytes, default 8 MiB, the same on all nodes: one snapshot for each",
        "snapshot_entries": "slots, default 100,000, the same on all nodes: one snapshot for each",
        "kept_entries": "slots, default 10,000: kept below a snapshot for nodes a little behind",
        "kept_bytes": "bytes, default 8 MiB: the same in bytes; whichever is less",
        "snapshot_chunk_bytes": "bytes, default 1 MiB: a snapshot goes to a peer in such pieces",
    },
    "timing": {
        "heartbeat_interval_s": "seconds, default 0.1: several fit into an election timeout",
        "election_timeout_s": "seconds, default 0.5: well above the slowest sync and round trip",
        "resend_interval_s": "seconds, default 0.2: what was not answered is sent again",
        "notice_interval_s": "seconds, default 0.02: followers of an idle leader learn this late",
    },
    "serving": {
        "sync": '"inline" (default) or "thread": a thread keeps a node with a slow disk answering',
        "clients_max": "connections, default 1,000: one more is closed with a reason",
        "client_unsent_bytes_max": "bytes, default 16 MiB: a client that reads slower is cut off",
        "peer_unsent_bytes_max": "bytes, default 32 MiB: above it frames to that peer are dropped",
        "disk_retry_s": "seconds, default 1: how often a full disk is looked at again",
        "snapshot_slice_s": "seconds, default 0.002: a snapshot is made in slices of this length",
        "snapshot_pause_s": "seconds, default 0.004: between two slices, left to clients and peers",
        "snapshot_bytes_per_s": "bytes a second, default 512 MiB: snapshots served to all together",
        "snapshot_unsent_bytes_max": "bytes, default 512 KiB: above it no piece leaves",
    },
    "machines": {},
}
"""Every key of the file with its unit, default and reason; "machines" takes any name."""

T = TypeVar("T")


class ClusterFileInvalid(ConfigurationInvalid):
    """The cluster file cannot be used; the text names the file, the key and what to do."""


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """One node of the file. ``data`` is as written: relative to the file unless absolute.

    ``part`` is what a founding node took part in, or as which one that joined was made.
    """

    id: NodeId
    url: str
    data: str
    incarnation: int
    part: PartName = "voter"


@dataclass(frozen=True, slots=True)
class ClusterFile:
    """A checked cluster file.

    Attributes:
        path: The file; data directories are relative to its directory.
        cluster: The cluster's id, 32 hex digits.
        alpha: Slots in flight, fixed when the cluster is founded.
        nodes: The founding nodes, in order of their ids 1..N.
        limits: The core's bounds.
        timing: The core's durations.
        serving: Each node's shell.
        machines: ``module:Class`` of each state machine, by name.
        storage: What keeps each node's log; "memory" only for ``paxos.memory_cluster``.
        feature: Of the founding configuration.
        joined: Nodes that came later, in order of their ids: the one whose file this is, and those
            that it may look for.
    """

    path: Path
    cluster: str
    nodes: tuple[NodeEntry, ...]
    machines: Mapping[str, str]
    alpha: int = ALPHA
    limits: Limits = field(default_factory=Limits)
    timing: Timing = field(default_factory=Timing)
    serving: NodeOptions = field(default_factory=NodeOptions)
    storage: StorageKind | Literal["memory"] = "segments"
    feature: int = FEATURE
    joined: tuple[NodeEntry, ...] = ()

    @property
    def entries(self) -> tuple[NodeEntry, ...]:
        """Every node that the file names, in order of their ids."""
        return (*self.nodes, *self.joined)

    @property
    def urls(self) -> dict[NodeId, str]:
        """Where each node listened when the file was written."""
        return {entry.id: entry.url for entry in self.entries}

    def node(self, node: NodeId) -> NodeEntry:
        """Return the entry of ``node``.

        Raises:
            ClusterFileInvalid: The file has no such node.
        """
        for entry in self.entries:
            if entry.id == node:
                return entry
        raise ClusterFileInvalid(
            f"{self.path}: there is no node {node}; the file has nodes 1 to {len(self.nodes)}"
            + "".join(f" and {entry.id}" for entry in self.joined)
        )

    def voter(self, node: NodeId) -> Voter:
        """Return ``node`` in the life that this file names."""
        return Voter(node, self.node(node).incarnation)

    def identity(self, node: NodeId) -> Identity:
        """Return what the data directory of ``node`` must say it is."""
        return Identity(self.cluster, node, self.node(node).incarnation)

    def data_directory(self, node: NodeId) -> Path:
        """Return where ``node`` keeps its log."""
        return self.path.parent / self.node(node).data

    def configurations(self) -> Configurations:
        """Return the founding configuration: majorities of those that vote decide."""
        members = tuple(
            Member(each.id, each.incarnation, Part[each.part.upper()], each.url)
            for each in self.nodes
        )
        quorums = Quorums.majority([member.voter for member in members if member.part])
        return Configurations(Configuration(1, quorums, members, feature=self.feature), self.alpha)


# --- reading ------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str]) -> ClusterFile:
    """Read and check a cluster file.

    Raises:
        ClusterFileInvalid: It cannot be read, is not TOML, or says something that cannot be run.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ClusterFileInvalid(
            f"{path}: cannot be read ({error}); make one with 'paxos init DIR --replicas 3'"
        ) from error
    return parse(text, path)


def parse(text: str, path: Path) -> ClusterFile:
    """Check the text of a cluster file; ``path`` is for messages and relative directories.

    Raises:
        ClusterFileInvalid: As ``load``.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ClusterFileInvalid(f"{path}: is not valid TOML: {error}") from error
    top = _Table(path, "", document)
    top.refuse_unknown({*KEYS[""], *(name for name in KEYS if name)})
    nodes = _nodes(top)
    joined = _joined(top, nodes)
    limits = top.dataclass("limits", Limits)
    _check_sizes(path, limits)
    made = ClusterFile(
        path=path,
        cluster=top.take("cluster", _cluster_id),
        nodes=nodes,
        machines=_machines(top),
        alpha=top.take("alpha", partial(_whole, at_least=1), ALPHA),
        limits=limits,
        timing=top.dataclass("timing", Timing),
        serving=top.dataclass("serving", NodeOptions),
        storage=top.take("storage", partial(_one_of, StorageKind), "segments"),
        feature=top.take("feature", _feature, FEATURE_FIRST),
        joined=joined,
    )
    _check_parts(top, made)
    return made


def _check_parts(top: _Table, made: ClusterFile) -> None:
    for entry in made.nodes:
        if made.feature < FEATURE_MEMBERSHIP and entry.part != "voter":
            raise top.invalid(
                f"node {entry.id} is a {entry.part}, which a cluster of feature {made.feature}"
                " does not know"
            )
    try:
        made.configurations()
    except ConfigurationInvalid as error:
        raise top.invalid(f"the nodes cannot found a cluster: {error}") from error


_REQUIRED: Any = object()


class _Table:
    """One table of the file, with its name for messages."""

    def __init__(self, path: Path, name: str, values: dict[str, Any]) -> None:
        self.values = values
        self.path = path
        self._name = name

    def invalid(self, text: str) -> ClusterFileInvalid:
        where = f"{self.path}: {self._name}" if self._name else f"{self.path}"
        return ClusterFileInvalid(f"{where}: {text}")

    def refuse_unknown(self, known: Iterable[str]) -> None:
        names = sorted(known)
        for key in self.values:
            if key not in names:
                near = difflib.get_close_matches(key, names, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(names)}"
                raise self.invalid(f"unknown key {key!r}; {hint}")

    def take(self, key: str, check: Callable[[Any], T], default: T = _REQUIRED) -> T:
        """Return the checked value of ``key``; ``check`` raises ValueError with what is wanted."""
        if key not in self.values:
            if default is _REQUIRED:
                raise self.invalid(f"key {key!r} is missing")
            return default
        value = self.values[key]
        try:
            return check(value)
        except ValueError as error:
            raise self.invalid(f"key {key!r} is {value!r}; {error}") from error

    def table(self, key: str) -> _Table:
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self.invalid(f"{key!r} must be a table: write [{key}] on a line of its own")
        return _Table(self.path, f"[{key}]", value)

    def dataclass(self, key: str, kind: Callable[..., T]) -> T:
        """Return a dataclass of bounds from the table ``key``; absent keys keep their defaults."""
        table = self.table(key)
        defaults = kind()
        names = [item.name for item in fields(defaults)]  # type: ignore[arg-type]
        table.refuse_unknown(names)
        chosen = {
            name: table.take(name, _check_like(getattr(defaults, name)))
            for name in names
            if name in table.values
        }
        try:
            return kind(**chosen)
        except ConfigurationInvalid as error:
            raise table.invalid(str(error)) from error


def _check_like(default: object) -> Callable[[Any], Any]:
    if isinstance(default, str):
        return partial(_one_of, SyncMode)
    return _seconds if isinstance(default, float) else partial(_whole, at_least=1)


def _whole(value: object, at_least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not at_least <= value < 2**63:
        raise ValueError(f"it must be a whole number from {at_least} on")
    return value


def _feature(value: object) -> int:
    feature = _whole(value, at_least=FEATURE_FIRST)
    if feature > FEATURE:
        raise ValueError(
            f"this release understands features up to {FEATURE}: run a later release of it here"
        )
    return feature


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 86_400:
        raise ValueError("it must be a number of seconds, above 0 and at most 86400")
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("it must be a text that is not empty")
    return value


def _one_of(kind: Any, value: object) -> Any:
    choices = get_args(kind)
    if value not in choices:
        raise ValueError(f"it must be one of: {', '.join(map(repr, choices))}")
    return value


def _cluster_id(value: object) -> str:
    text = _text(value)
    if len(text) != 32 or any(c not in "0123456789abcdef" for c in text):
        raise ValueError("it must be 32 lower-case hex digits, as 'paxos init' draws them")
    return text


def _url(value: object) -> str:
    text = _text(value)
    wanted = "write it like tcp://127.0.0.1:7001"
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"its scheme must be one of {', '.join(SCHEMES)}: {wanted}")
    if parts.scheme == "memory":
        return text
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"its port must lie between 1 and 65535: {wanted}") from error
    if not parts.hostname or not port:
        raise ValueError(f"it needs a host and a port from 1 to 65535: {wanted}")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise ValueError(f"nothing may follow the port or precede the host: {wanted}")
    return text


def _machine_class(value: object) -> str:
    text = _text(value)
    module, _, name = text.partition(":")
    parts = module.split(".")
    if not name.isidentifier() or not all(part.isidentifier() for part in parts):
        raise ValueError('it must be "module:Class", like "statemachines.edge_config:EdgeConfig"')
    return text


def _nodes(top: _Table) -> tuple[NodeEntry, ...]:
    entries = top.values.get("nodes")
    if not isinstance(entries, list) or not entries:
        raise top.invalid("it names no nodes: write one [[nodes]] table for each")
    if len(entries) > NODES_MAX:
        raise top.invalid(f"it has {len(entries)} nodes; more than {NODES_MAX} are not supported")
    nodes = [_node(top, "nodes", position, entry) for position, entry in enumerate(entries, 1)]
    _refuse_same(top, "nodes", "id", [node.id for node in nodes])
    _refuse_same(top, "nodes", "url", [node.url.rstrip("/") for node in nodes])
    _refuse_same(top, "nodes", "data", [os.path.normpath(node.data) for node in nodes])
    missing = sorted(set(range(1, len(nodes) + 1)) - {node.id for node in nodes})
    if missing:
        raise top.invalid(
            f"node {missing[0]} is missing: {len(nodes)} nodes need the ids 1 to {len(nodes)}"
        )
    return tuple(sorted(nodes, key=lambda node: node.id))


def _joined(top: _Table, nodes: Sequence[NodeEntry]) -> tuple[NodeEntry, ...]:
    entries = top.values.get("joined", [])
    if not isinstance(entries, list):
        raise top.invalid("'joined' must be tables: write [[joined]] on a line of its own")
    if len(nodes) + len(entries) > MEMBERS_MAX:
        raise top.invalid(f"it names more than {MEMBERS_MAX} nodes")
    joined = [_node(top, "joined", position, entry) for position, entry in enumerate(entries, 1)]
    _refuse_same(top, "joined", "id", [node.id for node in joined])
    # A url may be that of a node which has left; a directory is one node's for ever.
    directories = [os.path.normpath(node.data) for node in nodes]
    _refuse_same(top, "joined", "data", [os.path.normpath(node.data) for node in joined])
    for position, node in enumerate(joined, 1):
        if node.id <= len(nodes):
            raise top.invalid(
                f"[[joined]] number {position} has the id {node.id} of a founding node;"
                " an id is never used again"
            )
        if os.path.normpath(node.data) in directories:
            raise top.invalid(
                f"[[joined]] number {position} has the 'data' of a founding node, {node.data!r};"
                " give it its own"
            )
    return tuple(sorted(joined, key=lambda node: node.id))


def _node(top: _Table, kind: str, position: int, entry: object) -> NodeEntry:
    name = f"[[{kind}]] number {position}"
    if not isinstance(entry, dict):
        raise top.invalid(f"{name} must be a table: write [[{kind}]] on a line of its own")
    table = _Table(top.path, name, entry)
    table.refuse_unknown(KEYS[kind])
    return NodeEntry(
        id=table.take("id", partial(_whole, at_least=1)),
        url=table.take("url", _url),
        data=table.take("data", _text),
        incarnation=table.take("incarnation", partial(_whole, at_least=0)),
        part=table.take("part", partial(_one_of, PartName), "voter"),
    )


def _refuse_same(top: _Table, kind: str, key: str, values: list[Any]) -> None:
    for position, value in enumerate(values):
        if value in values[:position]:
            first = values.index(value) + 1
            raise top.invalid(
                f"[[{kind}]] number {first} and number {position + 1} have the same {key!r},"
                f" {value!r}; give each node its own"
            )


def _machines(top: _Table) -> dict[str, str]:
    table = top.table("machines")
    if not table.values:
        raise table.invalid('it names no state machine: write name = "module:Class"')
    return {name: table.take(name, _machine_class) for name in table.values}


def _check_sizes(path: Path, limits: Limits) -> None:
    def invalid(text: str) -> ClusterFileInvalid:
        return ClusterFileInvalid(f"{path}: [limits]: {text}")

    # A batch holds what fits, or one submission that is larger by itself.
    largest = max(limits.batch_bytes_max, limits.submission_bytes_max)
    if limits.promise_bytes_max + largest + FRAME_SLACK > FRAME_BYTES_MAX:
        raise invalid(
            "promise_bytes_max and the larger of batch_bytes_max and submission_bytes_max add up"
            f" to {limits.promise_bytes_max + largest} bytes, which does not fit a frame of"
            f" {FRAME_BYTES_MAX} bytes; lower one of them"
        )
    if limits.submission_bytes_max < limits.command_bytes_max + FRAME_SLACK:
        raise invalid(
            f"submission_bytes_max must be at least {FRAME_SLACK} bytes above command_bytes_max, so"
            " that the largest command fits a submission; raise it"
        )
    if limits.pending_bytes_max < limits.submission_bytes_max:
        raise invalid(
            "pending_bytes_max is below submission_bytes_max, so that the largest submission would"
            " always be refused; raise it"
        )
    if limits.snapshot_chunk_bytes > SNAPSHOT_CHUNK_BYTES_MAX:
        raise invalid(
            f"snapshot_chunk_bytes is above {SNAPSHOT_CHUNK_BYTES_MAX}, the largest piece of a"
            " snapshot that fits a frame; lower it"
        )


# --- writing ------------------------------------------------------------------------------------


def dump(cluster: ClusterFile) -> str:
    """Return the text of a cluster file, with the unit, default and reason of every key."""
    lines = [
        "# A paxos cluster. Every node and every client reads this file.",
        "# Every key of limits, timing and serving may be left out, and has its default then.",
        "",
        *_entries("", {name: getattr(cluster, name) for name in KEYS[""]}),
    ]
    for position, entry in enumerate(cluster.nodes):
        lines += ["", "[[nodes]]", *_entries("nodes", _values(entry), comments=position == 0)]
    for position, entry in enumerate(cluster.joined):
        lines += ["", "[[joined]]", *_entries("joined", _values(entry), comments=position == 0)]
    lines += ["", '# The replicated state machines: name = "module:Class".', "[machines]"]
    lines += [f"{_toml(name, key=True)} = {_toml(kind)}" for name, kind in cluster.machines.items()]
    for table in ("limits", "timing", "serving"):
        lines += ["", f"[{table}]", *_entries(table, _values(getattr(cluster, table)))]
    return "\n".join(lines) + "\n"


def _values(item: Any) -> dict[str, Any]:
    return {entry.name: getattr(item, entry.name) for entry in fields(item)}


def _entries(table: str, values: Mapping[str, Any], comments: bool = True) -> list[str]:
    lines = []
    for key, value in values.items():
        if comments:
            lines.append(f"# {KEYS[table][key]}")
        lines.append(f"{key} = {_toml(value)}")
    return lines


def _toml(value: str | int | float, key: bool = False) -> str:
    if not isinstance(value, str):
        return repr(value)
    if key and value and all(c.isascii() and (c.isalnum() or c in "_-") for c in value):
        return value
    escaped = "".join(_toml_character(character) for character in value)
    return f'"{escaped}"'


def _toml_character(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if ord(character) < 0x20 or ord(character) == 0x7F:
        return f"\\u{ord(character):04x}"
    return character


# --- founding -----------------------------------------------------------------------------------


def found(
    directory: str | os.PathLike[str],
    *,
    replicas: int,
    machines: Mapping[str, str],
    transport: str = "tcp",
    base_port: int = 7001,
    storage: StorageKind = "segments",
) -> ClusterFile:
    """Found a cluster: draw its id, make every node's data directory, then write the file.

    The file is written last, so that a directory with a cluster file is a complete cluster. After
    a failure nothing that was made here is left.

    Args:
        directory: Must be empty or absent.
        replicas: How many nodes; 3 and 5 are sensible.
        machines: ``module:Class`` of each state machine, by name.
        transport: The scheme of the nodes' URLs, "tcp" or "ws".
        base_port: Node 1 listens on this port of 127.0.0.1, the others on those after it.
        storage: What keeps the logs.

    Raises:
        ClusterFileInvalid: The directory is not empty, or an argument makes no sense.
        StorageError: A data directory could not be made.
        OSError: The directory or the file could not be written.
    """
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ClusterFileInvalid(
            f"{directory}: is not an empty directory; name one that is empty or does not exist"
        )
    if not 1 <= replicas <= NODES_MAX:
        raise ClusterFileInvalid(f"replicas must lie between 1 and {NODES_MAX}, not {replicas}")
    nodes = tuple(
        NodeEntry(
            node,
            f"{transport}://127.0.0.1:{base_port + node - 1}",
            f"node-{node}",
            secrets.randbelow(2**62) + 1,
        )
        for node in range(1, replicas + 1)
    )
    cluster = ClusterFile(
        directory / FILE_NAME, secrets.token_hex(16), nodes, dict(machines), storage=storage
    )
    # What we write must be what we would read; also checks every argument at one place.
    text = dump(cluster)
    cluster = parse(text, cluster.path)
    directory.mkdir(parents=True, exist_ok=True)
    try:
        for entry in nodes:
            create_data_directory(cluster, entry.id)
        write_durably(cluster.path, text)
    except BaseException:
        for entry in nodes:
            shutil.rmtree(cluster.data_directory(entry.id), ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            cluster.path.unlink()
        raise
    return cluster


def create_data_directory(cluster: ClusterFile, node: NodeId) -> None:
    """Make the data directory of ``node``: identity and first batch, durable.

    Raises:
        StorageError: It exists, or could not be made.
    """
    if cluster.storage == "sqlite":
        from paxos.storage import sqlite

        sqlite.create(cluster.data_directory(node), cluster.identity(node))
    else:
        from paxos.storage import segments

        segments.create(cluster.data_directory(node), cluster.identity(node))


def write_durably(path: Path, text: str) -> None:
    """Write a cluster file: beside, synced, then renamed into place.

    Raises:
        OSError: It could not be written; what stood there before still does.
    """
    beside = path.with_suffix(".tmp")
    with beside.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
