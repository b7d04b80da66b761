"""Whether a replica grows with what was ever written, or only with what it holds.

``python -m benchmarks.memory [--writes N] [--json FILE]``: the resident memory (RSS) of each of
three replicas after N writes to 10,000 keys, and after ten times as many; at most 1.3 times as much
is asked for. The full run is ``--writes 1000000``; the default is a tenth of it. Memory rises from
snapshot to snapshot, as the log does, so the highest so far is told beside what it is just then,
and in a smaller run snapshots are due, and the log below them kept, as much sooner: as often as in
the full one, which has them as ``paxos init`` sets them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from random import Random

import trio

from benchmarks.cluster import Cluster, founded, load_average, write_figures
from benchmarks.peers.machine import description, peak_rss_mib, rss_mib
from benchmarks.peers.progress import say
from benchmarks.writers import fill
from paxos.core.limits import DEFAULT_LIMITS
from statemachines.edge_config_client import put_command

KEYS = 10_000
VALUE_BYTES = 100
OUTSTANDING = 1024
FULL_WRITES = 1_000_000
TARGET = 1.3


@dataclass(frozen=True, slots=True)
class Memory:
    """What came out, per replica.

    Attributes:
        writes: Before the first look; ten times as many before the second.
        first_rss_mib, second_rss_mib: Resident memory then (RSS).
        first_peak_rss_mib, second_peak_rss_mib: The most that there was until then.
        ratios: Of these peaks.
        first_disk_mb, second_disk_mb: What each replica's data directory held.
        snapshots_through: The slot of each replica's latest snapshot at the end; it must have one.
        seconds: For all writes.
        load: Processes that wanted to run, on average, at the end.
    """

    writes: int
    first_rss_mib: tuple[float, ...]
    second_rss_mib: tuple[float, ...]
    first_peak_rss_mib: tuple[float, ...]
    second_peak_rss_mib: tuple[float, ...]
    ratios: tuple[float, ...]
    first_disk_mb: tuple[float, ...]
    second_disk_mb: tuple[float, ...]
    snapshots_through: tuple[int, ...]
    seconds: float
    load: float


def puts() -> Iterator[bytes]:
    """Yield puts of the keys in turn, without end."""
    value = Random(0).randbytes(VALUE_BYTES)
    for number in count():
        fresh = number.to_bytes(8, "big") + value[8:]
        yield put_command(f"bench/{number % KEYS:06}", fresh)


async def measure(cluster: Cluster, writes: int) -> Memory:
    """Write to a cluster that runs, and look at it twice."""
    urls = [f"tcp://127.0.0.1:{port}" for port in cluster.ports[:3]]
    commands = puts()
    began = time.monotonic()
    await fill(urls, islice(commands, writes), OUTSTANDING, _progress(writes * 10, 0))
    first, first_peak, first_disk = await _look(cluster)
    await fill(urls, islice(commands, writes * 9), OUTSTANDING, _progress(writes * 10, writes))
    second, second_peak, second_disk = await _look(cluster)
    seconds = time.monotonic() - began
    nodes = await trio.to_thread.run_sync(cluster.statuses)
    return Memory(
        writes=writes,
        first_rss_mib=first,
        second_rss_mib=second,
        first_peak_rss_mib=first_peak,
        second_peak_rss_mib=second_peak,
        ratios=tuple(round(b / a, 3) for a, b in zip(first_peak, second_peak, strict=True)),
        first_disk_mb=first_disk,
        second_disk_mb=second_disk,
        snapshots_through=tuple((node["snapshot"] or {"through": 0})["through"] for node in nodes),
        seconds=round(seconds, 1),
        load=load_average(),
    )


Figures = tuple[float, ...]
"""One for each replica."""


async def _look(cluster: Cluster) -> tuple[Figures, Figures, Figures]:
    """Return resident memory and its peak in MiB, and disk in MB, once a second has passed."""
    await trio.sleep(1)
    memory = tuple(round(rss_mib(pid), 1) for pid in cluster.pids)
    peak = tuple(round(peak_rss_mib(pid), 1) for pid in cluster.pids)
    disk = tuple(
        round(
            sum(
                file.stat().st_blocks * 512
                for file in (cluster.directory / f"node-{node}").rglob("*")
                if file.is_file()
            )
            / 1e6,
            1,
        )
        for node in (1, 2, 3)
    )
    return memory, peak, disk


class _progress:  # noqa: N801 - a function that remembers
    def __init__(self, of: int, before: int) -> None:
        self._of = of
        self._before = before
        self._told = time.monotonic()

    def __call__(self, done: int) -> None:
        if time.monotonic() > self._told + 5:
            self._told = time.monotonic()
            share = (self._before + done) / self._of
            say(f"{share:.0%} written")


def report(result: Memory) -> str:
    """Return the figures as a table."""
    lines = [
        (
            f"| replica | after {result.writes:,} writes, RSS in MiB now and at most"
            f" | after {result.writes * 10:,} | ratio of the most | asked for"
            " | disk MB, then | disk MB, at the end | latest snapshot |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    columns = (
        result.first_rss_mib,
        result.first_peak_rss_mib,
        result.second_rss_mib,
        result.second_peak_rss_mib,
        result.ratios,
        result.first_disk_mb,
        result.second_disk_mb,
        result.snapshots_through,
    )
    for node, cells in enumerate(zip(*columns, strict=True), 1):
        first, peak, second, peak_later, ratio, disk, disk_later, through = cells
        lines.append(
            f"| {node} | {first}, {peak} | {second}, {peak_later} | {ratio} | {TARGET}"
            f" | {disk} | {disk_later} | {through} |"
        )
    lines += ["", f"{result.seconds:,} s; load average at the end {result.load}"]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writes", type=int, default=100_000, help="before the first look")
    parser.add_argument("--directory", type=Path, help="where data is kept")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    scale = options.writes / FULL_WRITES
    settings: dict[str, float] = {
        "snapshot_log_bytes": int(DEFAULT_LIMITS.snapshot_log_bytes * scale),
        "kept_bytes": int(DEFAULT_LIMITS.kept_bytes * scale),
    }
    with founded("memory", 3, options.directory, settings) as cluster:
        cluster.serve_all()
        result = trio.run(measure, cluster, options.writes)
        machine = description(cluster.directory)
    print(report(result))
    if options.json is not None:
        write_figures(options.json, machine, result)


if __name__ == "__main__":
    main()
