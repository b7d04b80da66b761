"""A log that has room reserved in a thread of its own, as a node does it beside its writes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from paxos.storage.base import Storage, StorageError


@contextmanager
def reserving(storage: Storage) -> Iterator[None]:
    """Reserve again and again inside the context; at its end nothing may have failed."""
    done = threading.Event()
    failures: list[StorageError] = []

    def reserve() -> None:
        try:
            while not done.is_set():
                storage.reserve()
        except StorageError as failure:
            failures.append(failure)

    thread = threading.Thread(target=reserve)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert failures == []
