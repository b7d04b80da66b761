"""URLs of the form scheme://host:port, for transports that run over IP, and their sockets.

Owns what is said to a person when an address cannot be used. Knows nothing of frames.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

import trio

from paxos.transport import TransportError

_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        # Seconds of silence, seconds between probes, probes; what this system knows of these.
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
)


class Address(NamedTuple):
    """A host name or IP address (an IPv6 one without brackets), and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(url: str, *schemes: str) -> Address:
    """Return the address in ``url``.

    Raises:
        TransportError: It is not of one of these schemes, or lacks a host or a port.
    """
    form = f"a url like {schemes[0]}://host:7001"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise TransportError(f"{url!r} is not {form}: {error}") from error
    if parts.scheme not in schemes or not host or port is None:
        raise TransportError(f"{url!r} is not {form}")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise TransportError(f"{url!r} has more than a host and a port; it must be {form}")
    return Address(host, port)


async def dial(url: str, where: Address, timeout_s: float) -> trio.SocketStream:
    """Return a connection to ``where``: the first of its addresses that answers.

    Raises:
        TransportError: None does.
    """
    try:
        with trio.fail_after(timeout_s):
            return await trio.open_tcp_stream(where.host, where.port)
    except trio.TooSlowError:
        raise TransportError(f"{url}: no answer within {timeout_s:g} s") from None
    except OSError as error:
        raise TransportError(f"{url}: cannot connect: {_first_cause(error)}") from error


async def bind(url: str, address: Address, backlog: int) -> socket.socket:
    """Return a non-blocking socket that listens on ``address``.

    Raises:
        TransportError: The address is in use, or is not one of this machine.
    """
    try:
        found = await trio.socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise TransportError(f"{url}: cannot find {address.host!r}: {error.strerror}") from error
    family, kind, protocol, _, bound = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        # A restarted node must not wait for the last connections of its predecessor to time out.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(bound)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise TransportError(f"{url}: {_reason(error, address.port)}") from error
    return sock


def bound_url(scheme: str, sock: socket.socket) -> str:
    """Return the URL on which ``sock`` really listens."""
    host, port = sock.getsockname()[:2]
    return f"{scheme}://{Address(host, port)}"


def remote_of(sock: socket.socket | trio.socket.SocketType) -> str:
    """Return the address at the other end, for logs."""
    try:
        host, port = sock.getpeername()[:2]
    except OSError:
        return "(gone)"
    return str(Address(host, port))


def tune(sock: socket.socket | trio.socket.SocketType) -> None:
    """Have ``sock`` send at once, and close about a minute after the other machine vanished."""
    try:
        for level, option, value in _OPTIONS:
            sock.setsockopt(level, option, value)
    except OSError:
        # It was reset before it was used, and some systems say so here: the next read tells why.
        return


def _first_cause(error: OSError) -> str:
    # trio tries every address of a name, and hides the reasons behind "all attempts failed".
    cause: BaseException | None = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    found = cause if isinstance(cause, OSError) else error
    return found.strerror or str(found)


def _reason(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} is in use: another process listens there (perhaps this node is already "
            "running); stop it, or choose another port"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine does not have that address; use one of its own, or 0.0.0.0 for all"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"no permission to listen on port {port}; choose one above 1023"
    return os.strerror(error.errno) if error.errno else str(error)
