"""What the command line makes of its arguments, before any replica is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from paxos import cluster
from paxos.cli import main
from paxos.cli.options import ENVIRONMENT
from paxos.cli.program import COMMANDS, LazyGroup
from paxos.cli.teaching import TaughtCommand, TaughtGroup


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, arguments, env={ENVIRONMENT: ""} | (env or {}))


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        return [path]
    context = click.Context(command)
    found = []
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        found += leaves(below, (*path, name))
    return found


def find(path: tuple[str, ...]) -> click.Command:
    command: click.Command = main
    for name in path:
        assert isinstance(command, click.Group)
        below = command.get_command(click.Context(command), name)
        assert below is not None
        command = below
    return command


ALL_COMMANDS = leaves(main)


def test_help_of_the_program_imports_no_command() -> None:
    program = (
        "import sys\n"
        "from paxos.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "heavy = {'trio', 'msgpack', 'structlog', 'rich.console', 'paxos.cluster', 'paxos.core'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "LOADED []" in done.stdout


def test_table_of_commands_agrees_with_the_commands_themselves() -> None:
    assert isinstance(main, LazyGroup)
    for name, (_, line) in COMMANDS.items():
        assert (find((name,)).help or "").partition("\n")[0] == line


@pytest.mark.parametrize("path", ALL_COMMANDS, ids=" ".join)
def test_help_of_each_command_teaches_with_an_example(path: tuple[str, ...]) -> None:
    command = find(path)
    assert isinstance(command, TaughtCommand | TaughtGroup)
    assert command.examples
    shown = run(*path, "--help")
    assert shown.exit_code == 0
    assert len(command.help or "") > 40
    for purpose, line in command.examples:
        assert purpose in shown.output
        assert line in shown.output
        assert " ".join(("paxos", *path)) in line


@pytest.mark.parametrize("path", ALL_COMMANDS, ids=" ".join)
def test_options_of_each_command_all_have_a_help_text(path: tuple[str, ...]) -> None:
    for parameter in find(path).params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_unknown_command_exits_2_and_names_those_there_are() -> None:
    result = run("stauts")
    assert result.exit_code == 2
    assert "no command 'stauts'" in result.output
    assert "status" in result.output


def test_command_that_is_interrupted_while_it_is_loaded_exits_130(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("paxos.cli.program.importlib.import_module", interrupted)
    assert run("member", "list").exit_code == 130


def test_unknown_option_exits_2() -> None:
    assert run("status", "--jsno").exit_code == 2


def test_client_command_without_any_cluster_exits_2_and_says_the_three_ways() -> None:
    result = run("status")
    assert result.exit_code == 2
    for way in ("--config", "--endpoints", ENVIRONMENT):
        assert way in result.output


def test_client_command_with_config_and_endpoints_exits_2() -> None:
    result = run("status", "--config", "x.toml", "--endpoints", "tcp://127.0.0.1:1")
    assert result.exit_code == 2
    assert "not both" in result.output


@pytest.mark.parametrize(
    ("endpoints", "culprit"),
    [
        ("http://127.0.0.1:7001", "http://127.0.0.1:7001"),
        ("tcp://127.0.0.1", "needs a host and a port"),
        ("tcp://127.0.0.1:70010", "tcp://127.0.0.1:70010"),
        ("tcp://:7001", "needs a host and a port"),
        ("tcp://127.0.0.1:7001,nonsense", "nonsense"),
        (" , ", "names no URL"),
    ],
)
def test_endpoints_that_make_no_sense_exit_2_and_are_named(endpoints: str, culprit: str) -> None:
    result = run("status", "--endpoints", endpoints)
    assert result.exit_code == 2
    assert culprit in result.output


@pytest.mark.parametrize("timeout", ["0", "-1", "soon"])
def test_timeout_that_makes_no_sense_exits_2(timeout: str) -> None:
    result = run("status", "--endpoints", "tcp://127.0.0.1:7001", "--timeout", timeout)
    assert result.exit_code == 2
    assert "--timeout" in result.output


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ("remove 4 4", "node 4 is named twice"),
        ("replace 4,4 a b --url tcp://h:1 --url tcp://h:2", "node 4 is named twice"),
        ("add a ./a --url tcp://h:1 --url tcp://h:2", "the same DIR"),
        ("add a b --url tcp://h:1 --url tcp://h:1", "the same --url"),
        ("update 1 --url bogus", "'bogus' must begin with one of"),
    ],
)
def test_member_change_that_makes_no_sense_exits_2_and_is_not_begun(
    arguments: str, culprit: str, tmp_path: Path
) -> None:
    file = cluster.found(
        tmp_path / "c", replicas=1, machines={"config": "statemachines.edge_config:EdgeConfig"}
    )
    done = run("member", *arguments.split(), env={ENVIRONMENT: str(file.path)})
    assert done.exit_code == 2, done.output
    assert culprit in done.stderr
    assert not (tmp_path / "a").exists()


def test_config_file_that_is_missing_exits_2_and_names_it(tmp_path: Path) -> None:
    result = run("status", "--config", str(tmp_path / "none.toml"))
    assert result.exit_code == 2
    assert "none.toml" in result.output
    assert "paxos init" in result.output


def test_environment_names_the_config_file_that_is_used(tmp_path: Path) -> None:
    result = run("status", env={ENVIRONMENT: str(tmp_path / "named.toml")})
    assert result.exit_code == 2
    assert "named.toml" in result.output


def test_endpoints_win_over_the_environment(tmp_path: Path) -> None:
    result = run(
        *("status", "--endpoints", "tcp://127.0.0.1:1", "--timeout", "0.2"),
        env={ENVIRONMENT: str(tmp_path / "named.toml")},
    )
    assert result.exit_code == 4
    assert "tcp://127.0.0.1:1" in result.output


def found(directory: Path) -> Path:
    return cluster.found(
        directory, replicas=3, machines={"config": "statemachines.edge_config:EdgeConfig"}
    ).path


@pytest.mark.parametrize(
    ("old", "new", "culprit"),
    [
        ("alpha =", "alhpa =", "did you mean 'alpha'?"),
        ("id = 3", "id = 2", "have the same 'id'"),
        ("id = 3", "id = 4", "node 3 is missing"),
        ("tcp://127.0.0.1:7002", "tcp://127.0.0.1", "'url'"),
        ("[machines]", "[machines", "not valid TOML"),
    ],
)
def test_config_file_with_a_mistake_exits_2_and_says_which(
    tmp_path: Path, old: str, new: str, culprit: str
) -> None:
    path = found(tmp_path / "cluster")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    for command in (["status"], ["serve", "--node", "1"]):
        result = run(*command, "--config", str(path))
        assert result.exit_code == 2, result.output
        assert culprit in result.output
        assert path.name in result.output
