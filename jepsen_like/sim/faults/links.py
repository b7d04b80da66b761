"""Faults of links: partitions of every shape, cut connections, clients that reach nobody."""

from __future__ import annotations

from jepsen_like.sim.faults.site import Begin, Strike, Undo, all_links, links_between
from jepsen_like.sim.network import Cut, Link
from jepsen_like.sim.plan import CUT_MODES, SHAPES


def partition(strike: Strike) -> Undo | None:
    """Split the nodes, in one of several shapes."""
    if len(strike.site.nodes) < 2:
        return None
    shape, mode = strike.rng.choice(SHAPES), strike.rng.choice(CUT_MODES)
    links = _links_of(strike, shape)
    strike.episode.target = f"{shape}, {mode}"
    return cut(strike, links, mode)


def one_way(strike: Strike) -> Undo | None:
    """Let one node hear others that do not hear it, or the reverse."""
    if len(strike.site.nodes) < 2:
        return None
    one = strike.leader_or_any().voter.node
    inward = strike.rng.random() < 0.5
    others = [n for n in strike.site.ids if n != one and strike.rng.random() < 0.7]
    links = [(n, one) if inward else (one, n) for n in others]
    return cut(strike, links, strike.rng.choice(("drop", "hold")))


def cut(strike: Strike, links: list[Link], mode: str) -> Undo:
    """Cut links; what is returned mends them."""
    network, made = strike.site.network, Cut(mode, strike.episode)
    network.cut(links, made)
    return lambda: network.mend(links, made)


def _links_of(strike: Strike, shape: str) -> list[Link]:
    ids = strike.site.ids
    strike.rng.shuffle(ids)
    if shape == "halves":
        return links_between(ids[: len(ids) // 2], ids[len(ids) // 2 :])
    if shape == "minority":
        size = strike.rng.randint(1, max(1, (len(ids) - 1) // 2))
        return links_between(ids[:size], ids[size:])
    if shape == "leader":
        leader = strike.leader_or_any().voter.node
        return links_between([leader], [n for n in ids if n != leader])
    if shape == "bridge":
        half = (len(ids) - 1) // 2
        return links_between(ids[1 : 1 + half], ids[1 + half :])
    if shape == "ring":
        near = {(a, b) for a, b in zip(ids, ids[1:] + ids[:1], strict=True)}
        return [(a, b) for a, b in all_links(ids) if (a, b) not in near and (b, a) not in near]
    hub = ids[0]
    return [(a, b) for a, b in all_links(ids) if hub not in (a, b)]


def disconnect(strike: Strike) -> Undo | None:
    """Close about half of all connections; they are made again."""
    broken = 0
    for a, b in all_links(strike.site.ids):
        if a < b and strike.rng.random() < 0.5:
            broken += strike.site.network.break_pair(a, b)
    strike.effect("disconnect", broken)
    return None


def client_cut(strike: Strike) -> Undo | None:
    """Keep one client from one node: it cannot dial it, and its connection freezes or breaks."""
    site, rng = strike.site, strike.rng
    if not site.callers:
        return None
    client = rng.choice(site.callers)
    node = rng.choice(site.nodes)
    endpoint = str(node.voter)
    strike.episode.target = f"c{client.number} {endpoint}"
    client.unreachable.add(endpoint)
    link = client.link
    also, freezes = rng.random() < 0.5, rng.random() < 0.5
    if link is not None and (link.node is node or also):
        if freezes:
            link.freeze(strike.episode)
        elif link.open:
            strike.effect("client cut")
            link.break_off()

    def undo() -> None:
        client.unreachable.discard(endpoint)
        if link is not None:
            link.thaw()

    return undo


def slow_link(strike: Strike) -> Undo | None:
    """Let the links of one node, or half of all, carry little."""
    links = _some_links(strike)
    if not links:
        return None
    network = strike.site.network
    network.slow(links, strike.rng.choice((300.0, 3_000.0, 30_000.0)), strike.episode)
    return lambda: network.slow(links, 0.0, None)


def clogged_link(strike: Strike) -> Undo | None:
    """Let the links of one node, or half of all, carry nothing, while their outboxes fill."""
    links = _some_links(strike)
    return cut(strike, links, "clog") if links else None


def _some_links(strike: Strike) -> list[Link]:
    links = all_links(strike.site.ids)
    if strike.rng.random() < 0.5:
        one = strike.leader_or_any().voter.node
        return [link for link in links if one in link]
    return [link for link in links if strike.rng.random() < 0.5]


KINDS: dict[str, Begin] = {
    "partition": partition,
    "one way": one_way,
    "disconnect": disconnect,
    "client cut": client_cut,
    "slow link": slow_link,
    "clogged link": clogged_link,
}
