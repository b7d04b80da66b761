"""The writes that our machines are loaded with: puts of 1,000 keys in turn, without end.

Keys have 16 bytes, as those that the peers are loaded with.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from random import Random

from benchmarks import minimal_store
from benchmarks.peers.lifecycle import VALUE_BYTES
from statemachines.edge_config_client import put_command

KEYS = 1000


def key_of(number: int) -> str:
    """Return one of the keys, which go round."""
    return f"bench/{number % KEYS:010}"


def puts(machine: str) -> Iterator[bytes]:
    """Yield commands of a machine, the edge configuration or the minimal one."""
    value = Random(VALUE_BYTES).randbytes(VALUE_BYTES)
    for number in count():
        key = key_of(number)
        if machine == minimal_store.MACHINE:
            yield minimal_store.put(key.encode(), value)
        else:
            yield put_command(key, value)
