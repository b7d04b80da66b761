"""The project's source files as syntax trees, for the rules in this directory.

Every rule is a function from a ``Source`` to offences, one text each, so that a test can run it
over the tree (and expect none) and over a bad snippet (and expect one).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("paxos", "transports", "statemachines", "jepsen_like")
EVERYTHING = (*PRODUCT, "tests", "benchmarks", "examples")


@dataclass(frozen=True)
class Source:
    """One file. ``module`` is its dotted name, ``place`` what an offence calls it."""

    module: str
    place: str
    tree: ast.Module

    def offence(self, node: ast.AST, text: str) -> str:
        """Return ``text`` with the file and the line in front."""
        return f"{self.place}:{getattr(node, 'lineno', 1)}: {text}"


def snippet(text: str, module: str = "paxos.core.snippet") -> Source:
    """Return a source made of ``text``, for a rule's own test."""
    return Source(module, "snippet", ast.parse(text))


def load(*packages: str) -> list[Source]:
    """Return every Python file below the named directories, in a stable order."""
    return [_parse(path) for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def load_below(module: str) -> list[Source]:
    """Return the sources of one package or module of the product."""
    prefix = module + "."
    sources = load(module.partition(".")[0])
    return [each for each in sources if each.module == module or each.module.startswith(prefix)]


@cache
def _parse(path: Path) -> Source:
    place = path.relative_to(ROOT)
    parts = place.with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Source(module, str(place), ast.parse(path.read_text(encoding="utf-8"), str(place)))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function and method, nested ones too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def dotted(node: ast.expr) -> str:
    """Return ``a.b.c`` for a chain of names, the empty text for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        value = dotted(node.value)
        return f"{value}.{node.attr}" if value else ""
    return ""


def is_type_checking(node: ast.AST) -> bool:
    """Whether ``node`` is an ``if TYPE_CHECKING:``, whose body never runs."""
    return isinstance(node, ast.If) and dotted(node.test) in {
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    }
