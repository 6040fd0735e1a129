"""`cocoi plan`: its options. The work is in `cocoi_cli.commands.plan_work`."""

from __future__ import annotations

from typing import Annotated

import typer

from cocoi_cli.commands.options import (
    AssumedGflops,
    AssumedMbit,
    FleetOption,
    HostGflops,
    Json,
    Model,
    Profile,
    Quiet,
    TransportOption,
    leave,
)


def plan(
    model: Model,
    *,
    fleet: FleetOption = None,
    profile: Profile = None,
    devices: Annotated[
        int | None, typer.Option("--devices", metavar="N", help="Assume N equal devices instead of a fleet.")
    ] = None,
    gflops: AssumedGflops = None,
    mbit: AssumedMbit = None,
    host_gflops: HostGflops = None,
    objective: Annotated[
        str, typer.Option("--objective", metavar="O", help="What is to be small: mean, or a quantile such as p95.")
    ] = "mean",
    transport: TransportOption = "f16",
    scheme: Annotated[
        str,
        typer.Option(
            "--scheme",
            metavar="S",
            help="auto, or the only one to use beside local: fused, hedged, coded, uncoded, replication, lt, cocoi, "
            "fcdcc.",
        ),
    ] = "auto",
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="HxW", help="Rows and columns of the picture. [default: the model's]"),
    ] = None,
    no_host: Annotated[bool, typer.Option("--no-host", help="This machine computes no shares.")] = False,
    why: Annotated[bool, typer.Option("--why", help="Also show the alternatives of every stage.")] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the plan, to read and edit: FILE.toml or FILE.json."
        ),
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Decide from measurements what each layer of a model runs on, and say why.

    Nothing is run. `cocoi infer --plan FILE` follows a plan that was written with -o.

    Example: cocoi plan vgg16.onnx --devices 10 -o plan.toml
    """
    from cocoi_cli.commands.modelled import Source  # noqa: PLC0415  (numpy, ONNX)
    from cocoi_cli.commands.plan_work import Wish, run  # noqa: PLC0415  (as above)

    source = Source(
        fleet=fleet, profile=profile, devices=devices, gflops=gflops, mbit=mbit, host_gflops=host_gflops
    )  # fmt: skip
    wish = Wish(
        model=model, objective=objective, transport=transport, scheme=scheme, size=size, host=not no_host, why=why,
        output=output, quiet=quiet, json=json,
    )  # fmt: skip
    leave(run(source, wish))
