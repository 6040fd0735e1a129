"""`cocoi simulate`: its options. The work is in `cocoi_cli.commands.simulate_work`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from cocoi_cli.commands.options import (
    AssumedGflops,
    AssumedMbit,
    HostGflops,
    Json,
    Model,
    Quiet,
    Seed,
    TransportOption,
    leave,
)
from cocoi_cli.commands.simulate_fleet import SHIFT_EXPONENTIAL


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateRequest:
    """What was typed; the fields are the options."""

    model: str
    fleet: str | None
    devices: int | None
    gflops: float | None
    mbit: float | None
    rtt: float | None
    host_gflops: float | None
    plan: str | None
    schemes: tuple[str, ...]
    k: tuple[str, ...]
    straggling: str
    latency: str
    inferences: int
    seed: int
    transport: str
    strips: int | None
    plot: str | None
    output: str | None
    quiet: bool
    json: bool


def simulate(
    model: Model,
    *,
    fleet: Annotated[
        str | None,
        typer.Option("--fleet", metavar="F", help="Fleet file; its profile is used. [default: the user's, if any]"),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option("--devices", metavar="N", help="Assume N equal devices. [default without a fleet: 10]"),
    ] = None,
    gflops: AssumedGflops = None,
    mbit: AssumedMbit = None,
    rtt: Annotated[
        float | None, typer.Option("--rtt", metavar="MS", help="Round trip to an assumed device. [default: 0.5]")
    ] = None,
    host_gflops: HostGflops = None,
    plan: Annotated[
        str | None, typer.Option("--plan", metavar="P", help="A plan file of `cocoi plan`, beside the schemes.")
    ] = None,
    scheme: Annotated[
        list[str] | None,
        typer.Option(
            "--scheme",
            metavar="S",
            help="auto, local, or a code: coded, uncoded, replication, hedged, lt, cocoi, fcdcc; several with commas. "
            "[default: uncoded, coded, auto; none with --plan]",
        ),
    ] = None,
    k: Annotated[
        list[str] | None,
        typer.Option("--k", metavar="K", help="Pieces: `8`, or `6-9` for each; may be given several times."),
    ] = None,
    straggling: Annotated[
        str,
        typer.Option(
            "--straggling",
            metavar="W",
            help="What goes wrong: none, exp:0.5, slow:2x3, dead:1, kill:1@0.2, freeze:1@0.2, bimodal, trace:FILE; "
            "several joined by +.",
        ),
    ] = "none",
    latency: Annotated[
        str,
        typer.Option(
            "--latency",
            metavar="D",
            help="Draw times of measured devices from what was fitted (shift-exponential) or from the samples "
            "(empirical).",
        ),
    ] = SHIFT_EXPONENTIAL,
    inferences: Annotated[
        int, typer.Option("--inferences", metavar="N", min=1, max=100_000, help="How many in a row.")
    ] = 500,
    seed: Seed = 1,
    transport: TransportOption = "f16",
    strips: Annotated[
        int | None,
        typer.Option("--strips", metavar="M", min=1, help="Strips per piece, 1 for whole pieces. [default: by rule]"),
    ] = None,
    plot: Annotated[
        str | None, typer.Option("--plot", metavar="FILE", help="Draw the latencies: a name in .png or .svg.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write everything as JSON.")
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Foresee what a model takes on a fleet, without one: latency, bytes, wasted work.

    Every scheme and k meets the same luck, so their differences are their own.
    """
    from cocoi_cli.commands.simulate_work import run  # noqa: PLC0415  (numpy, ONNX)

    leave(
        run(
            SimulateRequest(
                model=model, fleet=fleet, devices=devices, gflops=gflops, mbit=mbit, rtt=rtt, host_gflops=host_gflops,
                plan=plan, schemes=_listed(scheme), k=tuple(k or ()), straggling=straggling, latency=latency,
                inferences=inferences, seed=seed, transport=transport, strips=strips, plot=plot, output=output,
                quiet=quiet, json=json,
            )
        )
    )  # fmt: skip


def _listed(schemes: list[str] | None) -> tuple[str, ...]:
    """Names that were given one by one or with commas."""
    return tuple(name for each in schemes or () for name in each.split(",") if name)
