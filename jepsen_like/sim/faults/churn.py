"""No faults, but spells like them: what an administrator is told to do."""

from __future__ import annotations

from functools import partial

from jepsen_like.sim.faults.site import Begin, Strike, Undo
from jepsen_like.sim.tasks import TASKS


def _begin(kind: str, strike: Strike) -> Undo | None:
    task, effect = TASKS[kind]
    admin = strike.site.administrator
    if admin is None:
        return None
    taken = admin.take(partial(task, admin, strike.rng), partial(strike.effect, effect))
    strike.episode.target = "the administrator" if taken else ""
    return None


KINDS: dict[str, Begin] = {kind: partial(_begin, kind) for kind in TASKS}
