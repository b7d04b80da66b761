"""A state machine of your own, replicated by three nodes inside one process."""

from contextlib import AsyncExitStack

import trio

import paxos


class Counter:
    total = 0

    def apply(self, command, at):
        self.total += int(command)
        return str(self.total).encode()

    def query(self, query):
        return str(self.total).encode()

    def snapshot(self):
        return [str(self.total).encode()]

    def restore(self, chunks):
        self.total = int(b"".join(chunks))


async def main():
    cluster = paxos.memory_cluster(3)
    async with AsyncExitStack() as stack:
        for node in cluster.urls:
            opened = paxos.open_node(cluster, node, machines={"counter": Counter()})
            await stack.enter_async_context(opened)
        client = await stack.enter_async_context(paxos.open_client(cluster))
        await client.submit("counter", b"5")
        print((await client.submit("counter", b"37")).data)  # b'42', on a quorum of logs
        print(await client.read("counter", b""))  # what all of them agree on


trio.run(main)
