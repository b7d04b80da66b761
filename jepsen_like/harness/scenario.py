"""What happens in one example: a cluster, its clients, and steps in order, as plain data.

A scenario is the whole of what an example depends on: two runs of one are equal, byte for byte. So
it can be drawn, shrunk, printed, saved and run again. It knows no cluster and no test framework.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from paxos.core.errors import PaxosError

LEADER = 0
"""As a node: whoever leads at that moment, or the first node if nobody does."""

NODES_MAX = 7
CLIENTS_MAX = 9
WAIT_MS_MAX = 60_000
PREFIX = "p1-"
"""What a token begins with; the number is that of the format."""
TOKEN_BYTES_MAX = 1 << 20

Patience = Literal["waits", "goes on", "gives up"]
"""What a client does after asking: waits for the answer; lets the next step come at once; or does
that and has the request end, answered or not, after a moment."""

LevelName = Literal["linearizable", "session", "local"]
Shape = Literal["isolate", "mute", "deaf", "halves", "bridge", "ring"]
"""Forms of a partition around a node: it alone against the rest; nothing it sends arrives; nothing
arrives at it; the nodes up to it against those above; two halves that only it reaches; each node
reaches its two neighbours only."""
Mode = Literal["drop", "hold", "break"]
"""What a cut link does: lose messages, keep them until it is mended, or close connections."""
Weather = Literal["loss", "duplication", "delay", "reordering"]
"""What happens to some of all messages, all the time."""
WEATHERS: tuple[Weather, ...] = get_args(Weather)


class BadScenario(PaxosError):
    """A saved scenario cannot be read; the text says where it is wrong."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A client has a command applied."""

    client: int
    command: bytes
    patience: Patience = "waits"


@dataclass(frozen=True, slots=True)
class Read:
    """A client asks a question."""

    client: int
    query: bytes
    level: LevelName = "linearizable"
    patience: Patience = "waits"


@dataclass(frozen=True, slots=True)
class Watch:
    """A client waits, beside whatever else it does, until there is something to tell."""

    client: int
    query: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A node goes on with a fresh state machine, restored from the snapshot of its old one."""

    node: int


@dataclass(frozen=True, slots=True)
class Restart:
    """A node is killed, if it is up, and starts again."""

    node: int


@dataclass(frozen=True, slots=True)
class Kill:
    """A node is killed, and stays down."""

    node: int


@dataclass(frozen=True, slots=True)
class PowerCut:
    """All nodes lose power at once, with all writes not yet synced, and start again."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Links between nodes are cut, until they are mended."""

    node: int
    shape: Shape = "isolate"
    mode: Mode = "drop"


@dataclass(frozen=True, slots=True)
class Mend:
    """All cut links carry again."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A node stops for a while without noticing."""

    node: int


@dataclass(frozen=True, slots=True)
class Resume:
    """A paused node goes on."""

    node: int


@dataclass(frozen=True, slots=True)
class ClockJump:
    """A node's wall clock is set."""

    node: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is done for a while."""

    milliseconds: int


Step = (
    Ask
    | Read
    | Watch
    | Snapshot
    | Restart
    | Kill
    | PowerCut
    | Cut
    | Mend
    | Pause
    | Resume
    | ClockJump
    | Wait
)

WORDS: Mapping[str, type[Step]] = {
    "ask": Ask,
    "read": Read,
    "watch": Watch,
    "snapshot": Snapshot,
    "restart": Restart,
    "kill": Kill,
    "power cut": PowerCut,
    "cut": Cut,
    "mend": Mend,
    "pause": Pause,
    "resume": Resume,
    "clock jump": ClockJump,
    "wait": Wait,
}
_NAMES = {kind: word for word, kind in WORDS.items()}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "patience": get_args(Patience),
    "level": get_args(LevelName),
    "shape": get_args(Shape),
    "mode": get_args(Mode),
}


def word_of(step: Step) -> str:
    """Return the word that stands for a step's kind, here and in saved scenarios."""
    return _NAMES[type(step)]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One example.

    Attributes:
        nodes: How many voters; they are numbered from 1.
        clients: How many clients; they are numbered from 1.
        steps: What happens, in order.
        weather: What befalls messages all the time.
        seed: Decides latencies, time-outs and which messages the weather strikes.
    """

    nodes: int
    clients: int
    steps: tuple[Step, ...]
    weather: tuple[Weather, ...] = ()
    seed: int = 0

    @property
    def size(self) -> tuple[int, int, int, int, int]:
        """What shrinking makes smaller, in order of worth."""
        length = sum(len(str(step)) for step in self.steps)
        return (len(self.steps), self.nodes, self.clients, len(self.weather), length)

    def document(self) -> dict[str, Any]:
        """Return it as JSON's types. Bytes become text, a character for each byte."""
        return {
            "format": 1,
            "nodes": self.nodes,
            "clients": self.clients,
            "weather": list(self.weather),
            "seed": self.seed,
            "steps": [_as_list(step) for step in self.steps],
        }

    def token(self) -> str:
        """Return it as one short word that is safe on a command line."""
        packed = [self.nodes, self.clients, self.weather, self.seed, *map(_as_list, self.steps)]
        text = json.dumps(packed, separators=(",", ":"))
        data = zlib.compress(text.encode(), 9, -zlib.MAX_WBITS)
        return PREFIX + base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _as_list(step: Step) -> list[Any]:
    values = (getattr(step, field.name) for field in fields(step))
    plain = [value.decode("latin-1") if isinstance(value, bytes) else value for value in values]
    return [word_of(step), *plain]


