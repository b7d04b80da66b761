"""Who may import whom (a port lives with its consumer, adapters point inward).

A contract stands for a package or module; the longest one that matches a module holds for it. Our
own modules and third parties are allowed by name, so that a new dependency is a decision made
here. The core's share of the standard library is allowed by name too; elsewhere the standard
library is free but for what a contract forbids.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.architecture.sources import PRODUCT, Source, is_type_checking, load, snippet

CORE_STANDARD = frozenset(
    {
        "__future__",
        "bisect",
        "collections",
        "dataclasses",
        "enum",
        "functools",
        "hashlib",
        "heapq",
        "itertools",
        "math",
        "operator",
        "struct",
        "typing",
        "zlib",
    }
)
REAL_WORLD = frozenset(
    {"asyncio", "datetime", "multiprocessing", "secrets", "socket", "ssl", "threading", "uuid"}
)


@dataclass(frozen=True)
class Contract:
    """What one package may import.

    Attributes:
        owner: The package or module it stands for.
        ours: Modules of this project, each with everything below it.
        third: Distributions' top-level modules.
        standard: The only modules of the standard library, or None for all of it.
        forbidden: Modules of the standard library that are refused nevertheless.
        typing_only: What may be imported under ``if TYPE_CHECKING:`` in addition.
        lazily: What may be imported inside a function in addition.
    """

    owner: str
    ours: tuple[str, ...] = ()
    third: tuple[str, ...] = ()
    standard: frozenset[str] | None = None
    forbidden: frozenset[str] = frozenset()
    typing_only: tuple[str, ...] = ()
    lazily: tuple[str, ...] = ()


SHELL = (
    "paxos.core",
    "paxos.codec",
    "paxos.snapshot_format",
    "paxos.transport",
    "paxos.doorbell",
    "paxos.storage",
)

CONTRACTS = (
    # The package itself is a door: it loads what one asks it for, and nothing before.
    Contract("paxos", ours=("paxos.core",), typing_only=("paxos",), lazily=("paxos",)),
    Contract("paxos.core", ours=("paxos.core",), standard=CORE_STANDARD, typing_only=("random",)),
    # It evens out how deep a command may recurse, and only the interpreter knows the depth.
    Contract("paxos.core.executor", ours=("paxos.core",), standard=CORE_STANDARD | {"sys"}),
    Contract(
        "paxos.codec",
        ours=("paxos.core", "paxos.configuration_codec"),
        third=("msgpack",),
        forbidden=REAL_WORLD,
    ),
    # One part of the codec's format, in a file of its own; only the codec calls it.
    Contract(
        "paxos.configuration_codec",
        ours=("paxos.core",),
        third=("msgpack",),
        forbidden=REAL_WORLD,
    ),
    # The codec's part of it is what configurations look like.
    Contract("paxos.snapshot_format", ours=("paxos.core", "paxos.codec"), forbidden=REAL_WORLD),
    Contract(
        "paxos.transport", ours=("paxos.core.errors",), typing_only=("trio", "paxos.doorbell")
    ),
    Contract(
        "paxos.doorbell",
        ours=("paxos.core.errors",),
        third=("trio",),
        typing_only=("paxos.transport",),
    ),
    Contract(
        "paxos.storage",
        ours=("paxos.core", "paxos.codec", "paxos.storage"),
        third=("msgpack",),
    ),
    Contract(
        "paxos.runtime", ours=(*SHELL, "paxos.runtime"), third=("trio", "structlog", "msgpack")
    ),
    Contract(
        "paxos.cluster",
        # The codec for the bound on a frame that it would refuse.
        ours=(
            "paxos.core",
            "paxos.codec",
            "paxos.runtime.options",
            "paxos.storage",
            "paxos.transport",
        ),
    ),
    Contract(
        "paxos.service",
        ours=(*SHELL, "paxos.runtime", "paxos.cluster", "transports", "statemachines"),
        third=("trio", "structlog"),
    ),
    Contract(
        "paxos.testing",
        ours=(*SHELL, "paxos.runtime", "paxos.cluster", "paxos.snapshot_format", "paxos.testing"),
        third=("trio",),
    ),
    # Operators' tasks, offline and on running clusters: they use what nodes and clients are made
    # of, and only commands use them.
    Contract(
        "paxos.operations",
        ours=(
            *SHELL,
            "paxos.runtime",
            "paxos.cluster",
            "paxos.service",
            "paxos.snapshot_format",
            "paxos.operations",
        ),
        third=("trio",),
    ),
    # Composition roots: they put everything together, and nothing imports them.
    Contract(
        "paxos.cli",
        ours=("paxos", "transports", "statemachines"),
        third=("click", "rich", "structlog", "trio"),
    ),
    Contract(
        "transports",
        ours=("paxos.transport", "paxos.doorbell", "paxos.core.errors", "transports"),
        third=("trio", "msgpack", "trio_websocket", "wsproto"),
    ),
    Contract(
        "statemachines",
        ours=("paxos.core.state_machine", "statemachines"),
        third=("msgpack",),
        forbidden=REAL_WORLD | {"os", "random", "time"},
    ),
    # The client's side of the task log runs beside a cluster, not in it: a worker has tasks of its
    # own, threads, and a disk that keeps its results while the cluster is out of reach.
    Contract(
        "statemachines.task_handlers", third=("trio",), forbidden=REAL_WORLD | {"os", "random"}
    ),
    Contract(
        "statemachines.task_outbox",
        ours=("paxos.core.errors", "paxos.storage.disk"),
        third=("msgpack",),
        forbidden=REAL_WORLD | {"os", "random", "time"},
    ),
    Contract(
        "statemachines.task_pipelines",
        ours=("paxos.core.errors", "statemachines"),
        third=("msgpack",),
        forbidden=REAL_WORLD | {"os", "random", "time"},
    ),
    *(
        Contract(
            owner,
            ours=(
                "paxos.core.errors",
                "paxos.core.state_machine",
                "paxos.runtime.errors",
                "statemachines",
            ),
            third=("trio",),
            forbidden=REAL_WORLD | {"os", "random", "time"},
        )
        for owner in (
            "statemachines.task_reports",
            "statemachines.task_worker",
            "statemachines.task_worker_events",
        )
    ),
    Contract(
        "jepsen_like",
        ours=("paxos", "transports", "statemachines", "jepsen_like"),
        third=("click", "rich", "structlog", "trio"),
    ),
    # What a simulation, a run of real processes and a user's test have in common.
    Contract("jepsen_like.history", ours=("paxos.core.errors",), forbidden=REAL_WORLD | {"time"}),
    Contract("jepsen_like.verdict", forbidden=REAL_WORLD | {"time"}),
    Contract(
        "jepsen_like.workload",
        ours=("paxos.core", "statemachines", "jepsen_like.history", "jepsen_like.workload"),
        forbidden=REAL_WORLD | {"time"},
    ),
    # What is asked of a live run and what it has to prove: pure, so that it is tested without one.
    Contract(
        "jepsen_like.live.generator",
        ours=("jepsen_like.history", "jepsen_like.workload"),
        forbidden=REAL_WORLD | {"time"},
    ),
    Contract(
        "jepsen_like.live.plan",
        ours=("jepsen_like.live.generator", "jepsen_like.workload"),
        forbidden=REAL_WORLD | {"time"},
    ),
    Contract(
        "jepsen_like.live.proof",
        ours=("jepsen_like.history", "jepsen_like.workload"),
        forbidden=REAL_WORLD | {"time"},
    ),
    # A judge may look at the clock for its budget, and at nothing else.
    Contract(
        "jepsen_like.checkers",
        ours=(
            "paxos.core.state_machine",
            "paxos.core.errors",
            "jepsen_like.history",
            "jepsen_like.verdict",
            "jepsen_like.checkers",
        ),
        forbidden=REAL_WORLD,
    ),
    Contract(
        "jepsen_like.report",
        ours=(
            "paxos.core.errors",
            "jepsen_like.history",
            "jepsen_like.verdict",
            "jepsen_like.report",
        ),
        third=("jinja2", "markupsafe", "matplotlib"),  # markupsafe: the texts of jinja2
        forbidden=REAL_WORLD - {"datetime"},
    ),
    Contract(
        "jepsen_like.harness",
        ours=("paxos", "statemachines", "jepsen_like"),
        third=("hypothesis", "pytest", "click"),
    ),
    # It looks for bugs in all of the product, and spoils frames as a stranger would write them.
    Contract(
        "jepsen_like.mutation",
        ours=("paxos", "transports", "statemachines", "jepsen_like"),
        third=("msgpack",),
    ),
    Contract(
        "jepsen_like.sim",
        ours=(
            "paxos.core",
            "paxos.codec",
            "paxos.snapshot_format",
            "paxos.storage",
            "statemachines",
            "jepsen_like.sim",
            "jepsen_like.workload",
            "jepsen_like.checkers",
            "jepsen_like.history",
            "jepsen_like.verdict",
            # The story of a violation, in the one form in which reports take it.
            "jepsen_like.report",
            "paxos.testing.disk",
            # It groups writes and looks at the room on disk: what a simulated log must go through.
            "paxos.runtime.writer",
        ),
        forbidden=(REAL_WORLD | {"time"}) - {"multiprocessing"},
    ),
)

NOT_IMPORTED = ("paxos.cli", "jepsen_like", "tests", "benchmarks", "examples")
"""What nothing outside itself imports: the composition roots and what is not in the wheel."""


@dataclass(frozen=True)
class Import:
    """One module that is imported, and whether that happens at start, lazily, or never."""

    name: str
    node: ast.stmt
    typing_only: bool
    lazy: bool


def imports(tree: ast.Module) -> Iterator[Import]:
    """Yield every import; ``from a import b`` as ``a.b``, since b may be a module."""
    return _imports(tree, typing_only=False, lazy=False)


def _imports(parent: ast.AST, *, typing_only: bool, lazy: bool) -> Iterator[Import]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node, typing_only, lazy)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield Import(f"{node.module}.{alias.name}", node, typing_only, lazy)
        else:
            in_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from _imports(
                node,
                typing_only=typing_only or is_type_checking(node),
                lazy=lazy or in_function,
            )


def contract_for(module: str) -> Contract:
    """Return the contract with the longest owner that ``module`` is, or is below."""
    matching = [each for each in CONTRACTS if _below(module, (each.owner,))]
    if not matching:
        raise LookupError(f"{module} has no import contract; add one to CONTRACTS")
    return max(matching, key=lambda each: len(each.owner))


def import_offences(source: Source) -> list[str]:
    """Return what ``source`` imports against its contract."""
    contract = contract_for(source.module)
    return [
        source.offence(each.node, f"{source.module} may not import {each.name}")
        for each in imports(source.tree)
        if not _allowed(each, source.module, contract)
    ]


def _allowed(each: Import, module: str, contract: Contract) -> bool:
    if each.typing_only and _below(each.name, contract.typing_only):
        return True
    if each.lazy and _below(each.name, contract.lazily):
        return True
    top = each.name.partition(".")[0]
    if top in PRODUCT:
        root = next((root for root in NOT_IMPORTED if _below(each.name, (root,))), None)
        return (root is None or _below(module, (root,))) and _below(each.name, contract.ours)
    if top in sys.stdlib_module_names:
        return top not in contract.forbidden and (
            contract.standard is None or top in contract.standard
        )
    return top in contract.third


def _below(module: str, owners: tuple[str, ...]) -> bool:
    return any(module == owner or module.startswith(owner + ".") for owner in owners)


@pytest.mark.parametrize("source", load(*PRODUCT), ids=lambda source: source.module)
def test_imports_of_every_module_keep_its_contract(source: Source) -> None:
    assert import_offences(source) == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("paxos.core.acceptor", "import time"),
        ("paxos.core.acceptor", "import random"),
        ("paxos.core.acceptor", "def f():\n    import random"),
        ("paxos.core.acceptor", "from paxos import codec"),
        ("paxos.core.acceptor", "from paxos.storage.base import Storage"),
        ("paxos.core.acceptor", "import msgpack"),
        ("paxos.core.acceptor", "if TYPE_CHECKING:\n    import trio"),
        ("paxos.codec", "import trio"),
        ("paxos.storage.segments", "import trio"),
        ("paxos.runtime.node", "from transports import tcp"),
        ("paxos.runtime.node", "from paxos.cli.main import main"),
        ("paxos.transport", "import trio"),
        ("paxos.service", "import jepsen_like.sim"),
        ("transports.tcp", "from paxos.core.messages import Prepare"),
        ("transports.tcp", "import structlog"),
        ("statemachines.edge_config", "from paxos.core.ballot import Ballot"),
        ("statemachines.edge_config", "import time"),
        ("jepsen_like.sim.world", "import trio"),
        ("jepsen_like.sim.world", "from paxos.runtime.node import Node"),
        ("jepsen_like.report", "import pytest"),
        ("paxos", "from paxos.runtime.client import open_client"),
    ],
)
def test_imports_against_a_contract_are_offences(module: str, text: str) -> None:
    assert len(import_offences(snippet(text, module))) == 1


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("paxos.core.elector", "if TYPE_CHECKING:\n    import random"),
        ("paxos.core.elector", "from paxos.core import ids"),
        ("paxos.transport", "if TYPE_CHECKING:\n    import trio"),
        ("paxos", "def __getattr__(name):\n    from paxos.runtime.client import open_client"),
        ("paxos.cli.serve", "from paxos.cli.exits import Exit"),
    ],
)
def test_imports_within_a_contract_are_no_offences(module: str, text: str) -> None:
    assert import_offences(snippet(text, module)) == []


def test_contracts_for_an_unknown_package_are_asked_for() -> None:
    with pytest.raises(LookupError, match="surprise"):
        contract_for("surprise.module")
