"""Every example that a ``--help`` shows is typed as it stands, against a running cluster."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from paxos.cli import main
from paxos.cli.options import ENVIRONMENT
from paxos.cli.program import EXAMPLES
from paxos.cli.teaching import TaughtCommand, TaughtGroup
from paxos.testing.processes import free_base_port
from tests.cli.replicas import Replicas
from tests.cli.workers import Worker

pytestmark = pytest.mark.processes

ENDLESS = {
    ("config", "watch"): ["--from-revision", "1", "--events", "1"],
    ("task", "watch"): ["--from-revision", "1", "--events", "1"],
    ("bench",): ["--duration", "0.1", "--warmup", "0"],
}
"""What is added to commands that would take their time."""

ELSEWHERE = {"serve", "demo", "worker"}
"""Commands that run until they are told to stop, or take long: they have tests of their own."""


CHANGES_MEMBERS = {"add", "promote", "remove", "replace", "update", "quorums"}
"""Commands that would change the cluster that all tests share: typed where no replica answers."""

NEEDS_BACKUP = ("restore", "--verify")


def examples(command: click.Command) -> list[str]:
    found = []
    if isinstance(command, TaughtCommand | TaughtGroup):
        found = [line for _, line in command.examples]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            found += examples(below)
    return found


def typed(line: str, config: Path) -> Result:
    """Run a line: a pipeline of ``paxos`` commands, perhaps fed by ``echo``."""
    stdin = b""
    for part in line.split(" | "):
        words = shlex.split(part.partition(" > ")[0])
        if words[0] == "echo":
            stdin = words[1].encode()
            continue
        assert words[0] == "paxos", line
        arguments = words[1:]
        for path, more in ENDLESS.items():
            if tuple(arguments[: len(path)]) == path:
                arguments += more
        result = CliRunner().invoke(
            main, arguments, env={ENVIRONMENT: str(config)}, input=stdin, color=False
        )
        stdin = result.stdout_bytes
    return result


@pytest.fixture
def home(
    tmp_path: Path, task_cluster: Replicas, edge_1: Worker, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A directory with the files that the examples name, and the node that they name."""
    monkeypatch.chdir(tmp_path)
    # What is watched has been changed before, so that every watch has something to show.
    for key in ("k", "site-7/cam-3/fps"):
        assert task_cluster("config", "put", key, "25").exit_code == 0
    assert task_cluster("task", "submit", "t-1", "hello", "--kind", "echo").exit_code == 0
    (tmp_path / "cluster").symlink_to(task_cluster.config.parent)
    (tmp_path / "other.toml").write_text(task_cluster.config.read_text())
    (tmp_path / "logo.png").write_bytes(b"\x89PNG")
    (tmp_path / "fleet.json").write_text('{"site-7": {"cam-3": {"fps": 25}}}')
    (tmp_path / "roll-out.json").write_text('{"then": [{"put": "model", "value": "v4"}]}')
    return tmp_path


def stopped_cluster(home: Path) -> Path:
    """Return the file of a cluster of which no node runs."""
    port = str(free_base_port(3))
    made = CliRunner().invoke(
        main, ["init", str(home / "stopped"), "--replicas", "3", "--base-port", port]
    )
    assert made.exit_code == 0, made.output
    return home / "stopped" / "cluster.toml"


@pytest.mark.parametrize("line", [*examples(main), *(line for _, line in EXAMPLES)])
def test_example_of_a_help_text_typed_as_it_stands_works(
    line: str, home: Path, task_cluster: Replicas
) -> None:
    words = shlex.split(line)
    if words[0] == "export" or words[1] in ELSEWHERE:
        return
    if words[1] == "init":
        (home / "cluster").unlink()
    config = task_cluster.config
    if words[1] == "member" and CHANGES_MEMBERS & set(words[2:3]):
        config = stopped_cluster(home)
        line += " --timeout 0.3"
    if set(NEEDS_BACKUP) & set(words):
        made = task_cluster("backup", "monday.backup")
        assert made.exit_code == 0, made.output
    # Ports are this machine's choice; the examples name the usual ones.
    for node in task_cluster.nodes:
        line = line.replace(f"tcp://127.0.0.1:700{node}", task_cluster.url(node))
    result = typed(line, config)
    # A condition may be false, a key absent, a revision not there: but it was understood and done.
    understood = (0, 1) if config == task_cluster.config else (4,)
    assert result.exit_code in understood, f"{line}\n{result.output}"
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
