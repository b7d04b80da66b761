"""``paxos bench`` against real replicas: what it reports, and that the load is what was asked."""

from __future__ import annotations

import pytest

from tests.cli.replicas import Replicas, objects

pytestmark = pytest.mark.processes

FIELDS = {
    "ops",
    "errors",
    "unknown",
    "seconds",
    "ops_s",
    "p50_ms",
    "p90_ms",
    "p99_ms",
    "p999_ms",
    "connections",
    "outstanding",
    "value_size",
    "read_ratio",
    "client_cpu_s",
    "srv_cpu_s_per_1000",
    "leader_cpu_s_per_1000",
    "follower_cpu_s_per_1000",
}


@pytest.mark.parametrize(
    "options",
    [[], ["--awaiting"], ["--read-ratio", "0.5"], ["--read-ratio", "1"]],
    ids=lambda options: " ".join(options) or "writes by callback",
)
def test_bench_over_real_replicas_reports_what_it_measured(
    cluster: Replicas, options: list[str]
) -> None:
    measured = cluster(
        *("bench", "--connections", "2", "--outstanding", "8", "--value-size", "64"),
        *("--duration", "0.3", "--warmup", "0.1", "--json", *options),
    )
    assert measured.exit_code == 0, measured.output
    (told,) = objects(measured)
    assert told.keys() == FIELDS
    assert told["ops"] > 8
    assert told["errors"] == told["unknown"] == 0
    assert told["seconds"] >= 0.3
    assert told["ops_s"] == pytest.approx(told["ops"] / told["seconds"], rel=0.01)
    assert 0 < told["p50_ms"] <= told["p90_ms"] <= told["p99_ms"] <= told["p999_ms"]
    assert (told["connections"], told["outstanding"], told["value_size"]) == (2, 8, 64)
    assert told["client_cpu_s"] > 0
    assert told["srv_cpu_s_per_1000"] > 0
    assert told["leader_cpu_s_per_1000"] + 2 * told["follower_cpu_s_per_1000"] == pytest.approx(
        told["srv_cpu_s_per_1000"], rel=0.01
    )


def test_bench_writes_values_of_the_size_asked_for(tcp_cluster: Replicas) -> None:
    done = tcp_cluster("bench", "--duration", "0.2", "--warmup", "0", "--value-size", "333")
    assert done.exit_code == 0
    written = objects(tcp_cluster("config", "list", "bench/", "-k", "--json"))
    assert 333 in {item["size"] for item in written}


def test_bench_for_people_says_how_fast_it_was(tcp_cluster: Replicas) -> None:
    done = tcp_cluster("bench", "--duration", "0.2", "--warmup", "0")
    assert "per second" in done.stdout
    assert "p99" in done.stdout


def test_bench_with_fewer_operations_than_connections_exits_2(tcp_cluster: Replicas) -> None:
    refused = tcp_cluster("bench", "--connections", "4", "--outstanding", "3")
    assert refused.exit_code == 2
    assert "--outstanding" in refused.stderr
