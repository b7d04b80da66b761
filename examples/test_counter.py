from collections.abc import Iterable

from hypothesis import strategies as st

import paxos
from jepsen_like.harness import cluster_test


class Counter:  # a state machine of your own
    total = 0

    def apply(self, command: bytes, at: paxos.Stamp) -> bytes:
        self.total += int(command)
        return b"%d" % self.total

    def query(self, query: bytes) -> bytes:
        return b"%d" % self.total

    def snapshot(self) -> Iterable[bytes]:
        return [b"%d" % self.total]

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.total = int(b"".join(chunks))


test_counter = cluster_test(Counter, commands=st.sampled_from([b"1", b"-2"]), queries=st.just(b""))
