"""Shows how far a change of members is: results as lines, a moving bar on standard error.

Owns the words. A bar is drawn only for a person at a terminal; under ``--json`` there is one object
per event on standard output, and nothing moves.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from paxos.cli.output import print_json, warn
from paxos.core.config import Configuration, Member, Part

if TYPE_CHECKING:
    from paxos.operations.directories import NewNode

STEPS = 1000
"""Of a bar, for each node that catches up."""


def serve_line(node: NewNode) -> str:
    """Return the line that runs a new node, to be typed on its machine."""
    return f"paxos serve --config {shlex.quote(str(node.file.path))} --node {node.entry.id}"


class Teller:
    """Tells of one change.

    Args:
        as_json: Whether to print objects.
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._said: set[str] = set()
        self._steps: dict[int, int] = {}  # by node that catches up
        self._bar: Any = None

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Draw a bar inside the context, if there is somebody to see it."""
        if self._as_json or not sys.stderr.isatty():
            yield
            return
        with click.progressbar(length=STEPS, label="catching up", file=sys.stderr) as bar:
            self._bar = bar
            yield
        self._bar = None

    def joined(self, node: NewNode) -> None:
        """Say that a node is a learner now, and how to run it."""
        entry = node.entry
        line = serve_line(node)
        if self._as_json:
            config = str(node.file.path)
            fields = {"node": entry.id, "url": entry.url, "config": config, "serve": line}
            print_json({"event": "joined", **fields})
            return
        what = "has joined as a learner, in"
        if node.member().part is Part.WITNESS:
            what = "joins as a witness once it runs, in"
        click.echo(f"node {entry.id} {what} {node.file.path.parent}")
        click.echo(f"  {line}    # run this on its machine: {entry.url}")

    def waiting(self, member: Member, reason: str) -> None:
        """Say, once for each reason, that a node does not answer yet."""
        why = reason.removeprefix(f"{member.url}: ")
        text = f"waiting for node {member.node} at {member.url}: {why}"
        if text not in self._said:
            self._said.add(text)
            warn(text)

    def catching_up(self, member: Member, done: int, total: int) -> None:
        """Move the bar."""
        self._steps[member.node] = STEPS if total == 0 else STEPS * done // total
        if self._bar is not None:
            self._bar.length = STEPS * len(self._steps)
            self._bar.update(max(0, sum(self._steps.values()) - self._bar.pos))

    def changed(self, configuration: Configuration, text: str) -> None:
        """Say that a change is settled."""
        if self._as_json:
            print_json({"event": "settled", "version": configuration.version, "text": text})
