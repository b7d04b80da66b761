"""A run's figures as Markdown: what the terminal shows and what the page has. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from benchmarks.peers.figures import Field, Figures, median, ratio
from benchmarks.peers.plan import PARTS, Shape
from benchmarks.peers.targets import evaluate

BASE = "etcd"
"""The system that rates are compared with."""

TITLES: Mapping[str, str] = {
    "writes": "Durable writes, 64-byte values",
    "reads": "Linearizable reads, 64-byte values",
    "mixed": "Half writes, half reads, 64-byte values",
    "sizes": "Durable writes of larger values",
}
FLOORS: Mapping[Literal["sync_ms", "round_trip_ms", "replicated_ms"], str] = {
    "sync_ms": "a sync of a small write",
    "round_trip_ms": "a round trip on loopback",
    "replicated_ms": "a replicated write by blocking calls and nothing else",
}
READ_AGAIN: Mapping[str, str] = {
    "ours": "a snapshot is due every 100,000 slots or 8 MiB of log: the rest is applied",
    "ours-minimal": "as ours",
    "etcd": "its state is in a file beside the log; a snapshot is due every 100,000 entries",
    "zookeeper": "a snapshot is due every 50,000 to 100,000 entries: the rest is applied",
    "pysyncobj journal": "its dictionary is dumped every few thousand entries: the rest is applied",
}
"""What of 100,000 writes is read again at a start, by system."""

LATENCIES: tuple[Field, ...] = ("p50_ms", "p90_ms", "p99_ms", "p999_ms")
COSTS: tuple[Field, ...] = (
    "leader_cpu_s_per_1000",
    "follower_cpu_s_per_1000",
    "srv_cpu_s_per_1000",
    "client_cpu_s_per_1000",
)


def sections(figures: Figures) -> Iterable[tuple[str, str]]:
    """Return the title and the Markdown of everything that was measured."""
    yield "Machine and versions", machine(figures)
    yield "Targets", target_table(figures)
    for part, shapes in PARTS.items():
        measured = [shape for shape in shapes if shape in figures.shapes()]
        if measured:
            yield TITLES[part], rate_table(figures, measured)
    if figures.shapes():
        yield "CPU time for 1,000 operations", cpu_table(figures)
        yield "The load generators", generator_table(figures)
    lives = life_table(figures)
    if lives:
        yield "Fail-over, memory and restart", lives


def text(figures: Figures) -> str:
    """Return everything as one text for a terminal."""
    return "\n\n".join(f"## {title}\n\n{body}" for title, body in sections(figures))


def machine(figures: Figures) -> str:
    """Return where it was measured and what, what the machine itself asks, and what is not here."""
    record = figures.record
    floors = ", ".join(
        f"{what} {number(median([each[field] for each in record['floors']]))} ms"
        for field, what in FLOORS.items()
    )
    clients = {row["system"]: row["client"] for row in record["measurements"]}
    lines = [
        f"{record['date']}, rounds: {record['rounds']}; "
        + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in record["machine"].items()),
        f"floors: {floors}",
        *(
            f"{system}, version {version}; client: {clients.get(system, 'none was needed')}"
            for system, version in record["versions"].items()
        ),
        *(
            f"not measured: {system}; not installed: {', '.join(what)}"
            for system, what in record["missing"].items()
        ),
        *(
            f"{system} leaves out {part}: {reason}"
            for system, parts in record["left_out"].items()
            for part, reason in parts.items()
        ),
    ]
    lines += [
        f"**failed**: {each['system']}, {each['part']}, round {each['round']}: {each['text']}"
        for each in record["failures"]
    ]
    disturbed = sum(row["disturbed"] for row in record["measurements"])
    total = len(record["measurements"])
    lines.append(f"disturbed by other work, also when repeated: {disturbed} of {total} loads")
    return "\n".join(f"- {line}" for line in lines)


def target_table(figures: Figures) -> str:
    """Return every target with the figure of the run."""
    rows = [
        [
            verdict.target.what,
            verdict.target.system,
            f"{verdict.target.sense} {number(verdict.target.bound)} {verdict.target.unit}",
            number(verdict.measured),
            f"{verdict.samples} of {verdict.target.samples_min}",
            "**missed**" if verdict.outcome == "missed" else verdict.outcome,
        ]
        for verdict in evaluate(figures)
    ]
    return table(("asked", "of", "bound", "measured", "samples, of at least", "outcome"), rows)


def rate_table(figures: Figures, shapes: Sequence[Shape]) -> str:
    """Return rates and latencies: medians, with the least and the most of the rate."""
    rows = []
    for shape, system in _measured(figures, shapes):
        rates = figures.values(system, shape, "ops_s")
        base = figures.median(BASE, shape, "ops_s")
        used = figures.rows(system, shape)
        rows.append(
            [
                f"{shape.outstanding:,}",
                f"{shape.value_size:,}",
                system,
                _spread(rates) + ("*" if used[0]["disturbed"] else ""),
                number(ratio(median(rates), base)),
                *(number(figures.median(system, shape, field)) for field in LATENCIES),
                str(sum(row["errors"] for row in used)),
                str(len(used)),
            ]
        )
    percentiles = ("p50 ms", "p90 ms", "p99 ms", "p99.9 ms")
    heads = ("outstanding", "bytes", "system", "operations/s", f"of {BASE}'s", *percentiles)
    return table((*heads, "errors", "rounds"), rows)


def cpu_table(figures: Figures) -> str:
    """Return CPU milliseconds for 1,000 operations: who uses them."""
    rows = []
    for shape, system in _measured(figures, figures.shapes()):
        costs = [figures.median(system, shape, field) for field in COSTS]
        rows.append(
            [
                shape.operation,
                f"{shape.outstanding:,}",
                f"{shape.value_size:,}",
                system,
                *(number(None if cost is None else cost * 1000) for cost in costs),
            ]
        )
    heads = ("operation", "outstanding", "bytes", "system")
    return table((*heads, "leader", "each follower", "all servers", "client"), rows)


def generator_table(figures: Figures) -> str:
    """Return the most that each load generator used: below one core it is no bottleneck."""
    rows = []
    for system in figures.systems():
        used = [
            (cores, shape)
            for shape in figures.shapes()
            if (cores := figures.median(system, shape, "client_cores")) is not None
        ]
        if used:
            cores, shape = max(used)
            at = f"{shape.operation} at {shape.outstanding:,}, {shape.value_size:,} bytes"
            rows.append([system, number(cores), at])
        else:
            rows.append([system, "in the leader's share", "-"])
    return table(("system", "most cores of the client", "at"), rows)


def life_table(figures: Figures) -> str:
    """Return what was found beside loads; the empty text if nothing was."""
    kinds = (
        ("fail-over gap after SIGKILL of the leader, s", figures.failover_gaps_s),
        ("largest replica after 100,000 writes, RSS, MiB", figures.rss_mib),
        ("the same as PSS: of what processes share, a part, MiB", figures.pss_mib),
        ("restart with 100,000 entries, loading the program, s", figures.imports_s),
        ("the same, beyond that, s", figures.restarts_beyond_import_s),
        ("slots of the log that the 100,000 entries took", figures.slots),
    )
    rows = [
        [what, system, _spread(values), str(len(values))]
        for what, values_of in kinds
        for system in figures.record["versions"]
        if (values := values_of(system))
    ]
    if not rows:
        return ""
    notes = [
        f"- what {system} reads again at a start: {READ_AGAIN[system]}"
        for system in figures.record["versions"]
        if figures.imports_s(system)
    ]
    return "\n".join([table(("what", "system", "median", "times"), rows), "", *notes])


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def number(value: float | None) -> str:
    """Return three digits, or all in front of the point; a dash for what is not known."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _measured(figures: Figures, shapes: Iterable[Shape]) -> Iterable[tuple[Shape, str]]:
    return (
        (shape, system)
        for shape in shapes
        for system in figures.systems()
        if figures.rows(system, shape)
    )


def _spread(values: Sequence[float]) -> str:
    """Return the median, with the least and the most if there are several."""
    middle = number(median(values))
    return f"{middle} ({number(min(values))} to {number(max(values))})" if values[1:] else middle
