"""A disk for tests: it loses power, kills its user, fails a sync, takes half a write, fills up.

Owns the difference between what a process can read and what would survive. It must never be kinder
than a real disk: a sector arrives whole or not at all, in any order; a name that was not synced may
be there or not; pages whose sync failed are forgotten, and a later sync of them succeeds.

    disk.kill()                 # SIGKILL: unsynced bytes stay readable, and stay unsynced
    disk.power_cut(kept)        # and of what was unsynced only ``kept`` has survived
"""

from __future__ import annotations

import copy
import errno
import os
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from paxos.storage.base import DirectoryInUse
from paxos.storage.disk import File, Lock

SECTOR = 512


class Crashed(BaseException):
    """The process died at this point. Nothing may catch it but the test."""


class Unsynced(NamedTuple):
    """One thing that a power cut may or may not lose.

    Attributes:
        kind: ``sector`` of a file, or ``name``: one change of a name in a directory.
        where: The file's or directory's path.
        number: Of the sector, or of the change.
    """

    kind: str
    where: str
    number: int


class _Inode:
    def __init__(self, label: str) -> None:
        self.label = label
        self.cached = bytearray()
        self.durable = bytearray()
        self.dirty: set[int] = set()

    def dirty_range(self, start: int, stop: int) -> None:
        for sector in range(start // SECTOR, -(-stop // SECTOR)):
            where = slice(sector * SECTOR, (sector + 1) * SECTOR)
            # A sector that is written as it was cannot be lost.
            if self.cached[where] != self.durable[where]:
                self.dirty.add(sector)

    def flush(self, sectors: Collection[int]) -> None:
        """Make some dirty sectors durable, and the file's length as far as they need it."""
        if len(self.cached) == len(self.durable):
            for sector in sectors:
                where = slice(sector * SECTOR, (sector + 1) * SECTOR)
                self.durable[where] = self.cached[where]
        elif self.dirty and self.dirty.issubset(sectors):
            self.durable = bytearray(self.cached)
        else:
            self.durable = self._merged(sectors)
        self.dirty.difference_update(sectors)

    def lose_all_but(self, kept: Collection[int]) -> None:
        """Settle what a power cut has left: the sectors ``kept``, and what was durable before."""
        self.durable = self._merged(kept)
        self.cached = bytearray(self.durable)
        self.dirty.clear()

    def _merged(self, kept: Collection[int]) -> bytearray:
        size = max(len(self.cached), len(self.durable))
        merged = bytearray(size)
        end = len(self.durable)
        for sector in range(-(-size // SECTOR)):
            where = slice(sector * SECTOR, min((sector + 1) * SECTOR, size))
            source = self.cached if sector in kept else self.durable
            merged[where] = source[where].ljust(where.stop - where.start, b"\0")
            if sector in kept:
                end = max(end, min(where.stop, len(self.cached)))
        if len(self.cached) < len(self.durable) and kept:
            end = len(self.cached)
        return merged[:end]


class _Change(NamedTuple):
    number: int
    directory: str
    old: str | None
    new: str | None
    inode: int

    def apply(self, names: dict[str, int]) -> None:
        if self.old is not None and names.get(self.old) == self.inode:
            del names[self.old]
        if self.new is not None:
            names[self.new] = self.inode


class _Machine:
    """What the disk, its files and its locks share: contents, and the faults to come."""

    def __init__(self, capacity: int | None) -> None:
        self.capacity = capacity
        self.steps = 0
        self.life = 0  # counts processes; what an older one holds is dead
        self.crash_at: int | None = None
        self.dead = False
        self.syncs_to_fail: int | None = None
        self.scripted: deque[int] = deque()
        self.locks: set[str] = set()
        self.inodes: dict[int, _Inode] = {}
        self.cached: dict[str, dict[str, int]] = {}  # names by directory
        self.durable: dict[str, dict[str, int]] = {}

    def step(self) -> None:
        if self.dead:
            raise Crashed
        if self.steps == self.crash_at:
            self.dead = True
            raise Crashed
        self.steps += 1

    def sync_fails(self) -> bool:
        if self.syncs_to_fail is not None:
            self.syncs_to_fail -= 1
            if self.syncs_to_fail == 0:
                self.syncs_to_fail = None
                return True
        return False

    def room_for(self, growth: int) -> int:
        if self.capacity is None:
            return growth
        linked = {inode for names in self.cached.values() for inode in names.values()}
        used = sum(len(self.inodes[number].cached) for number in linked)
        return min(growth, max(0, self.capacity - used))

    def write(self, inode: _Inode, data: bytes, offset: int) -> int:
        if self.scripted:
            taken = self.scripted.popleft()
            if taken < 0:
                raise OSError(-taken, os.strerror(-taken))
            data = data[:taken]
        growth = offset + len(data) - len(inode.cached)
        if growth > 0:
            data = data[: len(data) - growth + self.room_for(growth)]
            if not data:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            end = max(len(inode.cached), offset + len(data))
            inode.cached.extend(bytes(end - len(inode.cached)))
        inode.cached[offset : offset + len(data)] = data
        inode.dirty_range(offset, offset + len(data))
        return len(data)

    def sync(self, inode: _Inode, sectors: Collection[int] | None = None) -> None:
        """Make a file durable, or just these sectors of it, as ``RWF_DSYNC`` does."""
        if self.sync_fails():
            # The pages are clean now as far as anyone can ask, and are not on the disk.
            inode.dirty.clear()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        inode.flush(set(inode.dirty if sectors is None else inode.dirty.intersection(sectors)))


class ModelDisk:
    """A whole file system in memory, with its faults. Implements ``paxos.storage.disk.Disk``.

    Args:
        capacity: Bytes that fit, or None for no bound.

    Attributes:
        process: What ``holder`` tells of who holds a directory.
    """

    sync_method = "a model"

    def __init__(self, capacity: int | None = None) -> None:
        self.process = 4242
        self._machine = _Machine(capacity)
        self._changes: list[_Change] = []  # of names, not yet synced
        self._changed = 0

    @property
    def capacity(self) -> int | None:
        """Bytes that fit, or None. May be changed at any time."""
        return self._machine.capacity

    @capacity.setter
    def capacity(self, capacity: int | None) -> None:
        self._machine.capacity = capacity

    @property
    def steps(self) -> int:
        """How many moments have passed at which the process might have died."""
        return self._machine.steps

    # --- faults ---------------------------------------------------------------------------------

    def crash_at(self, step: int) -> None:
        """Let the process die when ``steps`` reaches ``step``: see ``Crashed``."""
        self._machine.crash_at = step

    def fail_sync(self, nth: int = 1) -> None:
        """Let the ``nth`` sync from now fail, of a file or a directory; later ones succeed."""
        self._machine.syncs_to_fail = nth

    def script_writes(self, taken: Iterable[int]) -> None:
        """Let the next writes take so many bytes each; a negative number raises that error."""
        self._machine.scripted = deque(taken)

    def kill(self) -> None:
        """The process is gone. What it wrote can be read, and is no more durable than before."""
        self._machine.life += 1
        self._machine.locks.clear()
        self._machine.crash_at = None
        self._machine.dead = False
        self._machine.syncs_to_fail = None
        self._machine.scripted.clear()

    def unsynced(self) -> list[Unsynced]:
        """Return everything that a power cut now might lose."""
        sectors = [
            Unsynced("sector", inode.label, sector)
            for inode in self._machine.inodes.values()
            for sector in sorted(inode.dirty)
        ]
        return sectors + [Unsynced("name", each.directory, each.number) for each in self._changes]

    def power_cut(self, kept: Collection[Unsynced] = ()) -> None:
        """The machine loses power. Of what was unsynced, ``kept`` has reached the disk."""
        self.kill()
        for inode in self._machine.inodes.values():
            inode.lose_all_but(
                {each for each in inode.dirty if ("sector", inode.label, each) in kept}
            )
        for change in self._changes:
            if ("name", change.directory, change.number) in kept:
                change.apply(self._machine.durable[change.directory])
        self._changes.clear()
        self._machine.cached = copy.deepcopy(self._machine.durable)

    def copy(self) -> ModelDisk:
        """Return an independent disk in the same state, nobody using it."""
        twin = copy.deepcopy(self)
        twin.kill()
        return twin

    def flip(self, path: Path, offset: int, bit: int = 0) -> None:
        """Flip one bit of a file, durably."""
        inode = self._inode(path)
        self.overwrite(path, offset, bytes([inode.cached[offset] ^ 1 << bit]))

    def overwrite(self, path: Path, offset: int, data: bytes) -> None:
        """Change a file behind everybody's back, durably."""
        inode = self._inode(path)
        inode.flush(set(inode.dirty))
        for contents in (inode.durable, inode.cached):
            contents[offset : offset + len(data)] = data

    # --- the port -------------------------------------------------------------------------------

    def make_directory(self, path: Path) -> None:
        """Make a directory; durable at once."""
        self._machine.step()
        self._machine.cached.setdefault(str(path), {})
        self._machine.durable.setdefault(str(path), {})

    def names(self, directory: Path) -> list[str]:
        """Return the names that can be seen, synced or not."""
        return sorted(self._machine.cached[str(directory)])

    def read(self, path: Path, offset: int = 0, length: int | None = None) -> bytes:
        """Return the bytes that can be seen, synced or not."""
        end = None if length is None else offset + length
        return bytes(self._inode(path).cached[offset:end])

    def size(self, path: Path) -> int:
        """Return how many bytes can be seen, synced or not."""
        return len(self._inode(path).cached)

    def uncache(self, path: Path) -> None:
        """Do nothing: what can be seen is what there is."""

    def create(self, path: Path) -> File:
        """Create a file; its name is not durable until the directory is synced."""
        self._machine.step()
        directory, name = str(path.parent), path.name
        if name in self._machine.cached[directory]:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        number = len(self._machine.inodes)
        self._machine.inodes[number] = _Inode(f"{path}#{number}")
        self._change(directory, None, name, number)
        return _ModelFile(self._machine, self._machine.inodes[number])

    def rename(self, old: Path, new: Path) -> None:
        """Rename in one step."""
        self._machine.step()
        self._change(str(old.parent), old.name, new.name, self._number(old))

    def remove(self, path: Path) -> None:
        """Remove a name."""
        self._machine.step()
        self._change(str(path.parent), path.name, None, self._number(path))

    def truncate(self, path: Path, size: int) -> None:
        """Change a file's size; what is cut off may come back after a power cut."""
        self._machine.step()
        inode = self._inode(path)
        before = len(inode.cached)
        del inode.cached[size:]
        inode.cached.extend(bytes(size - len(inode.cached)))
        inode.dirty_range(min(size, before), max(size, before))

    def sync_directory(self, directory: Path) -> None:
        """Make all changes of names in a directory durable."""
        self._machine.step()
        changes = [each for each in self._changes if each.directory == str(directory)]
        self._changes = [each for each in self._changes if each.directory != str(directory)]
        if self._machine.sync_fails():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        for change in changes:
            change.apply(self._machine.durable[change.directory])

    def lock(self, directory: Path) -> Lock:
        """Hold a directory until released or killed."""
        if str(directory) in self._machine.locks:
            raise DirectoryInUse(f"{directory}: process {self.process} is using it")
        self._machine.locks.add(str(directory))
        return _ModelLock(self._machine, str(directory))

    def holder(self, directory: Path) -> int | None:
        """Return ``process`` if the directory is held."""
        return self.process if str(directory) in self._machine.locks else None

    def _number(self, path: Path) -> int:
        try:
            return self._machine.cached[str(path.parent)][path.name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None

    def _inode(self, path: Path) -> _Inode:
        return self._machine.inodes[self._number(path)]

    def _change(self, directory: str, old: str | None, new: str | None, inode: int) -> None:
        self._changed += 1
        change = _Change(self._changed, directory, old, new, inode)
        self._changes.append(change)
        change.apply(self._machine.cached[directory])


class _ModelFile:
    def __init__(self, machine: _Machine, inode: _Inode) -> None:
        self._machine = machine
        self._inode = inode
        self._life = machine.life

    def write(self, buffers: Sequence[bytes], offset: int) -> int:
        self._step()
        return self._machine.write(self._inode, b"".join(buffers), offset)

    def write_durably(self, buffers: Sequence[bytes], offset: int) -> int:
        self._step()
        taken = self._machine.write(self._inode, b"".join(buffers), offset)
        self._step()
        self._machine.sync(self._inode, range(offset // SECTOR, -(-(offset + taken) // SECTOR)))
        return taken

    def sync(self) -> None:
        self._step()
        self._machine.sync(self._inode)

    def close(self) -> None:
        pass

    def _step(self) -> None:
        if self._life != self._machine.life:
            raise Crashed
        self._machine.step()


class _ModelLock:
    def __init__(self, machine: _Machine, directory: str) -> None:
        self._machine = machine
        self._directory = directory
        self._life = machine.life

    def release(self) -> None:
        if self._life == self._machine.life:
            self._machine.locks.discard(self._directory)
