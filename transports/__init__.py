"""Adapters for the transport port: they carry opaque frames and do not know what a ballot is.

``transport_for`` finds the one for a URL. Another scheme joins by ``register``: nothing here or
above needs to change for it.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from paxos.transport import Transport, TransportError
from transports.memory import MemoryTransport
from transports.tcp import TcpTransport

__all__ = ["register", "schemes", "transport_for"]

_makers: dict[str, Callable[[], Transport]] = {}


def register(make: Callable[[], Transport], *schemes: str) -> None:
    """Make ``transport_for`` answer URLs of these schemes with ``make()``."""
    for scheme in schemes:
        _makers[scheme] = make


def schemes() -> tuple[str, ...]:
    """Return every scheme that ``transport_for`` knows, sorted."""
    return tuple(sorted(_makers))


def transport_for(url: str) -> Transport:
    """Return a transport for ``url``.

    Raises:
        TransportError: No transport has its scheme; the text lists those there are.
    """
    scheme = urlsplit(url).scheme
    make = _makers.get(scheme)
    if make is None:
        known = ", ".join(f"{name}://" for name in schemes())
        raise TransportError(
            f"{url!r}: no transport for {scheme!r}; a url starts with one of {known}"
        )
    return make()


def _websocket() -> Transport:
    # Not loaded before it is asked for: most processes speak TCP only.
    from transports.websocket import WebSocketTransport

    return WebSocketTransport()


register(MemoryTransport, *MemoryTransport.schemes)
register(TcpTransport, *TcpTransport.schemes)
register(_websocket, "ws")
