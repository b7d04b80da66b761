"""A change of membership under load: how long writes pause.

``python -m benchmarks.membership [--json FILE]``: on three replicas that take writes all the time,
a fourth node is added (it joins, catches up, votes), and one that does not lead is removed again.
Asked for is that no pause between two writes that were done is longer than three times the p99 of
writes when nothing is changed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

import trio

from benchmarks.cluster import Cluster, founded, load_average, wait_until, write_figures
from benchmarks.peers.machine import description
from benchmarks.writers import Phase, Writers, writing
from statemachines.edge_config_client import put_command

KEYS = 1000
VALUE_BYTES = 100
TARGET = 3.0
CHANGES = ("adding", "removing")


@dataclass(frozen=True, slots=True)
class Membership:
    """What came out.

    Attributes:
        calm, starting, adding, removing: What writes did in each phase. While ``starting``, the
            same processes start as for ``adding``, and nobody is added: of another cluster.
        ratios: Longest pause of these four over the calm p99.
        elections: Ballots that led, less one.
        failed: Writes that were not done.
        load: Processes that wanted to run, on average, at the end.
    """

    calm: Phase
    starting: Phase
    adding: Phase
    removing: Phase
    ratios: tuple[float, ...]
    elections: int
    failed: int
    load: float


def puts() -> Iterator[bytes]:
    """Yield puts without end."""
    value = Random(0).randbytes(VALUE_BYTES)
    for number in count():
        yield put_command(f"bench/{number % KEYS:06}", value)


async def measure(cluster: Cluster, calm_s: float, outstanding: int) -> Membership:
    """Change a cluster that runs, under load."""
    in_thread = trio.to_thread.run_sync
    leader = await in_thread(cluster.wait_for_leader)
    urls = [f"tcp://127.0.0.1:{port}" for port in cluster.ports[:3]]
    follower = next(node for node in (1, 2, 3) if node != leader["node"])
    async with writing(urls, puts(), 4, outstanding) as load:
        await trio.sleep(2)
        calm = await _phase(load, lambda: time.sleep(calm_s))
        starting = await _phase(load, start_another)
        adding = await _phase(load, partial(add, cluster))
        remove = ("member", "remove", "--config", str(cluster.config), str(follower))
        removing = await _phase(load, lambda: cluster.paxos(*remove))
        failed = load.failed
    cluster.stop(follower)
    after = await in_thread(cluster.wait_for_leader)
    rounds = [int(status["ballot"].partition(".")[0]) for status in (leader, after)]
    phases = (calm, starting, adding, removing)
    return Membership(
        *phases,
        ratios=tuple(round(phase.pause_ms / calm.p99_ms, 2) for phase in phases),
        elections=rounds[1] - rounds[0],
        failed=failed,
        load=load_average(),
    )


async def _phase(load: Writers, act: Callable[[], object]) -> Phase:
    begin = time.monotonic()
    await trio.to_thread.run_sync(act)
    end = time.monotonic()
    await trio.sleep(0.5)
    return load.phase(begin, end)


def start_another() -> None:
    """Found another cluster of one node and start it: what adding costs that is no change."""
    with founded("other", 1, None, {}) as other:
        other.serve_all()


def add(cluster: Cluster) -> None:
    """Add a fourth node, from nothing to a vote."""
    directory = cluster.owned.directory / "node-4"
    url = f"tcp://127.0.0.1:{cluster.ports[3]}"
    words = ("member", "add", "--config", str(cluster.config), "--url", url, str(directory))
    adding = cluster.owned.serve("adding", [sys.executable, "-m", "paxos.cli", *words])
    config = directory / "cluster.toml"
    wait_until(60, config.exists, "directory of the new node")
    cluster.serve(4, config)
    if adding.wait(timeout=120) != 0:
        log = (cluster.owned.directory / "adding.log").read_text()
        raise RuntimeError(f"paxos member add: {log}")


def report(result: Membership) -> str:
    """Return the figures as a table."""
    lines = [
        "| phase | s | writes/s | p50 ms | p99 ms | longest pause ms | of calm p99 | asked for |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, ratio in zip(("calm", "starting", "adding", "removing"), result.ratios, strict=True):
        phase: Phase = getattr(result, name)
        lines.append(
            f"| {name} | {phase.seconds} | {phase.writes_per_s:,} | {phase.p50_ms} | {phase.p99_ms}"
            f" | {phase.pause_ms} | {ratio} | {f'at most {TARGET:g}' if name in CHANGES else ''} |"
        )
    lines += [
        "",
        (
            f"{result.elections} elections, {result.failed} writes not done;"
            f" load average at the end {result.load}"
        ),
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calm", type=float, default=10.0, help="seconds that calm is measured")
    parser.add_argument("--outstanding", type=int, default=16, help="writes at once, of each of 4")
    parser.add_argument("--directory", type=Path, help="where data is kept")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    with founded("membership", 3, options.directory) as cluster:
        cluster.serve_all()
        result = trio.run(measure, cluster, options.calm, options.outstanding)
        machine = description(cluster.directory)
    print(report(result))
    if options.json is not None:
        write_figures(options.json, machine, result)


if __name__ == "__main__":
    main()
