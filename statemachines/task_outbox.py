"""The worker's outbox: what came of tasks, on disk, until the task log has it.

Owns one small file in a directory of its own. It must never know the cluster, the network or the
time. It guards two things: what ``write`` took is found again after a crash or a power cut, and
what is damaged is never passed over in silence. A failed write is never tried again: what a disk
says after that cannot be believed.

The file is a row of batches, each one durable before the next is begun:

    magic, length of the body, number of the batch from 0, crc32 of the two and of the body, body

Batch 0 says the format and the owner, and holds what was pending when the file was made; it is
durable before the file gets its name. So only the last batch can be torn, and it is dropped then:
nobody was told of it. Bytes that are no batch with a valid one behind them are damage.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from msgpack import UnpackException, packb, unpackb

from paxos.core.errors import PaxosError
from paxos.storage.disk import Disk, File, RealDisk

FORMAT: Final = 1
FILE_NAME: Final = "outbox"
FRESH_NAME: Final = "outbox.fresh"
MAGIC: Final = b"POB\x01"
REWRITE_BYTES: Final = 1024 * 1024
"""A file this long, and twice as long as it began, is written anew with what is pending."""

_HEADER: Final = struct.Struct(">4sIQI")
_DONE: Final = 1
_FAILED: Final = 2
_SETTLED: Final = 3


class OutboxFailed(PaxosError):
    """The disk refused or failed. The outbox takes nothing more; its worker must end."""


class OutboxDamaged(PaxosError):
    """The file cannot be read, or is somebody else's; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Done:
    """A task's result. ``token`` is that of the claim, and names this report for good."""

    task: str
    token: int
    result: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a task failed; without ``retry`` it is not to be tried again."""

    task: str
    token: int
    reason: str
    retry: bool


Report = Done | Failed


class Outbox(Protocol):
    """Where a worker keeps what came of tasks until the task log has it."""

    @property
    def pending(self) -> tuple[Report, ...]:
        """What was written and not settled, in the order of writing."""

    def write(self, reports: Sequence[Report], settled: Iterable[int] = ()) -> None:
        """Keep ``reports`` and forget the tokens ``settled``. Blocking; one call at a time."""


class MemoryOutbox:
    """An outbox that outlives a cut connection, but not its process."""

    def __init__(self) -> None:
        self._pending: dict[int, Report] = {}

    @property
    def pending(self) -> tuple[Report, ...]:
        """What was written and not settled, in the order of writing."""
        return tuple(self._pending.values())

    def write(self, reports: Sequence[Report], settled: Iterable[int] = ()) -> None:
        """Keep ``reports`` and forget the tokens ``settled``."""
        _check_new(self._pending, reports)
        _change(self._pending, reports, settled)


class FileOutbox:
    """An outbox on disk.

    Args:
        directory: Its own directory, made if it is missing, and held until ``close``.
        owner: Whose it is: the cluster and the node. Tokens of another cluster mean other tasks.
        disk: The disk; this machine's if None.

    Raises:
        OutboxDamaged: What is there cannot be read, or is another owner's.
        OutboxFailed: The disk refused.
        DirectoryInUse: Another process holds the directory.
    """

    def __init__(self, directory: Path, owner: str, disk: Disk | None = None) -> None:
        self._directory = directory
        self._owner = owner
        self._disk = disk if disk is not None else RealDisk()
        self._pending: dict[int, Report] = {}
        self._file: File | None = None
        self._end = 0  # where the next batch begins
        self._batches = 0  # how many the file has
        self._rewrite_at = 0  # how long the file may get
        self._failed = False
        try:
            self._disk.make_directory(directory)
            self._lock = self._disk.lock(directory)
        except OSError as error:
            raise OutboxFailed(f"{directory}: cannot be used: {error.strerror or error}") from error
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise

    @property
    def pending(self) -> tuple[Report, ...]:
        """What was written and not settled, in the order of writing."""
        return tuple(self._pending.values())

    def write(self, reports: Sequence[Report], settled: Iterable[int] = ()) -> None:
        """Keep ``reports`` and forget the tokens ``settled``, durably. Blocking.

        Raises:
            OutboxFailed: The disk failed, now or before. Whether ``reports`` will be found again
                is unknown.
            ValueError: A token was reported before, and is pending.
        """
        tokens = tuple(settled)
        _check_new(self._pending, reports)
        with self._fatal_errors():
            _change(self._pending, reports, tokens)
            if self._end >= self._rewrite_at:
                self._begin_file()
            else:
                self._append([*map(_fields, reports), *((_SETTLED, token) for token in tokens)])

    def close(self) -> None:
        """Let others have the directory. What was written stays."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._failed = True
        self._lock.release()

    # --- reading ---------------------------------------------------------------------------------

    def _open(self) -> None:
        path = self._directory / FILE_NAME
        with self._fatal_errors():
            names = self._disk.names(self._directory)
            data = self._disk.read(path) if FILE_NAME in names else None
        if data is not None:
            try:
                self._recover(data)
            except _Unreadable as error:
                raise OutboxDamaged(
                    f"{path}: {error}; move it away to go on without it: the tasks whose results"
                    " it held run again once their leases lapse"
                ) from None
        # A file is never written on after its reader died: what it holds may have been torn.
        with self._fatal_errors():
            self._begin_file()

    def _recover(self, data: bytes) -> None:
        batches = list(_batches(data))
        if not batches:
            raise _Unreadable("it does not begin as an outbox does, or its beginning is damaged")
        _, end = batches[-1]
        if _has_batch_behind(data, end):
            raise _Unreadable(f"it is damaged at byte {end}")
        about, *records = (record for body, _ in batches for record in _unpack(body))
        self._check_owner(about)
        for record in records:
            _replay(self._pending, record)

    def _check_owner(self, about: Any) -> None:
        if type(about) is not tuple or len(about) != 2 or about[0] != FORMAT:
            raise _Unreadable(f"its format is not the one this version knows, {FORMAT}")
        if about[1] != self._owner:
            raise _Unreadable(f"it belongs to {about[1]}, not to {self._owner}")

    # --- writing ---------------------------------------------------------------------------------

    def _begin_file(self) -> None:
        """Put a file with what is pending in the place of the one that is there, if any."""
        fresh = self._directory / FRESH_NAME
        if FRESH_NAME in self._disk.names(self._directory):
            self._disk.remove(fresh)  # one that never got its name
        before, self._file = self._file, self._disk.create(fresh)
        if before is not None:
            before.close()
        self._end = self._batches = 0
        self._append([(FORMAT, self._owner), *map(_fields, self._pending.values())])
        self._rewrite_at = max(REWRITE_BYTES, 2 * self._end)
        self._disk.rename(fresh, self._directory / FILE_NAME)
        self._disk.sync_directory(self._directory)

    def _append(self, records: list[tuple[object, ...]]) -> None:
        if self._file is None:
            raise OutboxFailed(f"{self._directory}: the outbox is closed")
        body: bytes = packb(records)
        rest = _frame(self._batches, body)
        while rest:
            taken = self._file.write_durably((rest,), self._end)
            self._end += taken
            rest = rest[taken:]
        self._batches += 1

    @contextmanager
    def _fatal_errors(self) -> Iterator[None]:
        """Make an error in the body the last thing that this outbox ever does."""
        if self._failed:
            raise OutboxFailed(f"{self._directory}: the outbox failed before, or is closed")
        try:
            yield
        except OSError as error:
            self._failed = True
            raise OutboxFailed(f"{self._directory}: {error.strerror or error}") from error
        except BaseException:
            self._failed = True
            raise


