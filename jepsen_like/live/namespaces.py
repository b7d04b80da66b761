"""A network of namespaces: a link for each node, and faults by the kernel's packet filter.

The second way beside the proxy, for Linux and root: packets are really dropped, so that connections
feel what they feel in a real outage. Owns the namespaces, the bridge that joins them, and the rules
in them. All their names begin with the id of the run's process: what a run that died has left is
found by that, and swept away by the next one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jepsen_like.live.network import (
    FAIR,
    Cut,
    Link,
    NotHere,
    Party,
    Seen,
    Weather,
    node_party,
)
from paxos.core.ids import NodeId

PORT = 7001
"""The same for every node: each has an address of its own."""

CLIENTS = "c0"
"""Clients all come from the one address of this side of the bridge."""

TOOLS = ("ip", "iptables")
_NOTE = re.compile(r"/\* (\S+->\S+) (cut|loss) \*/")
_NAMES = re.compile(r"\bjl(\d+)(?:n\d+|b)\b")


def missing() -> str:
    """Return why this machine cannot do it, or an empty text if it can."""
    if not sys.platform.startswith("linux"):
        return "network namespaces are Linux's alone"
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in TOOLS:
        if shutil.which(tool) is None:
            return f"the program {tool!r} is not installed"
    return ""


def sweep() -> list[str]:
    """Remove what runs have left that live no more; return the names of it."""
    names = _run("ip", "netns", "list") + _run("ip", "-brief", "link", "show")
    left: dict[str, int] = {match[0]: int(match[1]) for match in _NAMES.finditer(names)}
    gone = [name for name, run in left.items() if not Path(f"/proc/{run}").exists()]
    for name in gone:
        for command in _removal(name):
            # The end of a namespace takes its link along, and may be quicker than we are.
            subprocess.run(command, check=False, capture_output=True)
    return gone


def _removal(name: str) -> list[list[str]]:
    return [["ip", "netns", "delete", name], ["ip", "link", "delete", name]]


def _run(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NotHere(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class Namespaces:
    """A network in which each node has a namespace. Made by ``open_namespaces``.

    Args:
        nodes: Their ids.
        run: A number that no other living run has.
    """

    def __init__(self, nodes: Sequence[NodeId], run: int) -> None:
        self._nodes = {node_party(node): node for node in nodes}
        self._run = run
        self._subnet = f"10.{200 + run % 50}.{run // 50 % 256}"
        self._cuts: Counter[tuple[Link, Cut]] = Counter()
        self._weather: dict[Link, Weather] = {}
        self._packets: Counter[tuple[str, str]] = Counter()  # by link and kind, as collected

    # --- life -------------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """Everything that was made, by name."""
        return [*(self._name(node) for node in self._nodes.values()), f"jl{self._run}b"]

    def removal(self) -> list[list[str]]:
        """Return the commands that remove it all; harmless if it is gone."""
        return [command for name in self.names for command in _removal(name)]

    def make(self) -> None:
        """Make it all.

        Raises:
            NotHere: The kernel, or who runs this, cannot.
        """
        bridge = f"jl{self._run}b"
        _run("ip", "link", "add", bridge, "type", "bridge")
        _run("ip", "address", "add", f"{self._subnet}.254/24", "dev", bridge)
        _run("ip", "link", "set", bridge, "up")
        for node in self._nodes.values():
            name = self._name(node)
            _run("ip", "netns", "add", name)
            _run("ip", "link", "add", name, "type", "veth", "peer", "eth0", "netns", name)
            _run("ip", "link", "set", name, "master", bridge, "up")
            inside = ("ip", "-n", name)
            _run(*inside, "address", "add", f"{self._subnet}.{node}/24", "dev", "eth0")
            _run(*inside, "link", "set", "eth0", "up")
            _run(*inside, "link", "set", "lo", "up")
            for chain in ("INPUT", "OUTPUT"):
                # Some kernels make a chain with its first rule, and have no counters before.
                self._iptables(node, "-P", chain, "ACCEPT")

    def remove(self) -> None:
        """Remove it all."""
        for command in self.removal():
            subprocess.run(command, check=False, capture_output=True)

    # --- faults -----------------------------------------------------------------------------------

    def cut(self, links: Iterable[Link], how: Cut) -> None:
        """See the port. Each link is cut where it arrives, or leaves where clients are at its end.

        Only nodes have a filter.
        """
        for link in links:
            self._cuts[link, how] += 1
            if self._cuts[link, how] == 1:
                self._filter("-I", link, how)

    def mend(self, links: Iterable[Link], how: Cut) -> None:
        """See the port."""
        for link in links:
            if self._cuts[link, how]:
                self._cuts[link, how] -= 1
                if not self._cuts[link, how]:
                    self._filter("-D", link, how)

    def set_weather(self, links: Iterable[Link], weather: Weather) -> None:
        """See the port. Packets can be lost here, and nothing else: delay needs a proxy."""
        if weather.delay_s or weather.jitter_s or weather.bytes_per_s:
            raise NotHere(
                "delay and narrow links need the proxy network: the packet filter can only lose"
                " packets, and the kernel's netem may be missing"
            )
        for link in links:
            before = self._weather.pop(link, FAIR)
            if before.loss:
                self._filter("-D", link, f"loss {before.loss}")
            if weather.loss:
                self._weather[link] = weather
                self._filter("-I", link, f"loss {weather.loss}")

    def heal(self) -> None:
        """See the port."""
        for (link, how), count in list(self._cuts.items()):
            self.mend([link] * count, how)
        self.set_weather(list(self._weather), FAIR)

    def seen(self, links: Iterable[Link]) -> Seen:
        """See the port. Counts packets; a connection that was reset counts as withheld too."""
        links = list(links)
        for place in {self._place(link)[:2] for link in links}:
            self._collect(*place)
        return Seen(
            withheld=sum(self._packets[str(link), "cut"] for link in links),
            disturbed=sum(self._packets[str(link), "loss"] for link in links),
        )

    def _filter(self, action: str, link: Link, how: str) -> None:
        """Put a rule in, in front of all others, or take it out."""
        node, chain, peer = self._place(link)
        if action == "-D":
            self._collect(node, chain)
        address = ("-s" if chain == "INPUT" else "-d", self._address(peer))
        note = ("-m", "comment", "--comment", f"{link} {'loss' if 'loss' in how else 'cut'}")
        if how == "reset":
            # But for resets: those must reach whom they are to tell.
            tcp = ("-p", "tcp", "!", "--tcp-flags", "RST", "RST")
            what = [*tcp, "-j", "REJECT", "--reject-with", "tcp-reset"]
        elif how == "hold":
            what = ["-j", "DROP"]
        else:
            share = how.partition(" ")[2]
            chance = ("-m", "statistic", "--mode", "random", "--probability", share)
            what = [*chance, "-j", "DROP"]
        self._iptables(node, action, chain, *address, *note, *what)

    def _place(self, link: Link) -> tuple[NodeId, str, Party]:
        """Return where a link is filtered: at whose namespace, which chain, and the other side."""
        if link.to in self._nodes:
            return self._nodes[link.to], "INPUT", link.sender
        return self._nodes[link.sender], "OUTPUT", link.to

    def _iptables(self, node: NodeId, *arguments: str) -> str:
        return _run("ip", "netns", "exec", self._name(node), "iptables", "-w", *arguments)

    def _collect(self, node: NodeId, chain: str) -> None:
        """Take over what rules have counted: one that goes would take its counter along."""
        for line in self._iptables(node, "-nvxL", chain, "-Z").splitlines():
            noted = _NOTE.search(line)
            if noted is not None:
                self._packets[noted[1], noted[2]] += int(line.split()[0])

    # --- addresses --------------------------------------------------------------------------------

    def prefix(self, node: NodeId) -> Sequence[str]:
        """See the port."""
        return ("ip", "netns", "exec", self._name(node))

    def address(self, dialler: Party, node: NodeId) -> tuple[str, int]:
        """See the port."""
        return self.listen_address(node)

    def listen_address(self, node: NodeId) -> tuple[str, int]:
        """See the port."""
        return f"{self._subnet}.{node}", PORT

    def _name(self, node: NodeId) -> str:
        return f"jl{self._run}n{node}"

    def _address(self, party: Party) -> str:
        node = self._nodes.get(party)
        return f"{self._subnet}.{254 if node is None else node}"


@contextmanager
def open_namespaces(nodes: Sequence[NodeId]) -> Iterator[Namespaces]:
    """Make the network for a run of this process; nothing of it is left afterwards.

    Raises:
        NotHere: This machine cannot.
    """
    why = missing()
    if why:
        raise NotHere(why)
    sweep()
    network = Namespaces(nodes, os.getpid())
    try:
        network.make()
        yield network
    finally:
        network.remove()
