"""The floor of one replicated write: its messages and syncs, by blocking calls, and nothing else.

Four processes on loopback, as in the comparison. The client sends to the leader; the leader sends
on to two followers and syncs its own copy beside them; one follower's answer makes a majority, and
the leader answers. No framework, no protocol, no state: what a system takes beyond this is its own.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.children import HOST, children

WRITES = 1000
MESSAGE_BYTES = 128
FILE_BYTES = 1024 * 1024
FOLLOWERS = 2


def replicated_writes(parent: Path | None) -> list[float]:
    """Return how long each of so many writes took, one after another, in seconds."""
    spawn = multiprocessing.get_context("spawn")
    with children("replicated-floor", parent) as owned:
        front, *backs = (socket.create_server((HOST, 0)) for _ in range(1 + FOLLOWERS))
        followers = [
            spawn.Process(target=follow, args=(back, owned.directory / f"follower-{number}"))
            for number, back in enumerate(backs)
        ]
        addresses = [back.getsockname() for back in backs]
        leader = spawn.Process(target=lead, args=(front, addresses, owned.directory / "leader"))
        processes = [*followers, leader]
        for process in processes:
            process.start()
        with _connected(front.getsockname()) as connection:
            times = [_timed_write(connection) for _ in range(WRITES)]
        for process in processes:
            process.join()
        for listener in (front, *backs):
            listener.close()
    return times


def lead(listener: socket.socket, followers: Sequence[tuple[str, int]], path: Path) -> None:
    """Answer one connection: a write is durable here and at one follower at least."""
    connections = [_connected(address) for address in followers]
    client, _ = listener.accept()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    log = _Log(path)
    owed = dict.fromkeys(connections, 0)  # bytes that each has been sent and not answered
    while message := _receive(client):
        for connection in connections:
            connection.sendall(message)
            owed[connection] += len(message)
        log.write(message)
        while all(owed.values()):
            _take_answers(owed)
        client.sendall(message)
    while any(owed.values()):
        _take_answers(owed)
    for connection in connections:
        connection.close()


def _take_answers(owed: dict[socket.socket, int]) -> None:
    for connection in select.select(list(owed), [], [])[0]:
        owed[connection] -= len(connection.recv(65536))


def follow(listener: socket.socket, path: Path) -> None:
    """Make durable what one connection sends, and send it back, until it closes."""
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    log = _Log(path)
    while message := _receive(connection):
        log.write(message)
        connection.sendall(message)


class _Log:
    """A file of zeros that was written before: the cheapest durable write there is."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.write(self._descriptor, bytes(FILE_BYTES))
        os.fsync(self._descriptor)
        self._end = 0

    def write(self, message: bytes) -> None:
        os.pwrite(self._descriptor, message, self._end)
        os.fdatasync(self._descriptor)
        self._end = (self._end + len(message)) % FILE_BYTES


def _timed_write(connection: socket.socket) -> float:
    started = time.perf_counter()
    connection.sendall(bytes(MESSAGE_BYTES))
    _receive(connection)
    return time.perf_counter() - started


def _receive(connection: socket.socket) -> bytes:
    """Return one message, or nothing if the other side has closed."""
    message = b""
    while len(message) < MESSAGE_BYTES:
        piece = connection.recv(MESSAGE_BYTES - len(message))
        if not piece:
            return b""
        message += piece
    return message


def _connected(address: tuple[str, int]) -> socket.socket:
    connection = socket.create_connection(address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
