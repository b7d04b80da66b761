"""A large state on three replicas: snapshots under load, then a fresh node that catches up.

``python -m benchmarks.large_state [--values N] [--json FILE]``. Values of 10 KB; the full run of
1 GB is ``--values 100000``, and the default a tenth of it. Writes go on all the time. All three
replicas take their snapshots at once, as they do by themselves. Elections are told by the leader's
ballot, heartbeats as they reach each replica (``benchmarks.tapped_node``).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import trio

from benchmarks.cluster import NEVER, Cluster, founded, load_average, wait_until, write_figures
from benchmarks.peers.machine import description, rss_mib
from benchmarks.peers.ours import PAXOS
from benchmarks.peers.progress import say
from benchmarks.writers import Phase, fill, writing
from paxos import service
from paxos.runtime.outcomes import NoReplicaReachable
from statemachines.edge_config_client import put_command

VALUE_BYTES = 10_000
CATCH_UP_TIMEOUT_S = 600
HEARTBEAT_S = 0.1
TARGET_P99 = 5.0
TARGET_GAP_S = 2 * HEARTBEAT_S
TARGET_MB_PER_S = 100
SETTINGS: dict[str, float] = {"snapshot_log_bytes": NEVER, "snapshot_entries": NEVER}
"""No snapshot but those that are asked for, so that calm is calm."""


@dataclass(frozen=True, slots=True)
class LargeState:
    """What came out.

    Attributes:
        values: Keys, each of 10 KB.
        snapshot_mb: Size of the snapshot.
        leader_rss_mib: The leader's RSS, with the state, before any snapshot.
        leader_rss_during_mib: The most that the leader had while it made one.
        calm, during: What writes did without and with snapshots being made.
        p99_ratio: Of these two; under 5 is asked for.
        snapshot_s: How long the slowest replica took.
        elections: Ballots that led, less one; none is asked for.
        gap_calm_s, gap_during_s: The longest time between two heartbeats; 0.2 is asked for.
        catch_up_s: From the start of the fresh node's process until it held what the others did.
        catch_up_mb_per_s: The snapshot's size over the time that it was being fetched.
        load: Processes that wanted to run, on average, at the beginning and at the end.
    """

    values: int
    snapshot_mb: float
    leader_rss_mib: float
    leader_rss_during_mib: float
    calm: Phase
    during: Phase
    p99_ratio: float
    snapshot_s: float
    elections: int
    gap_calm_s: float
    gap_during_s: float
    catch_up_s: float
    catch_up_mb_per_s: float
    load: tuple[float, float]


def writes(keys: int, seed: int) -> Iterator[bytes]:
    """Yield puts of keys drawn at random, without end."""
    rng = Random(seed)
    value = rng.randbytes(VALUE_BYTES)
    for number in count():
        fresh = number.to_bytes(8, "big") + value[8:]
        yield put_command(f"site/{rng.randrange(keys):07}", fresh)


def filling(keys: int) -> Iterator[bytes]:
    """Yield a put of each key."""
    rng = Random(0)
    for number in range(keys):
        yield put_command(f"site/{number:07}", rng.randbytes(VALUE_BYTES))


async def measure(cluster: Cluster, values: int, outstanding: int, calm_s: float) -> LargeState:
    """Fill a cluster that runs, and measure it."""
    before = load_average()
    urls = [f"tcp://127.0.0.1:{port}" for port in cluster.ports[:3]]
    say(f"writing {values:,} values of {VALUE_BYTES:,} bytes")
    await fill(urls, filling(values), 64)
    leader = await trio.to_thread.run_sync(cluster.wait_for_leader)
    pid = cluster.pids[leader["node"] - 1]
    memory = rss_mib(pid)
    async with writing(urls, writes(values, 1), 2, outstanding) as load:
        await trio.sleep(2)
        say("calm")
        calm_begin = time.monotonic()
        await trio.sleep(calm_s)
        during_begin = time.monotonic()
        say("snapshots")
        sampled = [memory]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_sample, pid, sampled)
            async with trio.open_nursery() as asking:
                for url in urls:
                    asking.start_soon(_take_snapshot, url)
            nursery.cancel_scope.cancel()
        during_end = time.monotonic()
        await trio.sleep(1)
        calm = load.phase(calm_begin, during_begin)
        during = load.phase(during_begin, during_end)
    after = await trio.to_thread.run_sync(cluster.wait_for_leader)
    say("a fresh node")
    size, took, rate = await trio.to_thread.run_sync(catch_up, cluster)
    return LargeState(
        values=values,
        snapshot_mb=round(size / 1e6, 1),
        leader_rss_mib=round(memory),
        leader_rss_during_mib=round(max(sampled)),
        calm=calm,
        during=during,
        p99_ratio=round(during.p99_ms / calm.p99_ms, 2),
        snapshot_s=round(during_end - during_begin, 2),
        elections=_round(after["ballot"]) - _round(leader["ballot"]),
        gap_calm_s=longest_gap(cluster, calm_begin, during_begin),
        gap_during_s=longest_gap(cluster, during_begin, during_end),
        catch_up_s=round(took, 2),
        catch_up_mb_per_s=round(rate, 1),
        load=(before, load_average()),
    )


async def _take_snapshot(url: str) -> None:
    await service.take_snapshot(url, timeout=CATCH_UP_TIMEOUT_S)


async def _sample(pid: int, sampled: list[float]) -> None:
    while True:
        sampled.append(rss_mib(pid))
        await trio.sleep(0.25)


def _round(ballot: str) -> int:
    return int(ballot.partition(".")[0])


def longest_gap(cluster: Cluster, begin: float, end: float) -> float:
    """Return the longest time between heartbeats of one node to another that ended in between."""
    longest = 0.0
    for node in (1, 2, 3):
        for line in cluster.gaps_file(node).read_text().splitlines():
            gap = json.loads(line)
            if "gap_s" in gap and begin <= gap["at"] < end:
                longest = max(longest, gap["gap_s"])
    return longest


def catch_up(cluster: Cluster) -> tuple[int, float, float]:
    """Add a fourth node as a learner; return the snapshot's size, seconds, and MB a second."""
    directory = cluster.owned.directory / "node-4"
    url = f"tcp://127.0.0.1:{cluster.ports[3]}"
    adding = ("--config", str(cluster.config), "--url", url, "--as", "learner", "--wait", "120")
    joined = cluster.owned.talk([*PAXOS, "member", "add", *adding, str(directory)])
    config = directory / "cluster.toml"
    wait_until(60, config.exists, "directory of the new node")
    began = time.monotonic()
    cluster.serve(4, config)

    def fresh(what: str) -> Any:
        return wait_until(CATCH_UP_TIMEOUT_S, lambda: _asked(url).get(what), f"{what} of node 4")

    fresh("fetching")
    first = time.monotonic()
    size: int = fresh("snapshot")["size"]
    last = time.monotonic()
    leader = cluster.wait_for_leader()
    wait_until(
        CATCH_UP_TIMEOUT_S,
        lambda: _asked(url).get("applied_through", 0) >= leader["decided_through"],
        "catch-up of node 4",
    )
    ended = time.monotonic()
    cluster.owned.end(joined)
    return size, ended - began, size / 1e6 / (last - first)


