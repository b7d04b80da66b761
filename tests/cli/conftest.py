"""Clusters of real processes that several tests share, because starting one takes a second."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.replicas import Replicas, replicas


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


@pytest.fixture(params=["tcp", "ws"])
def cluster(request: pytest.FixtureRequest) -> Replicas:
    """Each of the two, for what must hold over both."""
    found = request.getfixturevalue(f"{request.param}_cluster")
    assert isinstance(found, Replicas)
    return found