# --- reading -------------------------------------------------------------------------------------


def read_scenario(text: str) -> Scenario:
    """Read a token, a scenario's document, or the name of a file that holds one of them.

    Raises:
        BadScenario: It is none of these.
    """
    text = text.strip()
    if text.startswith(PREFIX):
        return _from_token(text)
    if text.startswith("{"):
        return _from_document(_parse(text))
    try:
        content = Path(text).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadScenario(f"neither a token ({PREFIX}...) nor a file: {text!r}: {error}") from error
    if not content.startswith((PREFIX, "{")):
        raise BadScenario(f"the file {text!r} holds neither a token ({PREFIX}...) nor a scenario")
    return read_scenario(content)


def _from_token(token: str) -> Scenario:
    body = token.removeprefix(PREFIX)
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, TOKEN_BYTES_MAX)
        packed = json.loads(unpacked)
    except (binascii.Error, zlib.error, ValueError, RecursionError) as error:
        raise BadScenario(f"the token is cut short or mistyped: {error}") from error
    if not isinstance(packed, list) or len(packed) < 4:
        raise BadScenario("the token is cut short")
    nodes, clients, weather, seed, *steps = packed
    return _check(nodes, clients, weather, seed, steps)


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadScenario(f"the scenario is no JSON: {error}") from error


def _from_document(document: Any) -> Scenario:
    known = {"format", "nodes", "clients", "weather", "seed", "steps"}
    if not isinstance(document, dict) or set(document) != known or document["format"] != 1:
        raise BadScenario(f"a scenario has exactly the fields {sorted(known)}, and format 1")
    return _check(
        document["nodes"],
        document["clients"],
        document["weather"],
        document["seed"],
        document["steps"],
    )


def _check(nodes: Any, clients: Any, weather: Any, seed: Any, steps: Any) -> Scenario:
    _require_number("nodes", nodes, 1, NODES_MAX)
    _require_number("clients", clients, 1, CLIENTS_MAX)
    _require_number("seed", seed, 0, 2**63)
    if not isinstance(weather, list) or not all(each in WEATHERS for each in weather):
        raise BadScenario(f"weather is a list of {', '.join(WEATHERS)}, not {weather!r}")
    if not isinstance(steps, list):
        raise BadScenario(f"steps are a list, not {steps!r}")
    read = tuple(_read_step(step, nodes, clients) for step in steps)
    return Scenario(nodes, clients, read, tuple(weather), seed)


def _read_step(packed: Any, nodes: int, clients: int) -> Step:
    if not isinstance(packed, list) or not packed or packed[0] not in WORDS:
        raise BadScenario(f"no such step: {packed!r}")
    kind = WORDS[packed[0]]
    names = [field.name for field in fields(kind)]
    if len(packed) != len(names) + 1:
        raise BadScenario(f"{packed[0]!r} has {', '.join(names) or 'no fields'}, not {packed!r}")
    values: dict[str, Any] = {}
    for name, value in zip(names, packed[1:], strict=True):
        values[name] = _read_field(name, value, nodes, clients)
    return kind(**values)


def _read_field(name: str, value: Any, nodes: int, clients: int) -> Any:
    if name in ("command", "query"):
        try:
            return value.encode("latin-1")
        except (AttributeError, UnicodeEncodeError) as error:
            raise BadScenario(f"{name} is text of one character per byte: {value!r}") from error
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise BadScenario(f"{name} is one of {', '.join(_CHOICES[name])}, not {value!r}")
        return value
    bounds = {
        "client": (1, clients),
        "node": (LEADER, nodes),
        "milliseconds": (0, WAIT_MS_MAX),
        "seconds": (-(10**9), 10**9),
    }
    _require_number(name, value, *bounds[name])
    return value


def _require_number(name: str, value: Any, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise BadScenario(f"{name} is a number from {least} to {most}, not {value!r}")
