"""Every transport of ours against the suite that any third party's can run."""

from __future__ import annotations

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
