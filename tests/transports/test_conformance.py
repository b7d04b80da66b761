"""Every transport of ours against the suite that any third party's can run."""

from __future__ import annotations

import errno
import socket

import pytest
import trio
from trio.testing import MockClock

from paxos.testing.transport_suite import TransportSuite
from paxos.transport import Transport
from transports.memory import MemoryNetwork, MemoryTransport
from transports.tcp import TcpTransport
from transports.websocket import WebSocketTransport


class TestTcp(TransportSuite):
    url = "tcp://127.0.0.1:0"

    def make(self, frame_bytes_max: int) -> Transport:
        return TcpTransport(frame_bytes_max)


def _has_ipv6() -> bool:
    if not socket.has_ipv6:
        return False
    with socket.socket(socket.AF_INET6) as sock:
        return sock.connect_ex(("::1", 9)) in (0, errno.ECONNREFUSED)


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 loopback")
class TestTcpOverIpv6(TransportSuite):
    url = "tcp://[::1]:0"

    def make(self, frame_bytes_max: int) -> Transport:
        return TcpTransport(frame_bytes_max)


class TestWebSocket(TransportSuite):
    url = "ws://127.0.0.1:0"

    def make(self, frame_bytes_max: int) -> Transport:
        return WebSocketTransport(frame_bytes_max)


class TestMemory(TransportSuite):
    url = "memory://0"

    def setup_method(self) -> None:
        self.network = MemoryNetwork()

    def make(self, frame_bytes_max: int) -> Transport:
        return MemoryTransport(self.network, frame_bytes_max=frame_bytes_max)


class TestMemoryOnVirtualTime(TestMemory):
    def clock(self) -> trio.abc.Clock | None:
        return MockClock(autojump_threshold=0)
