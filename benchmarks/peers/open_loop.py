"""An open loop of writes on our replicas: arrivals do not wait for answers.

``python -m benchmarks.peers.open_loop --machine config URL URL URL`` opens clients that know all
replicas, each beginning with another one, as programs on three machines would, and has writes
arrive at them in turn. Prints the time of day, in seconds, at which each write completed, and goes
on until it is killed.
"""

from __future__ import annotations

import gc
import time
from contextlib import AsyncExitStack
from itertools import count, cycle

import click
import trio

from benchmarks.peers.commands import puts
from paxos import service
from paxos.core.client import Done, Outcome


async def arrive(urls: tuple[str, ...], machine: str, rate: int, clients: int) -> None:
    """Submit ``rate`` commands per second to a machine, for ever."""
    commands = puts(machine)
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(service.open_client(rotated(urls, first)))
            for first in range(clients)
        ]
        gc.collect()
        gc.freeze()
        began = trio.current_time()
        for number, client in zip(count(), cycle(opened)):
            await trio.sleep_until(began + number / rate)
            client.submit_nowait(machine, [next(commands)], tell)


def rotated(urls: tuple[str, ...], first: int) -> tuple[str, ...]:
    """Return the URLs in turn, another one first."""
    shift = first % len(urls)
    return urls[shift:] + urls[:shift]


def tell(_: int, outcome: Outcome) -> None:
    """Print when a write completed."""
    if type(outcome) is Done:
        print(f"{time.time():.6f}", flush=True)


@click.command()
@click.option("--machine", required=True, help="Name of the state machine.")
@click.option("--rate", type=int, default=500, help="Writes per second.")
@click.option("--clients", type=int, default=3, help="Clients they arrive at, in turn.")
@click.argument("urls", nargs=-1, required=True)
def main(urls: tuple[str, ...], *, machine: str, rate: int, clients: int) -> None:
    """Have writes arrive at the replicas at URLS until killed."""
    trio.run(arrive, urls, machine, rate, clients)


if __name__ == "__main__":
    main()
