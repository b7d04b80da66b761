"""Writes a node's log as a cluster would have left it: so many commands, decided, no snapshot.

It owns what is in such a log, and goes by the product's own storage and codec, so that a restart
cannot tell it from one that clients filled. It knows no process.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

from paxos import cluster as cluster_file
from paxos import codec
from paxos.core.ballot import Ballot
from paxos.core.ids import NodeId
from paxos.core.messages import OpenSession, Submit
from paxos.core.records import AcceptedRecord, PromisedRecord, Record, WatermarkRecord
from paxos.core.value import Value
from paxos.storage.segments import open_segments
from statemachines.edge_config_client import put_command

MACHINE = "config"
SESSIONS = 4
KEYS = 1000
BALLOT = Ballot(1, 1)
STAMP_US = 1_700_000_000_000_000


def write_log(config: Path, node: NodeId, commands: int, batch: int, value_bytes: int) -> None:
    """Fill the log of a node that has never run.

    Args:
        config: The cluster file.
        node: Whose log.
        commands: How many, puts of 1,000 keys in turn.
        batch: Commands in a slot, from four sessions; a multiple of 4.
        value_bytes: Of each put.
    """
    cluster = cluster_file.load(config)
    storage = open_segments(cluster.data_directory(node), cluster.identity(node))
    try:
        storage.load()
        storage.reserve()
        storage.append([PromisedRecord(BALLOT)])
        slot = 0
        for slot, value in enumerate(values(commands, batch, value_bytes), 1):
            records: list[Record] = [AcceptedRecord(BALLOT, slot, value)]
            if slot > 1:
                records.append(WatermarkRecord(BALLOT, slot - 1))
            storage.append(records)
            storage.sync()
            storage.reserve()
        storage.append([WatermarkRecord(BALLOT, slot)])
        storage.sync()
    finally:
        storage.close()


def values(commands: int, batch: int, value_bytes: int) -> Iterator[Value]:
    """Yield what the slots hold: the sessions are opened in the first."""
    opened = b"".join(
        codec.wrap_submission(codec.encode_submission(OpenSession(nonce)))
        for nonce in range(1, SESSIONS + 1)
    )
    yield Value(STAMP_US, opened)
    puts = puts_of(value_bytes)
    share = batch // SESSIONS
    for slot in range(commands // batch):
        first = slot * share + 1
        pieces = []
        for session in range(1, SESSIONS + 1):
            start = (slot * batch + session * share) % KEYS
            taken = tuple(puts[(start + each) % KEYS] for each in range(share))
            submit = Submit(session, first, first - 1, MACHINE, taken)
            pieces.append(codec.wrap_submission(codec.encode_submission(submit)))
        yield Value(STAMP_US + slot, b"".join(pieces))


def puts_of(value_bytes: int) -> list[bytes]:
    """Return the commands that a log repeats: a put of each key."""
    value = Random(value_bytes).randbytes(value_bytes)
    return [put_command(f"bench/{number:06d}", value) for number in range(KEYS)]
