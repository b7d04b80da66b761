"""``paxos bench`` for the minimal key-value machine: the same load, other commands.

Its keys have 16 bytes, as the peers' have; those of ``paxos bench`` have 12.

``python -m benchmarks.peers.minimal_load --config FILE --json ...`` takes the options of ``paxos
bench`` that the comparison uses, and prints what that prints.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

import click

from benchmarks.minimal_store import MACHINE, put
from benchmarks.peers.commands import key_of
from paxos.cli.connect import run
from paxos.cli.load import COMMANDS_MADE, Workload, put_load
from paxos.cli.measure import Load, report
from paxos.cli.options import Target, client_options


@click.command()
@click.option("--connections", type=int)
@click.option("--outstanding", type=int)
@click.option("--value-size", type=int)
@click.option("--duration", type=float)
@click.option("--warmup", type=float)
@click.option("--read-ratio", type=float)
@client_options
def main(
    target: Target,
    *,
    connections: int,
    outstanding: int,
    value_size: int,
    duration: float,
    warmup: float,
    read_ratio: float,
) -> None:
    """Put a closed loop on the minimal machine of running replicas."""
    load = Load(connections, outstanding, value_size, duration, warmup, read_ratio)
    value = Random(value_size).randbytes(value_size)
    keys = [key_of(number).encode() for number in range(COMMANDS_MADE)]
    workload = Workload(MACHINE, [put(key, value) for key in keys], keys)

    async def act() -> dict[str, Any]:
        return report(load, *await put_load(target, load, workload))

    print(json.dumps(run(act)))


if __name__ == "__main__":
    main()
