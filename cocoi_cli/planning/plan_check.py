"""Whether a plan can be obeyed: by this model, on this fleet, with codes that exist. Pure.

A plan that a planner has just made passes; one that was written down, edited or carried elsewhere may not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from cocoi_cli.codes.registry import make_code, schemes, traits
from cocoi_cli.errors import UsageError
from cocoi_cli.planning.defaults import gain_limit
from cocoi_cli.planning.errors import TooFewAgentsError
from cocoi_cli.planning.plan import FUSED, LOCAL
from cocoi_cli.planning.plan_errors import BadPlanValueError, OtherFleetPlanError, OtherModelError, StalePlanError
from cocoi_cli.planning.plan_reading import line_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_cli.model.network import ConvLayer
    from cocoi_cli.model.segments import Segment
    from cocoi_cli.planning.plan import ConvPlan, Plan, SegmentPlan
    from cocoi_cli.planning.plan_file import PlanDocument

FIRST_AXIS = 2  # after batch and channels
LARGEST_N = 100_000


def check(
    document: PlanDocument,
    source: str,
    *,
    model: str,
    sha256: str,
    inputs: Mapping[str, tuple[int, ...]] | None,
    fleet: str | None,
    devices: Sequence[str],
    profile: str = "",
) -> None:
    """Refuse a document that was made for something else, or from what is no longer true.

    Args:
        document: As it was read.
        source: The file's name, for complaints.
        model: Name of the model at hand.
        sha256: Of its file.
        inputs: Input name to shape; None where the sizes are not known yet.
        fleet: Id of the fleet at hand; None where there is none (an embedded fleet).
        devices: Its devices by name, or the agents.
        profile: When its profile was made, ISO 8601 in UTC; empty where there is none.

    Raises:
        OtherModelError: The file of the model is another one, or its inputs have other sizes.
        OtherFleetPlanError: The fleet is another one.
        StalePlanError: The profile is newer than the plan, or a device has left the fleet.
    """
    if document.sha256 != sha256:
        raise OtherModelError(source, planned=document.model, found=model, cause="its file has other contents")
    if inputs is not None:
        check_inputs(document.inputs, source, model=model, inputs=inputs)
    if not document.fleet:
        return  # devices were assumed: any fleet that is large enough
    if fleet is not None and document.fleet != fleet:
        raise OtherFleetPlanError(source, planned=document.fleet, found=fleet)
    gone = [name for name in document.plan.agents if name not in devices] if fleet is not None else []
    if gone:
        listed = ", ".join(f"`{name}`" for name in gone)
        left = "has" if len(gone) == 1 else "have"
        raise StalePlanError(source, made=document.made, cause=f"{listed} {left} left the fleet", devices=gone)
    if profile and document.profile and profile > document.profile:
        raise StalePlanError(source, made=document.made, cause=f"the fleet was measured again {profile}")


def check_inputs(
    planned: Mapping[str, tuple[int, ...]], source: str, *, model: str, inputs: Mapping[str, tuple[int, ...]]
) -> None:
    """Refuse a plan that was made for other sizes.

    Raises:
        OtherModelError: An input has another shape than was planned for.
    """
    for name, shape in inputs.items():
        wanted = planned.get(name)
        if wanted is not None and tuple(wanted) != tuple(shape):
            cause = f"input `{name}` is {_sizes(shape)}, and {_sizes(wanted)} was planned"
            raise OtherModelError(source, planned=model, found=model, cause=cause)


def check_plan(
    plan: Plan,
    layers: Sequence[ConvLayer],
    segments: Sequence[Segment],
    living: int | None = None,
    *,
    source: str = "the plan",
    text: str = "",
) -> None:
    """Refuse a plan that cannot be obeyed.

    Args:
        plan: The plan.
        layers: Every convolution of the model.
        segments: Runs of them that may be computed as one.
        living: Agents that can take part; None where that is not known yet.
        source: Where the plan comes from, for complaints.
        text: The text of that file, to find lines in; empty where there is none.

    Raises:
        BadPlanValueError: A layer or segment does not exist or cannot be distributed so; a code does not exist.
        TooFewAgentsError: More answers are needed than agents can give.
    """
    checker = _Checker(layers, segments, source, text)
    named = {segment.name for segment in plan.segments}
    for number, segment in enumerate(plan.segments):
        checker.segment(segment, number)
    for number, layer in enumerate(plan.layers):
        checker.layer(layer, number, named)
    checker.complete(plan)
    if living is not None:
        _check_living(plan, living)


class _Checker:
    """Holds each part of a plan against the model; complaints name field and line."""

    def __init__(self, layers: Sequence[ConvLayer], segments: Sequence[Segment], source: str, text: str) -> None:
        self._layers = {layer.name: layer for layer in layers}
        self._segments = {(tuple(each.layers), each.input, each.output): each for each in segments}
        self._source, self._text = source, text

    def layer(self, planned: ConvPlan, number: int, segments: set[str]) -> None:
        """One layer: it exists, may be distributed, and its code exists and is not longer than the layer."""
        place = f"layers[{number}]"
        layer = self._layers.get(planned.layer)
        if layer is None:
            self._refuse(f"{place}.layer", f"the model has no convolution `{planned.layer}`")
        if planned.scheme == LOCAL:
            return
        if planned.scheme == FUSED:
            if planned.segment not in segments:
                self._refuse(f"{place}.segment", f"no segment of the plan has the name `{planned.segment}`")
            return
        if planned.scheme not in schemes():
            known = ", ".join(f"`{name}`" for name in (LOCAL, FUSED, *schemes()))
            self._refuse(f"{place}.scheme", f"unknown scheme `{planned.scheme}`; known are {known}")
        if layer.obstacle is not None:
            self._refuse(f"{place}.scheme", f"`{layer.name}` cannot be distributed: {layer.obstacle}")
        self._code(planned, place)
        self._sizes(planned, layer, place)

    def segment(self, planned: SegmentPlan, number: int) -> None:
        """One segment: it is one that the model can be cut into."""
        place = f"segments[{number}]"
        for name in planned.layers:
            if name not in self._layers:
                self._refuse(f"{place}.layers", f"the model has no convolution `{name}`")
        found = self._segments.get((tuple(planned.layers), planned.input, planned.output))
        if found is None:
            self._refuse(
                f"{place}.layers",
                f"agents cannot compute `{planned.name}` as one, from `{planned.input}` to `{planned.output}`",
            )
        rows = found.output_shape[FIRST_AXIS]
        if planned.tiles > rows:
            self._refuse(f"{place}.tiles", f"{planned.tiles} tiles of {rows} rows")
        self._members(planned.n, place, host=planned.host)

    def complete(self, plan: Plan) -> None:
        """Every layer is decided once, and what a segment has inside is said to be there."""
        seen: dict[str, int] = {}
        twice = next((name for name in plan.agents if plan.agents.count(name) > 1), None)
        if twice is not None:
            self._refuse("agents", f"`{twice}` is named twice")
        for number, planned in enumerate(plan.layers):
            if planned.layer in seen:
                self._refuse(f"layers[{number}].layer", f"`{planned.layer}` is decided twice")
            seen[planned.layer] = number
        for name in self._layers:
            if name not in seen:
                self._refuse("layers", f"nothing is decided about `{name}`")
        inside: dict[str, str] = {}
        for number, segment in enumerate(plan.segments):
            for name in segment.layers:
                if name in inside:
                    cause = f"`{name}` is in `{inside[name]}` and in `{segment.name}`"
                    self._refuse(f"segments[{number}].layers", cause)
                inside[name] = segment.name
        for planned in plan.layers:
            place = f"layers[{seen[planned.layer]}]"
            if inside.get(planned.layer, "") != planned.segment:
                cause = (
                    f"`{planned.layer}` is not in segment `{planned.segment}`"
                    if planned.scheme == FUSED
                    else f"`{planned.layer}` is in segment `{inside.get(planned.layer)}`, so its scheme is `{FUSED}`"
                )
                self._refuse(f"{place}.scheme", cause)

    def _code(self, planned: ConvPlan, place: str) -> None:
        if planned.n > LARGEST_N:
            self._refuse(f"{place}.n", f"{planned.n} shares")
        if planned.k > planned.n and not traits(planned.scheme).rateless:
            self._refuse(f"{place}.k", f"n is {planned.n} and k is {planned.k}; k is at most n")
        try:
            limit = gain_limit(planned.transport)
            make_code(planned.scheme, planned.n, planned.k, gain_limit=limit, filters=planned.filters)
        except UsageError as error:
            self._refuse(f"{place}.k", error.message, error)
        self._members(planned.n, place, host=planned.host)

    def _members(self, n: int, place: str, *, host: bool) -> None:
        if host and n < 2:
            self._refuse(f"{place}.n", "with a share of this machine, n is at least 2")

    def _sizes(self, planned: ConvPlan, layer: ConvLayer, place: str) -> None:
        shape = layer.output_shape
        if not FIRST_AXIS <= planned.axis < len(shape):
            self._refuse(f"{place}.axis", f"`{layer.name}` has axes {FIRST_AXIS} to {len(shape) - 1} to cut")
        length = shape[planned.axis]
        if planned.k > length:
            self._refuse(f"{place}.k", f"{planned.k} pieces of {length} positions")
        if planned.strips > -(-length // planned.k):
            self._refuse(f"{place}.strips", f"{planned.strips} strips in pieces of {-(-length // planned.k)} positions")

    def _refuse(self, field: str, cause: str, error: Exception | None = None) -> NoReturn:
        raise BadPlanValueError(self._source, line_of(self._text, field), field, cause) from error


def _check_living(plan: Plan, living: int) -> None:
    """Agents may be away, as long as enough answers can come; the rest is given to others."""
    for layer in plan.layers:
        if layer.distributed and living < 1:
            raise TooFewAgentsError(asked=layer.k, live=living, symbol="k")
    if plan.segments and living < 1:
        raise TooFewAgentsError(asked=1, live=living, symbol="n")


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
