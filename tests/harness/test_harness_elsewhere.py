"""Other processes: what differs there is found and named, and what cannot run there says so."""

from __future__ import annotations

import time

import pytest

from jepsen_like.harness import promises
from jepsen_like.harness.elsewhere import (
    Address,
    CannotLoadElsewhere,
    address_of,
    blame,
    check_everywhere,
)
from jepsen_like.harness.promises import Broken
from paxos.testing.state_machine_suite import Factory
from tests.harness import planted

NAMES = [b"ada", b"bob", b"cy", b"dan", b"eve", b"fay"]


def test_sound_machine_is_the_same_in_every_process() -> None:
    check_everywhere(address_of(planted.Counter), [b"add", b"fail", b"add"], [b"total"])


@pytest.mark.parametrize(
    ("machine", "commands", "differs"),
    [
        (planted.DrawsLots, [b"add"], "only the process"),
        (planted.Names, NAMES, "PYTHONHASHSEED"),
        (planted.AsksTheClock, [b"add"], "the clock"),
        (planted.AsksTheTimeZone, [], "the time zone"),
    ],
)
def test_machine_that_differs_elsewhere_is_found_and_the_cause_is_named(
    machine: Factory, commands: list[bytes], differs: str
) -> None:
    address = address_of(machine)
    with pytest.raises(Broken) as broken:
        check_everywhere(address, commands, [b"total"])
    assert broken.value.promise == promises.SAME_EVERYWHERE
    assert blame(address, commands, [b"total"]).startswith(differs)


def test_address_of_a_local_class_says_where_to_define_it() -> None:
    class Local(planted.Counter):
        pass

    with pytest.raises(CannotLoadElsewhere, match="define it at the top of a module"):
        address_of(Local)


def test_address_of_a_file_that_is_gone_says_that_it_cannot_run() -> None:
    address = Address("nowhere", "/nowhere/at/all.py", "Counter")
    with pytest.raises(CannotLoadElsewhere, match="another process cannot run the state machine"):
        check_everywhere(address, [b"add"])


def test_machine_that_ends_its_process_is_told_and_the_next_one_runs_all_the_same() -> None:
    with pytest.raises(CannotLoadElsewhere, match="ended with status 7"):
        check_everywhere(address_of(planted.Exits), [b"add"])
    check_everywhere(address_of(planted.Counter), [b"add"])


class TalksOnStandardOutput(planted.Counter):
    def query(self, query: bytes) -> bytes:
        print("what is printed there is no answer")  # noqa: T201 - that is the point
        return super().query(query)


def test_machine_that_prints_does_not_disturb_the_answers() -> None:
    check_everywhere(address_of(TalksOnStandardOutput), [b"add"], [b"total"])


class AsksEveryClock(planted.Counter):
    """Answers with the year, or the day, that one of Python's clocks shows: the query says which.

    Not with the hour: the other process is in another time zone as well.
    """

    def query(self, query: bytes) -> bytes:
        name = query.decode()
        if name in ("localtime", "gmtime"):
            return b"%d" % getattr(time, name)().tm_year
        if name in ("ctime", "asctime"):
            return str(getattr(time, name)()).split()[-1].encode()
        if name == "strftime":
            return time.strftime("%Y").encode()
        return b"%d" % (getattr(time, name)() // (10**14 if name.endswith("_ns") else 10**5))


@pytest.mark.parametrize(
    "clock",
    [
        *("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"),
        *("localtime", "gmtime", "ctime", "strftime", "asctime"),
    ],
)
def test_clock_of_every_kind_is_moved_elsewhere(clock: str) -> None:
    with pytest.raises(Broken, match="in one process and"):
        check_everywhere(address_of(AsksEveryClock), [], [clock.encode()])