class _Unreadable(Exception):
    """What is wrong with the file."""


def _check_new(pending: Mapping[int, Report], reports: Sequence[Report]) -> None:
    for report in reports:
        if report.token in pending:
            raise ValueError(f"token {report.token} of task {report.task} was reported before")


def _change(pending: dict[int, Report], reports: Sequence[Report], settled: Iterable[int]) -> None:
    pending.update((report.token, report) for report in reports)
    for token in settled:
        pending.pop(token, None)


def _fields(report: Report) -> tuple[object, ...]:
    match report:
        case Done():
            return _DONE, report.task, report.token, report.result
        case Failed():
            return _FAILED, report.task, report.token, report.reason, report.retry


def _replay(pending: dict[int, Report], record: Any) -> None:
    # The numbers are _DONE, _FAILED and _SETTLED: names would be captured, not compared.
    match record:
        case (1, str(task), int(token), bytes(result)):
            pending[token] = Done(task, token, result)
        case (2, str(task), int(token), str(reason), bool(retry)):
            pending[token] = Failed(task, token, reason, retry)
        case (3, int(token)):
            pending.pop(token, None)
        case _:
            raise _Unreadable("it holds a record that this version does not know")


def _frame(number: int, body: bytes) -> bytes:
    return _HEADER.pack(MAGIC, len(body), number, _checksum(number, body)) + body


def _checksum(number: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(struct.pack(">QI", number, len(body))))


def _batches(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the body and the end of every batch from the beginning on, up to what is none."""
    end = number = 0
    while (body := _batch_at(data, end, number)) is not None:
        end += _HEADER.size + len(body)
        number += 1
        yield body, end


def _batch_at(data: bytes, start: int, number: int | None = None) -> bytes | None:
    """Return the body of the batch at ``start`` if it is whole, and has that number."""
    if len(data) - start < _HEADER.size:
        return None
    magic, length, said, checksum = _HEADER.unpack_from(data, start)
    if magic != MAGIC or number not in (None, said):
        return None
    begin = start + _HEADER.size
    body = data[begin : begin + length]
    return body if len(body) == length and _checksum(said, body) == checksum else None


def _has_batch_behind(data: bytes, start: int) -> bool:
    """Whether a whole batch stands anywhere from ``start`` on: what lies before it was durable."""
    while (start := data.find(MAGIC, start)) >= 0:
        if _batch_at(data, start) is not None:
            return True
        start += 1
    return False


def _unpack(body: bytes) -> Sequence[Any]:
    try:
        records = unpackb(body, use_list=False, max_map_len=0, max_ext_len=0)
    except (UnpackException, ValueError, TypeError, OverflowError, RecursionError):
        records = None
    if type(records) is not tuple:
        raise _Unreadable("a batch is not a list of records")
    return records
