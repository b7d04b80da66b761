"""URLs: which transport they find, and what a person is told when they find none."""

from __future__ import annotations

import pytest

import transports
from paxos.transport import TransportError
from transports import address, transport_for
from transports.memory import MemoryTransport
from transports.tcp import TcpTransport
from transports.websocket import WebSocketTransport


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("tcp://127.0.0.1:7001", TcpTransport),
        ("ws://edge.example:80", WebSocketTransport),
        ("memory://node-1", MemoryTransport),
        ("TCP://127.0.0.1:7001", TcpTransport),
    ],
)
def test_url_of_a_known_scheme_finds_its_transport(url: str, kind: type) -> None:
    assert type(transport_for(url)) is kind


@pytest.mark.parametrize("url", ["", "127.0.0.1:7001", "http://a:1", "tls://a:1", "//a:1"])
def test_url_of_another_scheme_is_refused_with_those_there_are(url: str) -> None:
    with pytest.raises(TransportError) as caught:
        transport_for(url)
    assert repr(url) in str(caught.value)
    for scheme in ("memory://", "tcp://", "ws://"):
        assert scheme in str(caught.value)


def test_scheme_that_was_registered_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports, "_makers", dict(transports._makers))
    transports.register(lambda: TcpTransport(1_000), "carrier-pigeon", "semaphore")
    assert isinstance(transport_for("carrier-pigeon://loft"), TcpTransport)
    assert "semaphore" in transports.schemes()


@pytest.mark.parametrize(
    ("url", "host", "port", "text"),
    [
        ("tcp://127.0.0.1:7001", "127.0.0.1", 7001, "127.0.0.1:7001"),
        ("tcp://[::1]:7001/", "::1", 7001, "[::1]:7001"),
        ("tcp://Node-1.Example:0", "node-1.example", 0, "node-1.example:0"),
    ],
)
def test_address_of_a_sound_url_is_host_and_port(url: str, host: str, port: int, text: str) -> None:
    assert address.parse(url, "tcp") == (host, port)
    assert str(address.parse(url, "tcp")) == text


@pytest.mark.parametrize(
    "url",
    [
        "tcp://localhost",
        "tcp://localhost:",
        "tcp://localhost:port",
        "tcp://localhost:65536",
        "tcp://localhost:-1",
        "tcp://:7001",
        "tcp://[::1:7001",
        "tcp://user@localhost:7001",
        "tcp://localhost:7001/path",
        "tcp://localhost:7001?query",
        "ws://localhost:7001",
        "localhost:7001",
    ],
)
def test_address_of_an_unsound_url_is_refused_by_name(url: str) -> None:
    with pytest.raises(TransportError) as caught:
        address.parse(url, "tcp")
    assert repr(url) in str(caught.value)
    assert "tcp://host:7001" in str(caught.value)
