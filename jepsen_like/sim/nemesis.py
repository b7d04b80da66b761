"""The nemesis: it carries a schedule of spells out, and in the end undoes them all.

It draws nothing itself: what strikes, when and for how long is data, and what a spell chooses comes
from that spell's own chance. It keeps the account of what each spell changed, so that a nemesis
that does nothing shows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from jepsen_like.sim.faults import churn, clocks, disks, elections, links, permanent, processes
from jepsen_like.sim.faults.site import Begin, Site, Strike, Undo
from jepsen_like.sim.node import SimNode
from jepsen_like.sim.schedule import Episode, Schedule, Spell

KINDS: dict[str, Begin] = {
    **links.KINDS,
    **processes.KINDS,
    **elections.KINDS,
    **disks.KINDS,
    **clocks.KINDS,
    **churn.KINDS,
}
"""How each kind of spell begins. Its names are ``plan.SPELLS`` and ``plan.CHURN``."""


class Nemesis:
    """Brings what a schedule holds, and undoes it.

    Args:
        site: Where it strikes.
        schedule: What, and when.

    Attributes:
        episodes: What became of each spell that began.
    """

    def __init__(self, site: Site, schedule: Schedule) -> None:
        self.episodes: list[Episode] = []
        self._site = site
        self._world = site.world
        self._schedule = schedule
        self._under_way: dict[int, tuple[Episode, Undo]] = {}  # by the spell's number

    @property
    def effective(self) -> tuple[int, ...]:
        """The numbers of the spells that changed something so far."""
        return tuple(
            episode.spell.number
            for episode in self.episodes
            if episode.effects and episode.spell.number
        )

    def start(self) -> None:
        """Let the schedule come."""
        for spell in self._schedule.spells:
            self._world.at(spell.at_s, self._begin, spell)

    def _begin(self, spell: Spell) -> None:
        if not self._site.active:
            return
        episode = Episode(spell, self._world.now)
        self.episodes.append(episode)
        undo = KINDS[spell.kind](Strike(self._site, episode))
        if self._world.tracing:
            self._world.say(f"nemesis: {spell}: {episode.target or 'nobody'}")
        if undo is None:
            episode.stop_s = self._world.now
        else:
            self._under_way[spell.number] = (episode, undo)
            self._world.after(spell.length_s, self._end, spell.number)

    def _end(self, number: int) -> None:
        episode, undo = self._under_way.pop(number, (None, None))
        if episode is None or undo is None:
            return
        if self._world.tracing:
            self._world.say(f"nemesis: spell {number} ends")
        episode.stop_s = self._world.now
        undo()

    def heal(self, healed: Sequence[SimNode]) -> None:
        """Let nothing go wrong any more among ``healed`` nodes. What is wrong outside stays so."""
        site = self._site
        site.active = False
        for episode, _ in self._under_way.values():
            episode.stop_s = self._world.now
        self._under_way.clear()
        site.network.heal([node.voter.node for node in healed])
        for node in healed:
            node.mend()
        for caller in site.callers:
            caller.unreachable.clear()
            caller.garbler = None
            if caller.link is not None:
                caller.link.thaw()

    def condemn(self, outside: Sequence[SimNode], rng: random.Random) -> None:
        """Give each node outside what is healed its fate, for ever."""
        for node in outside:
            spell = Spell(0, self._world.now, "for ever", float("inf"), 0)
            episode = Episode(spell, self._world.now, str(node.voter))
            self.episodes.append(episode)
            permanent.condemn(self._site, rng, node, episode)
