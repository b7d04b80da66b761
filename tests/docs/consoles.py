"""Runs the commands of one page in a directory of their own, as a reader would type them.

One page is one session: the working directory, exported variables and the last exit status carry
over from command to command. A command must exit with 0, unless ``echo $?`` follows and shows
otherwise. What ends in ``&`` is started and left running till the page ends: ``paxos serve`` until
it is ready, others at once, and ``kill %2`` means the second such one. Ports 7001 to 7009 are moved
to free ones on the way in and back on the way out, so that pages run beside one another.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tests.docs.pages import ROOT, Command, shows

COMMAND_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 10.0
SHOWN_PORT = 7001
PORTS = 9

_SCRIPT = """\
cd "$(cat '{state}/directory')"
. '{state}/variables'
(exit "$(cat '{state}/status')")
{command}
status=$?
declare -px > '{state}/variables'
pwd > '{state}/directory'
echo $status > '{state}/status'
exit $status
"""
READY = '{"event":"ready"...'


class ShownOtherwise(AssertionError):
    """A command did not do what the page says; the text has the line and both outputs."""


class Console:
    """One page's session. Use it as ``with console(directory) as it:``."""

    def __init__(self, directory: Path, state: Path) -> None:
        self._directory = directory
        self._state = state
        self._base_port = free_ports(PORTS)
        self._background: list[subprocess.Popen[str]] = []
        # Background commands whose output is still to be compared.
        self._owed: list[tuple[Command, subprocess.Popen[str]]] = []
        self._environment = {
            "COLUMNS": "100",
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._note("directory", str(directory))
        self._note("variables", "")
        self._note("status", "0")

    def run(self, commands: list[Command]) -> None:
        """Run commands in order.

        Raises:
            ShownOtherwise: One failed, or its output is not the one that is shown.
        """
        for command, following in zip(commands, [*commands[1:], None], strict=True):
            if command.text.startswith("make "):
                check_goals(command)
            elif command.in_background:
                self._start(command)
            else:
                may_fail = following is not None and following.text.startswith("echo $?")
                self._run(command, may_fail=may_fail)

    def run_program(self, text: str, line: int) -> None:
        """Run a Python program in the session's directory.

        Raises:
            ShownOtherwise: It failed.
        """
        program = self._state / f"line_{line}.py"
        program.write_text(self._with_free_ports(text), encoding="utf-8")
        self._run(Command(line, f"python {program}", ()), may_fail=False)

    def close(self) -> None:
        """Compare what is left of background output, and end every process.

        Raises:
            ShownOtherwise: A background command did not show what it should.
        """
        try:
            for command, process in self._owed:
                self._expect_lines(command, process)
        finally:
            for process in reversed(self._background):
                _end(process)

    def _run(self, command: Command, *, may_fail: bool) -> None:
        process = self._bash(command.text, stderr=subprocess.STDOUT)
        with _killed_after(process, COMMAND_TIMEOUT_S):
            printed, _ = process.communicate()
        actual = self._with_shown_ports(printed)
        if process.returncode != 0 and not may_fail:
            raise ShownOtherwise(
                f"line {command.line}: exit status {process.returncode}: {command.text}\n{actual}"
            )
        if command.output and not shows(command.output, actual):
            raise ShownOtherwise(_difference(command, actual))

    def _start(self, command: Command) -> None:
        text = command.text.removesuffix("&").rstrip()
        with (self._state / "background.log").open("ab") as log:
            process = self._bash(f"exec {text}", stderr=log)
        self._background.append(process)
        if text.startswith("paxos serve"):
            ready = command.output or (READY,)
            self._expect_lines(Command(command.line, command.text, ready), process)
        elif command.output:
            self._owed.append((command, process))

    def _expect_lines(self, command: Command, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with _killed_after(process, COMMAND_TIMEOUT_S):
            printed = "".join(process.stdout.readline() for _ in command.output)
        actual = self._with_shown_ports(printed)
        if not shows(command.output, actual):
            log = (self._state / "background.log").read_text(encoding="utf-8", errors="replace")
            raise ShownOtherwise(_difference(command, f"{actual}--- log\n{log}"))

    def _bash(self, command: str, stderr: int | IO[bytes]) -> subprocess.Popen[str]:
        text = self._with_free_ports(self._with_jobs(command))
        return subprocess.Popen(
            ["bash", "-c", _SCRIPT.format(state=self._state, command=text)],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            process_group=0,
        )

    def _with_jobs(self, command: str) -> str:
        if not command.startswith("kill "):
            return command
        return re.sub(r"%(\d)", lambda job: str(self._background[int(job[1]) - 1].pid), command)

    def _with_free_ports(self, text: str) -> str:
        moved = re.sub(
            r"\b700([1-9])\b", lambda port: str(self._base_port + int(port[1]) - 1), text
        )
        return re.sub(
            r"\bpaxos init\b(?!.*--base-port)", f"paxos init --base-port {self._base_port}", moved
        )

    def _with_shown_ports(self, text: str) -> str:
        for offset in range(PORTS):
            text = text.replace(str(self._base_port + offset), str(SHOWN_PORT + offset))
        return text.replace(str(self._directory), "~")

    def _note(self, name: str, text: str) -> None:
        (self._state / name).write_text(text, encoding="utf-8")


@contextmanager
def console(directory: Path) -> Iterator[Console]:
    """Open a session in ``directory``, where the examples are at hand as in the tree."""
    home, state = directory / "home", directory / "state"
    home.mkdir()
    state.mkdir()
    (home / "examples").symlink_to(ROOT / "examples")
    session = Console(home, state)
    try:
        yield session
    finally:
        session.close()


def _difference(command: Command, printed: str) -> str:
    shown = "\n".join(command.output)
    return f"line {command.line}: {command.text}\n--- shown\n{shown}\n--- printed\n{printed}"


def check_goals(command: Command) -> None:
    """Check that the Makefile has each goal of a ``make`` line, which is not run: it runs us.

    Raises:
        ShownOtherwise: There is no such goal.
    """
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    goals = [word for word in command.text.split("#")[0].split()[1:] if "=" not in word]
    for goal in goals:
        if not re.search(rf"^{re.escape(goal)}:", makefile, re.MULTILINE):
            raise ShownOtherwise(f"line {command.line}: the Makefile has no goal {goal}")


def free_ports(count: int) -> int:
    """Return the first of ``count`` ports in a row that nobody listens on.

    Raises:
        OSError: There is no such row; something is wrong with this machine.
    """
    start = 20_000 + os.getpid() % 1000 * 10
    for base in range(start, start + 5000, count):
        if all(_is_free(base + offset) for offset in range(count)):
            return base
    raise OSError(f"no {count} free ports in a row from {start} on")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def _killed_after(process: subprocess.Popen[str], seconds: float) -> Iterator[None]:
    """Kill the process and its children if the block takes longer: its pipes then close."""

    def kill() -> None:
        # Gone by itself a moment ago is as good.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(seconds, kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
