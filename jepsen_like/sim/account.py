"""What a report tells of simulated runs: of one in full, of many in sums.

It runs a case once more with everything written down, and puts it into the form of a report. It
judges nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jepsen_like.checkers.linearizability import check
from jepsen_like.report.facts import Band, Facts, Phase, Slots, Step
from jepsen_like.report.trace import read
from jepsen_like.sim.invariants import NAMES
from jepsen_like.sim.node import SimNode
from jepsen_like.sim.recorder import BUDGET, MODELS, Recorder
from jepsen_like.sim.replay import Case
from jepsen_like.sim.setup import ReplicaFactory
from jepsen_like.sim.simulation import Outcome, Simulation
from jepsen_like.sim.sweep import Summary
from jepsen_like.sim.world import World
from jepsen_like.verdict import Verdict

SLOTS_MAX = 400
"""Rows of the table of slots: the last ones."""


def tell_case(
    case: Case, factory: ReplicaFactory, replay: str, story: Sequence[Step] = ()
) -> Facts:
    """Run a case with everything written down.

    Args:
        case: The run.
        factory: Makes its replicas.
        replay: The line that runs it again.
        story: What led to its violation; the end of the trace if it is left out.
    """
    trace: list[str] = []
    simulation = Simulation(World(case.seed, case.plan, trace.append), factory, case.schedule)
    outcome = simulation.carry_out()
    told = read(trace)
    recorder = simulation.recorder
    facts = Facts(
        title=f"simulation, seed {case.seed}, {case.plan.nodes} nodes",
        verdict="yes" if outcome.number is None else "no",
        sentence=_sentence(outcome),
        replay=replay,
        story=story or told.story,
        arrows=told.arrows,
        history=() if recorder is None else recorder.entries,
        bands=_bands(simulation),
        phases=_phases(simulation),
        slots=_slots(simulation.nodes, simulation.chosen_through),
        effects={name: count for name, count in outcome.effects.items() if count},
        marks=outcome.marks,
        counts={
            "seed": case.seed,
            "simulated seconds": round(outcome.seconds, 3),
            "deliveries": outcome.deliveries,
            "commands completed": outcome.commands,
            "elections": outcome.elections,
        },
    )
    if outcome.number == 11 and recorder is not None:
        return replace(facts, impossible=_impossible(recorder))
    return facts


def tell_summary(summary: Summary, verdict: Verdict, sentence: str, replay: str) -> Facts:
    """Tell of many runs, none of which violated anything."""
    return Facts(
        title=f"simulation of {summary.seeds} seeds",
        verdict=verdict,
        sentence=sentence,
        replay=replay,
        warnings=summary.shortfalls(),
        effects=summary.effects_by_fault(),
        marks=summary.marks,
        counts={
            "seeds": summary.seeds,
            "simulated seconds": round(summary.simulated_s),
            "deliveries": summary.deliveries,
            "commands completed": summary.commands,
            "elections": summary.elections,
            "crashes": summary.crashes,
        },
    )


def _sentence(outcome: Outcome) -> str:
    if outcome.number is None:
        return f"Seed {outcome.seed} violates no invariant."
    name = NAMES[outcome.number]
    return f"Seed {outcome.seed} violates I{outcome.number}, {name}: {outcome.text}"


def _bands(simulation: Simulation) -> list[Band]:
    end = simulation.world.now
    return [
        Band(
            episode.spell.kind,
            episode.target,
            episode.start_s,
            end if episode.stop_s is None else episode.stop_s,
            episode.effects,
        )
        for episode in simulation.episodes
    ]


def _phases(simulation: Simulation) -> list[Phase]:
    end, healed = simulation.world.now, simulation.healed_s
    if healed is None:
        return [Phase("faults", 0.0, end)]
    return [Phase("faults", 0.0, healed), Phase("heal", healed, end)]


def _slots(nodes: Sequence[SimNode], chosen_through: int) -> Slots:
    highest = max([chosen_through, *(node.facts.highest for node in nodes)])
    rows = [
        (slot, [_cell(node, slot) for node in nodes])
        for slot in range(max(1, highest - SLOTS_MAX + 1), highest + 1)
    ]
    return Slots([str(node.voter) for node in nodes], rows)


def _cell(node: SimNode, slot: int) -> str:
    held = node.replica.acceptor.held(slot) if node.up else None
    if held is not None:
        return f"{'decided' if held.decided else f'accepted {held.ballot}'} {held.value}"
    if node.up or slot not in node.facts.held:
        return ""
    ballot, value = node.facts.held[slot]
    return f"down, accepted {ballot} {value}"


def _impossible(recorder: Recorder) -> dict[str | None, int]:
    """Return where each kind of object's history first cannot be explained."""
    positions: dict[str | None, int] = {}
    for kind, model in MODELS.items():
        found = check(recorder.of(kind), model, BUDGET)
        if found.verdict == "no" and found.entry is not None:
            entry = recorder.of(kind)[found.entry]
            positions[found.key] = recorder.entries.index(entry)
    return positions
