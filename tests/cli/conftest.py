"""Clusters of real processes that several tests share, because starting one takes a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.replicas import Replicas, replicas
from tests.cli.workers import Worker, worker


@pytest.fixture(scope="session")
def tcp_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Three replicas over TCP. Tests use keys of their own and leave all replicas running."""
    with replicas(tmp_path_factory.mktemp("tcp") / "cluster") as cluster:
        cluster.start(*cluster.nodes)
        cluster.leader()
        yield cluster


@pytest.fixture(scope="session")
def ws_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """The same over WebSocket."""
    with replicas(tmp_path_factory.mktemp("ws") / "cluster", "ws") as cluster:
        cluster.start(*cluster.nodes)
        cluster.leader()
        yield cluster


@pytest.fixture
def fresh_cluster(tmp_path: Path) -> Iterator[Replicas]:
    """Three replicas that a test may kill."""
    with replicas(tmp_path / "cluster") as cluster:
        cluster.start(*cluster.nodes)
        cluster.leader()
        yield cluster


@pytest.fixture(scope="session")
def task_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Three replicas over TCP that have workers, which report all the time: it is never at rest."""
    with replicas(tmp_path_factory.mktemp("tasks") / "cluster") as cluster:
        cluster.start(*cluster.nodes)
        cluster.leader()
        yield cluster


@pytest.fixture(scope="session")
def edge_1(task_cluster: Replicas, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """The worker of node edge-1: a payload is a shell script, and what it prints its result."""
    options = ["--kind", "edge", "--label", "gpu=yes", "--capacity", "8", "--exec", "sh"]
    with worker(task_cluster, tmp_path_factory.mktemp("workers"), "edge-1", *options) as running:
        yield running


@pytest.fixture(params=["tcp", "ws"])
def cluster(request: pytest.FixtureRequest) -> Replicas:
    """Each of the two, for what must hold over both."""
    found = request.getfixturevalue(f"{request.param}_cluster")
    assert isinstance(found, Replicas)
    return found
