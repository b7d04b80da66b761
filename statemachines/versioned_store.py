"""Keys with their versions over revisions: what is kept, what is forgotten, and what was when.

It owns revisions and retention. It never knows the bytes of a command, limits, or who watches. It
guards four things: every revision from ``oldest`` to ``revision`` can be read exactly; every
change after ``oldest`` is kept, in order; a key that was deleted at or before ``oldest`` leaves
nothing; and a ``Capture`` shows the store as it was, whatever is written and forgotten meanwhile.

``oldest`` is the oldest revision that can be read: the state as it was then is the *base*, and the
changes after it are the *log*. Moving ``oldest`` over one revision looks only at the keys that this
revision changed, so retention costs the same per write whatever the number of keys.

A capture is cheap because versions never change: the state at its ``oldest`` can be read off the
chains of versions at any later time, but for what was forgotten since. So the one thing that a
store does for its captures is to hand them what it is about to forget.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence

from statemachines.key_index import KeyIndex


class Version:
    """One key as one change left it. Immutable but for ``previous``, which retention cuts.

    Attributes:
        key: The key.
        value: The value, or None if the change deleted the key.
        content_type: The value's content type; empty for a deletion.
        created: The revision at which the key last came to be; 0 for a deletion.
        revision: The revision of this change.
        version: How often the key was written since it came to be, from 1; 0 for a deletion.
        time: Replicated time of the change, microseconds since the Unix epoch.
        previous: The version before, while anything may still read it.
    """

    __slots__ = (
        "content_type",
        "created",
        "key",
        "previous",
        "revision",
        "time",
        "value",
        "version",
    )

    def __init__(  # noqa: PLR0917 - made per write, where keywords cost as much as the fields
        self,
        key: str,
        value: bytes | None,
        content_type: str,
        created: int,
        revision: int,
        version: int,
        time: int,
        previous: Version | None,
    ) -> None:
        self.key = key
        self.value = value
        self.content_type = content_type
        self.created = created
        self.revision = revision
        self.version = version
        self.time = time
        self.previous = previous


class VersionedStore:
    """A map with history.

    Args:
        keep: How many revisions to keep behind the present one, at least 1.
        oldest: The revision to start from.
        base: The state at that revision, as ``base()`` of another store returned it.

    Attributes:
        revision: The present revision; 0 before the first change.
        oldest: The oldest revision that can be read, at most ``revision``.
        keep: How many revisions to keep behind the present one. Assign to it, then compact.
        changes: The kept changes by revision, from ``oldest + 1`` to ``revision`` without a gap.
        latest: The newest version of every key of which anything is kept, a deletion too.

    These are read with every command and so are plain attributes; only ``keep`` may be assigned.
    """

    def __init__(self, keep: int, oldest: int = 0, base: Iterable[Version] = ()) -> None:
        self.keep = keep
        self.revision = oldest
        self.oldest = oldest
        self.latest = {version.key: version for version in base}
        self._index = KeyIndex(list(self.latest))
        self.changes: dict[int, tuple[Version, ...]] = {}
        self._staged: tuple[Version, ...] = ()  # written at revision + 1, not yet committed
        self._live = len(self.latest)  # keys whose newest version is not a deletion
        self._kept = len(self.latest)  # versions that can still be read, deletions among them
        self._captures: list[weakref.ref[Capture]] = []  # those that somebody may still read

    @property
    def keys_count(self) -> int:
        """How many keys there are now."""
        return self._live

    @property
    def versions_count(self) -> int:
        """How many versions are kept, deletions among them."""
        return self._kept

    # --- writing ---------------------------------------------------------------------------------

    def stage(self, key: str, value: bytes | None, content_type: str, time: int) -> None:
        """Write a key at the next revision; None deletes a key that is there.

        Reads of the present see it at once. ``commit`` must follow, and a key may be staged once
        before it.
        """
        self._staged += (self._write(key, value, content_type, time),)

    def put(self, key: str, value: bytes, content_type: str, time: int) -> int:
        """Write a key at a revision of its own, as ``stage`` and ``commit`` would; return that."""
        revision = self.revision + 1
        self.changes[revision] = (self._write(key, value, content_type, time),)
        self.revision = revision
        return revision

    def _write(self, key: str, value: bytes | None, content_type: str, time: int) -> Version:
        previous = self.latest.get(key)
        revision = self.revision + 1
        if value is None:
            created = version = 0
            self._live -= 1
        elif previous is None or previous.value is None:
            created, version = revision, 1
            self._live += 1
            if previous is None:
                self._index.add(key)
        else:
            created, version = previous.created, previous.version + 1
            key = previous.key  # share one string per key
        self._kept += 1
        written = Version(key, value, content_type, created, revision, version, time, previous)
        self.latest[key] = written
        return written

    def commit(self) -> int:
        """Give what was staged a revision, if anything was; return the present revision.

        Forgets nothing: that is ``compact_to``.
        """
        staged = self._staged
        if not staged:
            return self.revision
        self.revision = revision = self.revision + 1
        self.changes[revision] = staged
        self._staged = ()
        return revision

    # --- forgetting ------------------------------------------------------------------------------

    def compact_to(self, oldest: int) -> None:
        """Forget what only reads before revision ``oldest`` need. Costs the changes passed over."""
        latest = self.latest
        for revision in range(self.oldest + 1, oldest + 1):
            changes = self.changes.pop(revision)
            if self._captures:
                self._hand_over(revision, changes)
            for change in changes:
                # The change becomes the base of its key: nothing before it can be read any more.
                previous = change.previous
                if previous is not None:
                    change.previous = None
                    # A deletion at the base was counted out when it got there.
                    if previous.value is not None:
                        self._kept -= 1
                if change.value is None:
                    self._kept -= 1
                    if latest[change.key] is change:
                        del latest[change.key]
                        self._index.remove(change.key)
            self.oldest = revision

    def _hand_over(self, revision: int, changes: Sequence[Version]) -> None:
        for reference in tuple(self._captures):
            capture = reference()
            if capture is not None:
                capture.keep(revision, changes)

    # --- reading ---------------------------------------------------------------------------------

    def live(self, key: str) -> Version | None:
        """Return the key as it is now, or None."""
        latest = self.latest.get(key)
        return None if latest is None or latest.value is None else latest

    def at(self, key: str, revision: int) -> Version | None:
        """Return the key as it was at a revision from ``oldest`` to ``revision``, or None.

        Costs the versions of this key that came later.
        """
        version = self.latest.get(key)
        while version is not None and version.revision > revision:
            version = version.previous
        return None if version is None or version.value is None else version

    def scan(self, start: str) -> Iterator[str]:
        """Yield in order the keys from ``start`` on of which anything is kept."""
        return self._index.scan(start)

    def history(self, key: str, after: int) -> list[Version]:
        """Return the kept versions of a key later than revision ``after``, oldest first."""
        versions: list[Version] = []
        version = self.latest.get(key)
        while version is not None and version.revision > after:
            # A deletion at or before oldest may linger behind a later version; it says nothing.
            if version.value is not None or version.revision > self.oldest:
                versions.append(version)
            version = version.previous
        versions.reverse()
        return versions

    # --- as a whole ------------------------------------------------------------------------------

    def capture(self) -> Capture:
        """Return all that is kept, as of this moment. Costs a reference per 512 to 1,024 keys.

        There may be several at a time. What a capture costs the store ends when it is dropped.
        """
        capture = Capture(self, self._index.capture())
        self._captures.append(weakref.ref(capture, self._captures.remove))
        return capture


class Capture:
    """A store as of one moment, while the store goes on. Read ``base``, then ``log``, each once.

    Args:
        store: Asked for what it still keeps.
        blocks: The keys of which anything was kept, in order.

    Attributes:
        revision: The store's, then.
        oldest: The store's, then.
        keep_revisions: The store's ``keep``, then.
    """

    def __init__(self, store: VersionedStore, blocks: Sequence[Sequence[str]]) -> None:
        self.revision = store.revision
        self.oldest = store.oldest
        self.keep_revisions = store.keep
        self._store = store
        self._blocks = blocks
        self._base_through = ""  # the base is read through this key
        self._log_through = store.oldest  # the log is read through this revision
        # What the store has forgotten and is not read yet: the base of keys, and changes.
        self._versions: dict[str, Version | None] = {}
        self._changes: dict[int, Sequence[Version]] = {}

    def keep(self, revision: int, changes: Sequence[Version]) -> None:
        """Keep what is still to be read, before the store forgets what came before ``changes``."""
        if self._log_through < revision <= self.revision:
            self._changes[revision] = changes
        if not self._blocks:
            return
        for change in changes:
            if change.key > self._base_through:
                # The first time a key comes up here, what came before is still its base.
                self._versions.setdefault(change.key, change.previous)

    def base(self) -> Iterator[Version]:
        """Yield the state at ``oldest`` in key order."""
        versions, at, oldest = self._versions, self._store.at, self.oldest
        for block in self._blocks:
            for key in block:
                if key in versions:
                    version = versions.pop(key)
                    if version is not None and version.value is None:
                        version = None
                else:
                    version = at(key, oldest)
                if version is not None:
                    yield version
            self._base_through = block[-1]
        self._blocks = ()
        versions.clear()

    def log(self) -> Iterator[Version]:
        """Yield every change after ``oldest``, in order."""
        for revision in range(self.oldest + 1, self.revision + 1):
            forgotten = self._changes.pop(revision, None)
            self._log_through = revision
            yield from self._store.changes[revision] if forgotten is None else forgotten