def _asked(url: str) -> dict[str, Any]:
    """Return a node's status; from a thread of trio's. Empty if it does not answer yet."""
    try:
        return trio.from_thread.run(_status, url)
    except NoReplicaReachable:
        return {}


async def _status(url: str) -> dict[str, Any]:
    return await service.node_status(url, timeout=10)


def report(result: LargeState) -> str:
    """Return the figures as a table."""
    rows: list[tuple[str, Any, str]] = [
        ("values of 10 KB", f"{result.values:,}", ""),
        ("snapshot, MB", result.snapshot_mb, ""),
        ("leader's RSS before / most during, MiB", _pair(result), ""),
        ("calm writes/s, p50, p99 ms", _phase(result.calm), ""),
        ("the same while snapshots are made", _phase(result.during), ""),
        ("p99 during / calm", result.p99_ratio, f"under {TARGET_P99:g}"),
        ("all snapshots made after, s", result.snapshot_s, ""),
        ("elections", result.elections, "0"),
        ("longest heartbeat gap calm, s", result.gap_calm_s, ""),
        ("longest heartbeat gap during, s", result.gap_during_s, f"{TARGET_GAP_S:g}"),
        ("fresh node level after, s", result.catch_up_s, ""),
        ("fetched at, MB/s", result.catch_up_mb_per_s, f"{TARGET_MB_PER_S}"),
        ("load average before, after", "{}, {}".format(*result.load), ""),
    ]
    lines = ["| what | measured | asked for |", "|---|---|---|"]
    return "\n".join(lines + [f"| {what} | {got} | {asked} |" for what, got, asked in rows])


def _pair(result: LargeState) -> str:
    return f"{result.leader_rss_mib:,.0f} / {result.leader_rss_during_mib:,.0f}"


def _phase(phase: Phase) -> str:
    return f"{phase.writes_per_s:,}, {phase.p50_ms}, {phase.p99_ms}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--values", type=int, default=10_000, help="values of 10 KB")
    parser.add_argument("--outstanding", type=int, default=4, help="writes at once, of each of two")
    parser.add_argument("--calm", type=float, default=10.0, help="seconds that calm is measured")
    parser.add_argument("--directory", type=Path, help="where data is kept")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    with founded("large-state", 3, options.directory, SETTINGS) as cluster:
        cluster.serve_all(tapped=True)
        result = trio.run(measure, cluster, options.values, options.outstanding, options.calm)
        machine = description(cluster.directory)
    print(report(result))
    if options.json is not None:
        write_figures(options.json, machine, result)


if __name__ == "__main__":
    main()
