"""What this machine asks of anyone: a durable write, and a round trip over loopback.

Blocking calls without any framework. A replicated write on three nodes takes at least two round
trips (client to leader, leader to follower) and one sync, if leader and follower sync side by side;
what that comes to with all four processes on this machine is measured too.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import statistics
import time
from pathlib import Path

from benchmarks.peers.children import HOST, children
from benchmarks.peers.measurement import FloorRecord
from benchmarks.peers.replicated_floor import replicated_writes

SYNCS = 1000
SYNC_BYTES = 4096
ROUND_TRIPS = 5000
ROUND_TRIP_BYTES = 100


def floor(parent: Path | None) -> FloorRecord:
    """Return medians in milliseconds: ``sync_ms``, ``round_trip_ms`` and ``replicated_ms``."""
    with children("floor", parent) as owned:
        syncs = _syncs(owned.directory / "file")
    return {
        "sync_ms": round(statistics.median(syncs) * 1000, 4),
        "round_trip_ms": round(statistics.median(_round_trips()) * 1000, 4),
        "replicated_ms": round(statistics.median(replicated_writes(parent)) * 1000, 4),
    }


def _syncs(path: Path) -> list[float]:
    """Overwrite blocks that were written before, which is the cheapest durable write there is."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, bytes(SYNC_BYTES * SYNCS))
        os.fsync(descriptor)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return [_timed_sync(descriptor) for _ in range(SYNCS)]
    finally:
        os.close(descriptor)


def _timed_sync(descriptor: int) -> float:
    started = time.perf_counter()
    os.write(descriptor, b"x" * SYNC_BYTES)
    os.fdatasync(descriptor)
    return time.perf_counter() - started


def _round_trips() -> list[float]:
    with socket.create_server((HOST, 0)) as listener:
        echo = multiprocessing.get_context("spawn").Process(
            target=serve_echo, args=(listener,), daemon=True
        )
        echo.start()
        with socket.create_connection(listener.getsockname()) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            times = [_timed_round_trip(connection) for _ in range(ROUND_TRIPS)]
        echo.join()
    return times


def _timed_round_trip(connection: socket.socket) -> float:
    started = time.perf_counter()
    connection.sendall(b"x" * ROUND_TRIP_BYTES)
    missing = ROUND_TRIP_BYTES
    while missing:
        missing -= len(connection.recv(missing))
    return time.perf_counter() - started


def serve_echo(listener: socket.socket) -> None:
    """Send back what one connection sends, until it closes."""
    connection, _ = listener.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connection.recv(65536):
            connection.sendall(data)
