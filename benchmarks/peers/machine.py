"""What the machine is, and who uses its processors. Linux only: it reads ``/proc``."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.children import ClusterFailed

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
QUIET_CORES = 0.3


def cpu_s(pid: int) -> float:
    """Return the CPU seconds a process and its ended children have used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / TICKS_PER_S


def rss_mib(pid: int) -> float:
    """Return the memory that a process has resident now, what it shares with others included."""
    return _mib(Path(f"/proc/{pid}/status"), "VmRSS")


def peak_rss_mib(pid: int) -> float:
    """Return the most that a process has had resident so far."""
    return _mib(Path(f"/proc/{pid}/status"), "VmHWM")


def pss_mib(pid: int) -> float:
    """Return what a process alone has resident, and of what several share its part (PSS).

    The system walks through all of the process's pages for it: not for every second of a load.
    """
    return _mib(Path(f"/proc/{pid}/smaps_rollup"), "Pss")


def _mib(file: Path, name: str) -> float:
    for line in file.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise ClusterFailed(f"{file} tells no {name}: the process has ended")


def busy_s() -> float:
    """Return the CPU seconds all processors together have been busy since boot.

    What the host of a virtual machine took of them counts: it is not there for us either.
    """
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


class Usage:
    """CPU use from now on, told apart: servers, what we started and waited for, and the rest.

    The rest has what the host of a virtual machine took.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = list(pids)
        self._started = time.monotonic()
        self._servers = self._clocks_s()
        self._own = _own_s()
        self._busy = busy_s()

    def each_server_s(self) -> list[float]:
        """Return the CPU seconds each server has used since."""
        return [now - then for now, then in zip(self._clocks_s(), self._servers, strict=True)]

    def other_cores(self) -> float:
        """Return the processors that neither the servers nor we have used since, on average."""
        seconds = time.monotonic() - self._started
        accounted = sum(self.each_server_s()) + _own_s() - self._own
        return max(0.0, (busy_s() - self._busy - accounted) / seconds)

    def _clocks_s(self) -> list[float]:
        return [cpu_s(pid) for pid in self._pids]


def _own_s() -> float:
    """CPU seconds of this process and of every child that was waited for."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(each.ru_utime + each.ru_stime for each in map(resource.getrusage, kinds))


def wait_until_quiet(timeout_s: float) -> float:
    """Wait until little runs on the machine, or for ``timeout_s``; return the cores in use."""
    deadline = time.monotonic() + timeout_s
    while True:
        before = busy_s()
        time.sleep(1.0)
        cores = busy_s() - before
        if cores < QUIET_CORES or time.monotonic() > deadline:
            return cores


def settle(timeout_s: float) -> None:
    """Have everything written that waits for its disk, then wait until little runs."""
    os.sync()
    wait_until_quiet(timeout_s)


def description(directory: Path) -> dict[str, str | int]:
    """Describe this machine, and the file system that ``directory`` is on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(memory / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "file_system": _file_system(directory),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _file_system(directory: Path) -> str:
    """Return the type of the mount with the longest path above ``directory``."""
    place = directory.resolve()
    mounts = (line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines())
    above = [(point, kind) for point, kind in mounts if place.is_relative_to(point)]
    return max(above, key=lambda each: len(each[0]))[1]
