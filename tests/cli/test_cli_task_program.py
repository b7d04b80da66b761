"""Programs run for tasks: what their end means, and that nothing of them is left behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from paxos.cli import task_program
from paxos.cli.task_program import ProgramFailed, ProgramLimits, run_program
from tests.cli.replicas import processes_that_name, wait_until

pytestmark = pytest.mark.processes


def run(command: Sequence[str], payload: bytes = b"", limits: ProgramLimits | None = None) -> bytes:
    async def act() -> bytes:
        return await run_program(command, payload, limits or ProgramLimits(), dict(os.environ))

    return trio.run(act)


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def failure(
    command: Sequence[str], payload: bytes = b"", limits: ProgramLimits | None = None
) -> ProgramFailed:
    with pytest.raises(ProgramFailed) as failed:
        run(command, payload, limits)
    return failed.value


def test_program_that_ends_well_gives_its_output() -> None:
    assert run(["cat"], b"\xff\x00 any bytes") == b"\xff\x00 any bytes"
    assert run(["true"]) == b""


def test_program_that_reads_nothing_ends_well_all_the_same() -> None:
    assert run(["echo", "done"], b"x" * 10_000_000) == b"done\n"


def test_program_with_a_payload_beyond_a_pipe_gets_all_of_it() -> None:
    assert run(["wc", "-c"], b"x" * 3_000_000).strip() == b"3000000"


def test_program_with_its_own_environment_sees_nothing_else() -> None:
    async def act() -> bytes:
        return await run_program(["/usr/bin/env"], b"", ProgramLimits(), {"PAXOS_TASK_ID": "t-1"})

    assert trio.run(act) == b"PAXOS_TASK_ID=t-1\n"


@pytest.mark.parametrize(("status", "again"), [(1, True), (64, True), (65, False), (255, True)])
def test_program_that_exits_otherwise_fails_and_says_whether_to_try_again(
    status: int, again: bool
) -> None:
    program = f"import sys; print('first', file=sys.stderr); sys.exit({status})"
    failed = failure(python(program))
    assert str(failed) == f"exit status {status}: first"
    assert failed.again is again


def test_program_that_is_killed_fails_with_the_name_of_the_signal() -> None:
    failed = failure(python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"))
    assert str(failed) == "the program was killed by SIGSEGV"
    assert failed.again


def test_program_that_fails_is_quoted_by_its_last_line_and_no_more() -> None:
    text = (
        "import sys; sys.stderr.write('x' * 100_000 + '\\nbad \\x1b[31m input\\n\\n'); sys.exit(2)"
    )
    assert str(failure(python(text))) == "exit status 2: bad  [31m input"
    endless = "import sys; sys.stderr.write('x' * 100_000); sys.exit(2)"
    assert len(str(failure(python(endless)))) < 4200


def test_program_that_is_not_there_fails_and_is_named() -> None:
    failed = failure(["/no/such/program"])
    assert "/no/such/program cannot be started: No such file" in str(failed)
    assert failed.again


def test_program_that_takes_too_long_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_program, "GRACE_S", 0.2)
    mark = str(tmp_path)
    script = f"trap '' TERM; sh -c 'while :; do sleep 1; done; : {mark}' & wait; wait # {mark}"
    failed = failure(["sh", "-c", script], limits=ProgramLimits(seconds=0.3))
    assert str(failed) == "the program was ended after 0.3 s"
    assert failed.again
    wait_until(lambda: processes_that_name(mark) == [], "its processes are gone")


def test_program_told_to_stop_may_end_in_order(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    script = f"trap 'echo tidy > {kept}; exit 0' TERM; sleep 60 & wait"
    failed = failure(["sh", "-c", script], limits=ProgramLimits(seconds=0.5))
    assert "ended after 0.5 s" in str(failed)
    assert kept.read_text() == "tidy\n"


def test_program_that_says_too_much_is_ended_for_good() -> None:
    failed = failure(["yes"], limits=ProgramLimits(output_bytes_max=1000))
    assert str(failed) == "the program wrote more than 1000 bytes to standard output"
    assert not failed.again
    exactly = ["sh", "-c", "head -c $0 /dev/zero; sleep 0.2", "1000"]
    assert run(exactly, limits=ProgramLimits(output_bytes_max=1000)) == bytes(1000)
    assert not failure([*exactly[:3], "1001"], b"", ProgramLimits(9.0, 1000)).again


def test_program_whose_child_stays_behind_ends_at_once_with_its_own_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The child holds the pipes open: who waited for their end would wait so long.
    monkeypatch.setattr(task_program, "DRAIN_S", 600.0)
    mark = str(tmp_path)
    script = f"sh -c 'while :; do sleep 1; done; : {mark}' & echo done"
    assert run(["sh", "-c", script], limits=ProgramLimits(seconds=590.0)) == b"done\n"
    wait_until(lambda: processes_that_name(mark) == [], "its child is gone")


def test_program_that_is_no_longer_wanted_is_ended_at_once(tmp_path: Path) -> None:
    mark = str(tmp_path)

    async def act() -> None:
        async with trio.open_nursery() as nursery:
            command = ["sh", "-c", f"echo $$ > {mark}/pid; sleep 60; : {mark}"]
            nursery.start_soon(run_program, command, b"", ProgramLimits(), dict(os.environ))
            while not (tmp_path / "pid").exists():
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

    trio.run(act)
    assert processes_that_name(mark) == []
