"""How fast the simulator is on one core: ``python -m benchmarks.simulator [--json FILE]``.

It simulates the seeds that a sweep would, with every invariant checked, in one process, and divides
what was done by the CPU time that it took. A delivery is a message handed to a node or a client.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jepsen_like.sim.simulation import simulate
from jepsen_like.sim.sweep import Summary

SEEDS = 100
TARGET = 40_000


@dataclass(frozen=True, slots=True)
class Speed:
    """What one core did.

    Attributes:
        python: The interpreter.
        seeds: How many runs.
        deliveries, elections, crashes, commands: In all of them.
        effects: How often a fault changed something.
        cpu_s: CPU seconds of this process, user and system.
        deliveries_per_s: Per CPU second.
        simulated_s_per_s: Virtual seconds per CPU second.
        target_deliveries_per_s: What is asked for.
        violations: Seeds that broke an invariant; there should be none.
    """

    python: str
    seeds: int
    deliveries: int
    elections: int
    crashes: int
    commands: int
    effects: int
    cpu_s: float
    deliveries_per_s: float
    simulated_s_per_s: float
    target_deliveries_per_s: int
    violations: tuple[int, ...]


def measure(seeds: range) -> Speed:
    """Simulate seeds and time it. One more runs before, so that everything is loaded."""
    simulate(seeds.start)
    summary = Summary()
    before = time.process_time()
    for seed in seeds:
        summary.add(simulate(seed))
    cpu_s = time.process_time() - before
    return Speed(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        seeds=summary.seeds,
        deliveries=summary.deliveries,
        elections=summary.elections,
        crashes=summary.crashes,
        commands=summary.commands,
        effects=sum(summary.effects.values()),
        cpu_s=round(cpu_s, 3),
        deliveries_per_s=round(summary.deliveries / cpu_s),
        simulated_s_per_s=round(summary.simulated_s / cpu_s, 1),
        target_deliveries_per_s=TARGET,
        violations=tuple(found.seed for found in summary.violations),
    )


def report(speed: Speed) -> str:
    """Return the figures as lines for a person."""
    return "\n".join(
        (
            f"{speed.python}, one core, {speed.seeds} seeds in {speed.cpu_s:.1f} CPU seconds",
            f"{speed.deliveries_per_s:>10,} deliveries per second (asked for: {TARGET:,})",
            f"{speed.simulated_s_per_s:>10,} simulated seconds per second",
            f"{speed.deliveries:>10,} deliveries, {speed.commands:,} commands",
            f"{speed.elections:>10,} elections, {speed.crashes:,} crashes",
            f"{speed.effects:>10,} effects of faults",
        )
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write JSON if a file is named."""
    parser = argparse.ArgumentParser(description="Measure the simulator on one core.")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures here too")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"how many ({SEEDS})")
    options = parser.parse_args(arguments)
    speed = measure(range(options.seeds))
    sys.stdout.write(report(speed) + "\n")
    if options.json is not None:
        options.json.write_text(json.dumps(asdict(speed), indent=2) + "\n", encoding="utf-8")
    return 1 if speed.violations else 0


if __name__ == "__main__":
    sys.exit(main())
