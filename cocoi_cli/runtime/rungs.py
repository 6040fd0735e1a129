"""The ladder of a distributed stage: what it costs to round less, step by step.

From cheap to dear: float16 both ways; float16 shares with float32 answers; float32 both ways; that without a code,
for decoding enlarges rounding; the host itself. Each stage of a plan stands on a rung of its own. Source:
docs/methods.md, "The rehearsal".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

from cocoi_cli.codes.families import hedged
from cocoi_cli.planning.plan import AUTO, LOCAL, ConvPlan, SegmentPlan
from cocoi_cli.runtime.losses import noise_gain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cocoi_cli.planning.plan import Plan

StagePlan = ConvPlan | SegmentPlan


class Rung(IntEnum):
    """How exact a stage is computed; a higher one rounds less."""

    HALF = 0
    WIDE_ANSWERS = 1
    SINGLE = 2
    UNCODED = 3
    HOST = 4


_WORDS = {
    Rung.WIDE_ANSWERS: "float32 answers, as float16 would err by",
    Rung.SINGLE: "float32, as float16 would err by",
    Rung.UNCODED: "float32 without a code, as it would err by",
    Rung.HOST: "kept here: even float32 would err by",
}


@dataclass(frozen=True, slots=True)
class Step:
    """A stage that is put on a rung, and why, as it stands in the reasons of the plan."""

    stage: str
    rung: Rung
    note: str


def step(stage: str, rung: Rung, error: float) -> Step:
    """Put a stage on a rung because the one below would err by `error`."""
    return Step(stage, rung, f"{_WORDS[rung]} {error:.0e}")


def unsendable(name: str, stage: StagePlan) -> Step:
    """Raise a stage whose input could not be sent: float32 holds what is too large for tiles in float16."""
    if isinstance(stage, SegmentPlan) and rung_of(stage) < Rung.SINGLE:
        return Step(name, Rung.SINGLE, "float32, as float16 does not hold its input")
    return Step(name, Rung.HOST, "kept here: its input is not finite, or not of the planned size")


def stages_of(plan: Plan) -> dict[str, StagePlan]:
    """The decision for every stage that agents compute, by name."""
    layers = {layer.layer: layer for layer in plan.layers if layer.distributed}
    return {**layers, **{segment.name: segment for segment in plan.segments}}


def rung_of(stage: StagePlan) -> Rung:
    """Where a stage stands that agents compute."""
    if stage.transport == "f32":
        return Rung.SINGLE if isinstance(stage, ConvPlan) and noise_gain(stage) > 1.0 else Rung.UNCODED
    return Rung.HALF if stage.answers == "f16" else Rung.WIDE_ANSWERS


def without_code(plan: Plan, stage: StagePlan) -> float:
    """What is left of a stage's rounding if it does without its code.

    1 where it has none, or none that can be dropped: where that code was asked for, and where filters are mixed.
    """
    if plan.scheme != AUTO or isinstance(stage, SegmentPlan) or stage.filters > 1:
        return 1.0
    return 1.0 / noise_gain(stage)


def raised(plan: Plan, steps: Iterable[Step]) -> Plan:
    """The plan with some stages on other rungs; the note is added to the reason, or replaces that of a stage kept here.

    Args:
        plan: What they are taken from.
        steps: At most one for each stage; those for stages that the plan has not are passed over.
    """
    by_stage = {each.stage: each for each in steps}

    def layer_after(layer: ConvPlan) -> ConvPlan:
        name = layer.layer if layer.distributed else layer.segment
        each = by_stage.get(name)
        if each is None or layer.scheme == LOCAL:
            return layer
        if each.rung is Rung.HOST:
            return ConvPlan(layer.layer, LOCAL, 0, 0, 0, 0, plan.transport, each.note)
        if not layer.distributed:
            return layer
        transport, reply = _travel(each.rung)
        if each.rung is Rung.UNCODED and without_code(plan, layer) < 1.0:
            # Its strips as they are, each a tile of its own: what a share costs stays what it was planned with.
            layer = replace(layer, scheme=hedged.SCHEME, k=1, strips=layer.k * layer.strips)
        return replace(layer, transport=transport, reply=reply, reason=f"{layer.reason}; {each.note}")

    def segment_after(segment: SegmentPlan) -> SegmentPlan:
        each = by_stage.get(segment.name)
        if each is None:
            return segment
        transport, reply = _travel(each.rung)
        return replace(segment, transport=transport, reply=reply, reason=f"{segment.reason}; {each.note}")

    at_home = {each.stage for each in by_stage.values() if each.rung is Rung.HOST}
    return replace(
        plan,
        layers=tuple(map(layer_after, plan.layers)),
        segments=tuple(segment_after(each) for each in plan.segments if each.name not in at_home),
    )


def steps_for_all(plan: Plan, error: float) -> dict[str, Step]:
    """What is left to do where nothing is known but that the plan errs by `error`, by stage.

    All to float32; those that are there already, without their codes; those that have none, here.
    """
    stages = stages_of(plan)
    low = [name for name, stage in stages.items() if rung_of(stage) < Rung.SINGLE]
    coded = [name for name, stage in stages.items() if without_code(plan, stage) < 1.0]
    rung = Rung.SINGLE if low else Rung.UNCODED if coded else Rung.HOST
    return {name: step(name, rung, error) for name in low or coded or stages}


def stricter(plan: Plan, error: float) -> Plan:
    """The next plan to try where nothing is known but that this one errs by `error`."""
    return raised(plan, steps_for_all(plan, error).values())


def _travel(rung: Rung) -> tuple[str, str]:
    """Transport of shares, and of answers where that differs."""
    return {Rung.HALF: ("f16", ""), Rung.WIDE_ANSWERS: ("f16", "f32")}.get(rung, ("f32", ""))
