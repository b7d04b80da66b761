"""The directory port of the logs that are made of files, and the real disk behind it.

Owns every system call of the default log. It must never know what the bytes mean. It exists so that
tests can put a disk underneath that loses power, fails a sync or writes half
(``paxos.testing.disk``). Errors of the operating system pass through as ``OSError``: who called
knows whether they are fatal.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from paxos.storage.base import DirectoryInUse, StorageError

LOCK_NAME = "lock"
"""Names the process that holds a data directory, for people. What is locked is the directory."""

_NO_SUCH_FLAG = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})


class File(Protocol):
    """An open file of a log."""

    def write(self, buffers: Sequence[bytes], offset: int) -> int:
        """Write ``buffers`` one after another at ``offset``; return how many bytes were taken."""

    def write_durably(self, buffers: Sequence[bytes], offset: int) -> int:
        """Like ``write``; what it took is durable when it returns."""

    def sync(self) -> None:
        """Make the contents durable. Never to be called again after it has raised."""

    def close(self) -> None:
        """Close the file, without a sync."""


class Lock(Protocol):
    """A data directory held by this process."""

    def release(self) -> None:
        """Let others have it."""


class ReadableDisk(Protocol):
    """What is needed of a file system to look at a log, and not to change it."""

    def names(self, directory: Path) -> list[str]:
        """Return the names in a directory, sorted."""

    def read(self, path: Path, offset: int = 0, length: int | None = None) -> bytes:
        """Return a file's bytes from ``offset`` on: ``length`` of them, or fewer at its end."""

    def size(self, path: Path) -> int:
        """Return how many bytes a file has."""

    def uncache(self, path: Path) -> None:
        """Let the next read of a file come from the medium, as far as that can be asked for."""

    def holder(self, directory: Path) -> int | None:
        """Return the id of a living process that said it holds a directory. A hint, no more."""


class Disk(ReadableDisk, Protocol):
    """What the logs need of a file system."""

    @property
    def sync_method(self) -> str:
        """How ``write_durably`` makes bytes durable, for people: what was found on this machine."""

    def make_directory(self, path: Path) -> None:
        """Make a directory and its missing parents, durably. One that exists is fine."""

    def create(self, path: Path) -> File:
        """Create a file that must not exist yet."""

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name, in one step. Durable after ``sync_directory``."""

    def remove(self, path: Path) -> None:
        """Remove a file."""

    def truncate(self, path: Path, size: int) -> None:
        """Give back what a file holds beyond ``size`` bytes, or let it end later, with zeros."""

    def sync_directory(self, directory: Path) -> None:
        """Make the names in a directory durable."""

    def lock(self, directory: Path) -> Lock:
        """Hold a directory until released, or until this process ends.

        Raises:
            DirectoryInUse: Somebody else holds it.
        """


def refuse_platform(platform: str) -> None:
    """Say clearly that a platform cannot keep a log safe.

    Raises:
        StorageError: ``platform`` is Windows.
    """
    if platform.startswith(("win", "cygwin")):
        raise StorageError(
            "this log cannot run on Windows: it needs directories that can be locked and synced;"
            " use Linux or macOS (WSL 2 works)"
        )


class RealDisk:
    """The file system of this machine.

    Linux syncs a write with one system call, ``pwritev`` with ``RWF_DSYNC``. Where that is missing
    the write is followed by the platform's full sync, and ``sync_method`` says so.
    """

    def __init__(self) -> None:
        refuse_platform(sys.platform)
        self.flags: int | None = getattr(os, "RWF_DSYNC", None)

    @property
    def sync_method(self) -> str:
        """How a batch becomes durable on this machine."""
        return "pwritev(RWF_DSYNC)" if self.flags is not None else f"pwritev + {_full_sync_name()}"

    def make_directory(self, path: Path) -> None:
        """Make ``path``, then sync every directory in which a name was added."""
        missing = [path, *path.parents]
        missing = missing[: next(i for i, each in enumerate(missing) if each.is_dir())]
        path.mkdir(parents=True, exist_ok=True)
        for each in reversed(missing):
            self.sync_directory(each.parent)

    def names(self, directory: Path) -> list[str]:
        """Return what ``os.listdir`` finds, sorted."""
        return sorted(os.listdir(directory))

    def read(self, path: Path, offset: int = 0, length: int | None = None) -> bytes:
        """Return the file's bytes, or some of them."""
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            if length is None:
                return file.readall()
            parts: list[bytes] = []
            while length and (part := file.read(length)):
                parts.append(part)
                length -= len(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)

    def size(self, path: Path) -> int:
        """Return the file's size."""
        return path.stat().st_size

    def uncache(self, path: Path) -> None:
        """Ask the kernel to forget what it holds of the file and has written back."""
        if hasattr(os, "posix_fadvise"):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)

    def create(self, path: Path) -> File:
        """Create a file that only its owner can read."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        return _RealFile(self, descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Rename, replacing ``new`` if it exists."""
        os.rename(old, new)

    def remove(self, path: Path) -> None:
        """Unlink the file."""
        os.unlink(path)

    def truncate(self, path: Path, size: int) -> None:
        """Shorten the file, or lengthen it by a hole."""
        os.truncate(path, size)

    def sync_directory(self, directory: Path) -> None:
        """Sync the directory itself."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock(self, directory: Path) -> Lock:
        """Lock the directory's own inode, so that deleting no file can give it to two processes."""
        import fcntl

        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (directory / LOCK_NAME).write_text(f"{os.getpid()}\n", encoding="ascii")
        except BlockingIOError:
            os.close(descriptor)
            holder = self.holder(directory)
            named = "another process" if holder is None else f"process {holder}"
            raise DirectoryInUse(
                f"{directory}: {named} is using this data directory; stop it first,"
                " or name another directory"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        return _RealLock(descriptor, directory / LOCK_NAME)

    def holder(self, directory: Path) -> int | None:
        """Return the process that the lock file names, if it lives."""
        try:
            process = int((directory / LOCK_NAME).read_text(encoding="ascii"))
            os.kill(process, 0)
        except PermissionError:
            return process
        except (OSError, ValueError, OverflowError):
            return None
        return process


class _RealLock:
    __slots__ = ("_descriptor", "_note")

    def __init__(self, descriptor: int, note: Path) -> None:
        self._descriptor = descriptor
        self._note = note

    def release(self) -> None:
        self._note.unlink(missing_ok=True)
        os.close(self._descriptor)


class _RealFile:
    __slots__ = ("_descriptor", "_disk")

    def __init__(self, disk: RealDisk, descriptor: int) -> None:
        self._disk = disk
        self._descriptor = descriptor

    def write(self, buffers: Sequence[bytes], offset: int) -> int:
        return os.pwritev(self._descriptor, buffers, offset)

    def write_durably(self, buffers: Sequence[bytes], offset: int) -> int:
        flags = self._disk.flags
        if flags is not None:
            try:
                return os.pwritev(self._descriptor, buffers, offset, flags)
            except OSError as error:
                if error.errno not in _NO_SUCH_FLAG:
                    raise
                # A kernel or file system older than the flag took nothing: do it in two steps.
                self._disk.flags = None
        written = os.pwritev(self._descriptor, buffers, offset)
        self.sync()
        return written

    def sync(self) -> None:
        _full_sync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def _full_sync_name() -> str:
    if sys.platform == "darwin":
        return "F_FULLFSYNC"
    return "fdatasync" if hasattr(os, "fdatasync") else "fsync"


def _full_sync(descriptor: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        # fsync on macOS leaves the bytes in the drive's cache.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)
