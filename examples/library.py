from collections.abc import Iterable

import trio

import paxos


class Counter:  # a state machine of your own: four methods, nothing to inherit
    total = 0

    def apply(self, command: bytes, at: paxos.Stamp) -> bytes:
        self.total += int(command)
        return self.query(b"")

    def query(self, query: bytes) -> bytes:
        return b"%d" % self.total

    def snapshot(self) -> Iterable[bytes]:
        return [self.query(b"")]

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.total = int(b"".join(chunks))


async def main() -> None:
    async with paxos.open_local({"counter": Counter}, replicas=3) as client:
        print((await client.submit("counter", b"42")).data)  # on a quorum by now


trio.run(main)
