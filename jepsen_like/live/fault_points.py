"""Where a node can be made to fail from inside: its disk and its clocks.

Owns the faults that no signal and no network can bring. They are put below the production parts by
composition (a ``Disk`` under the log, a clock under trio), change while the node runs, and count
what they really did. Nothing of this is in ``paxos serve``.
"""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import trio

from paxos.storage.disk import Disk, File, Lock


class DiskFaults:
    """What is wrong with the disk now, and what came of it.

    Attributes:
        full: Files cannot grow. Space that was reserved can still be written.
        sync_delay_s: How much longer each sync takes.
        sync_fails: Syncs fail as a broken disk lets them.
        counts: By fault: how often it struck.
    """

    def __init__(self) -> None:
        self.full = False
        self.sync_delay_s = 0.0
        self.sync_fails = False
        self.counts: Counter[str] = Counter()

    def before_growth(self) -> None:
        """Stand in the way of a file that grows."""
        if self.full:
            self.counts["full"] += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def before_sync(self) -> None:
        """Stand in the way of a sync."""
        if self.sync_fails:
            self.counts["failed"] += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if self.sync_delay_s:
            self.counts["slowed"] += 1
            time.sleep(self.sync_delay_s)


class FaultyDisk:
    """A disk that does what the disk below it does, unless a fault is in the way."""

    def __init__(self, below: Disk, faults: DiskFaults) -> None:
        self._below = below
        self._faults = faults

    @property
    def sync_method(self) -> str:
        """See the port."""
        return f"{self._below.sync_method}, with fault points"

    def make_directory(self, path: Path) -> None:
        """See the port."""
        self._below.make_directory(path)

    def names(self, directory: Path) -> list[str]:
        """See the port."""
        return self._below.names(directory)

    def read(self, path: Path, offset: int = 0, length: int | None = None) -> bytes:
        """See the port."""
        return self._below.read(path, offset, length)

    def size(self, path: Path) -> int:
        """See the port."""
        return self._below.size(path)

    def uncache(self, path: Path) -> None:
        """See the port."""
        self._below.uncache(path)

    def create(self, path: Path) -> File:
        """See the port."""
        return _FaultyFile(self._below.create(path), self._faults)

    def rename(self, old: Path, new: Path) -> None:
        """See the port."""
        self._below.rename(old, new)

    def remove(self, path: Path) -> None:
        """See the port."""
        self._below.remove(path)

    def truncate(self, path: Path, size: int) -> None:
        """See the port."""
        self._below.truncate(path, size)

    def sync_directory(self, directory: Path) -> None:
        """See the port."""
        self._faults.before_sync()
        self._below.sync_directory(directory)

    def lock(self, directory: Path) -> Lock:
        """See the port."""
        return self._below.lock(directory)

    def holder(self, directory: Path) -> int | None:
        """See the port."""
        return self._below.holder(directory)


class _FaultyFile:
    """A file of a ``FaultyDisk``. Every file of a log is written from its beginning."""

    def __init__(self, below: File, faults: DiskFaults) -> None:
        self._below = below
        self._faults = faults
        self._size = 0

    def write(self, buffers: Sequence[bytes], offset: int) -> int:
        self._before_write(buffers, offset)
        return self._below.write(buffers, offset)

    def write_durably(self, buffers: Sequence[bytes], offset: int) -> int:
        self._before_write(buffers, offset)
        self._faults.before_sync()
        return self._below.write_durably(buffers, offset)

    def sync(self) -> None:
        self._faults.before_sync()
        self._below.sync()

    def close(self) -> None:
        self._below.close()

    def _before_write(self, buffers: Sequence[bytes], offset: int) -> None:
        end = offset + sum(map(len, buffers))
        if end > self._size:
            self._faults.before_growth()
            self._size = end


class FaultyClock(trio.abc.Clock):
    """This process's clocks, which can run at a wrong rate; the time of day can also jump.

    Trio runs on it, and so does everything that waits. Its monotonic time never goes back.
    """

    def __init__(self) -> None:
        self.rate = 1.0
        self._read_at = time.perf_counter()  # when the rate last changed, on the true clock
        self._monotonic_s = 0.0  # what was shown then
        self._wall_us = time.time_ns() // 1000  # likewise

    def start_clock(self) -> None:
        """Begin: nothing is to be done."""

    def current_time(self) -> float:
        """Return the monotonic time that this process sees, in seconds."""
        return self._monotonic_s + self._elapsed_s()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Return for how long the true clock has to run until ``deadline``, in seconds."""
        return (deadline - self.current_time()) / self.rate

    def wall_us(self) -> int:
        """Return the time of day that this process sees, in microseconds since 1970."""
        return self._wall_us + int(self._elapsed_s() * 1e6)

    def set_rate(self, rate: float) -> None:
        """Let both clocks run faster (above 1) or slower from now on."""
        now = time.perf_counter()
        elapsed_s = (now - self._read_at) * self.rate
        self._monotonic_s += elapsed_s
        self._wall_us += int(elapsed_s * 1e6)
        self._read_at = now
        self.rate = rate

    def jump(self, seconds: float) -> None:
        """Set the time of day forward, or back."""
        self._wall_us += int(seconds * 1e6)

    def _elapsed_s(self) -> float:
        return (time.perf_counter() - self._read_at) * self.rate


class FaultPoints:
    """The faults of one process, as they are spoken of from outside.

    A wish names what is to change, and every answer says how things stand:

    - ``disk_full`` (true or false), ``sync_delay_s``, ``sync_fails`` (true or false)
    - ``clock_rate`` (1 is right), ``wall_jump_s`` (once)
    """

    def __init__(self) -> None:
        self.disk = DiskFaults()
        self.clock = FaultyClock()

    def change(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a wish asks for; return how things stand before and after it."""
        before = self.clock.wall_us()
        if "disk_full" in wish:
            self.disk.full = bool(wish["disk_full"])
        if "sync_delay_s" in wish:
            self.disk.sync_delay_s = float(wish["sync_delay_s"])
        if "sync_fails" in wish:
            self.disk.sync_fails = bool(wish["sync_fails"])
        if "clock_rate" in wish:
            self.clock.set_rate(float(wish["clock_rate"]))
        if "wall_jump_s" in wish:
            self.clock.jump(float(wish["wall_jump_s"]))
        return {
            "counts": dict(self.disk.counts),
            "monotonic_s": self.clock.current_time(),
            "wall_before_us": before,
            "wall_us": self.clock.wall_us(),
            "true_s": time.monotonic(),
        }
