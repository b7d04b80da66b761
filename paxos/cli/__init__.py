"""The ``paxos`` command line: the composition root for people and scripts.

``program`` holds the table of commands; each command's module is imported only when that command
runs, so that ``paxos --help`` is quick. What scripts rely on (exit statuses, the fields of
``--json``) is written down in ``docs/cli.md`` and kept in ``exits`` and ``output``.
"""

from paxos.cli.program import main

__all__ = ["main"]
