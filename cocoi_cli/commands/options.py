"""Options that several commands share, so that they read the same everywhere. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import typer

DEFAULT_AGENTS = 6
Transport = Literal["f16", "f32"]

Devices = Annotated[
    list[str] | None,
    typer.Argument(metavar="DEVICE", show_default=False, help="Names in the fleet. [default: all]"),
]
FleetOption = Annotated[
    str | None,
    typer.Option("--fleet", metavar="F", help="Fleet file. [default: $COCOI_FLEET, else fleet.toml of the user]"),
]
# What is computed with: `infer` and `bench` use a fleet that may not be there, `plan` and `simulate` may assume one.
UsableFleet = Annotated[
    str | None,
    typer.Option("--fleet", metavar="F", help="Fleet file. [default: $COCOI_FLEET, else your own if you have one]"),
]
Embedded = Annotated[
    int | None,
    typer.Option(
        "--embedded",
        metavar="N",
        help=f"Start N agents on this machine instead. [default: {DEFAULT_AGENTS}, if there is no fleet file]",
    ),
]
Profile = Annotated[
    str | None,
    typer.Option("--profile", metavar="P", help="Measurements of the fleet. [default: of `cocoi profile`]"),
]
AssumedGflops = Annotated[
    float | None, typer.Option("--gflops", metavar="G", help="GFLOP/s of each assumed device. [default: 10]")
]
AssumedMbit = Annotated[
    float | None, typer.Option("--mbit", metavar="B", help="Mbit/s of each assumed link. [default: 940]")
]
HostGflops = Annotated[
    float | None,
    typer.Option(
        "--host-gflops",
        metavar="G",
        help="Assume so many GFLOP/s of this machine. [default: measured; beside assumed devices, as theirs]",
    ),
]

# What is computed, and how.
Model = Annotated[
    str, typer.Argument(metavar="MODEL", show_default=False, help="ONNX file, or name of a shipped model.")
]
TransportOption = Annotated[
    Transport, typer.Option("--transport", metavar="T", help="Numbers on the wire: f16 or f32.")
]
Shares = Annotated[
    int | None, typer.Option("--n", metavar="N", help="Agents that get a share. [default: all that are up]")
]
ToleranceOption = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        metavar="E",
        help="Largest difference from plain ONNX Runtime, over the largest value. "
        "[default: f16 1e-2, f32 1e-4, models in float16 4e-3]",
        show_default=False,
    ),
]
Deadline = Annotated[
    float, typer.Option("--deadline", metavar="S", help="Seconds until agents are waited for no longer.")
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of everything that is drawn.")]

AcceptNew = Annotated[
    bool, typer.Option("--accept-new", help="Trust host keys never seen before without asking; changed ones never.")
]
PasswordFile = Annotated[
    str | None, typer.Option("--password-file", metavar="F", help="File with the SSH password in its first line.")
]
SudoPasswordFile = Annotated[
    str | None, typer.Option("--sudo-password-file", metavar="F", help="File with the sudo password in its first line.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Agree to every question, but never to an unknown host key.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only results, warnings and errors.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a command goes about its work, from the options above.

    Attributes:
        fleet: Fleet file, or None.
        accept_new: Whether unknown host keys are trusted.
        password_file: File with the SSH password, or None.
        sudo_password_file: File with the sudo password, or None.
        yes: Whether questions are agreed to beforehand.
        quiet: Whether to be brief.
        json: Whether standard output gets a document.
    """

    fleet: str | None = None
    accept_new: bool = False
    password_file: str | None = None
    sudo_password_file: str | None = None
    yes: bool = False
    quiet: bool = False
    json: bool = False


def leave(status: int) -> None:
    """End a command with an exit status; 0 just returns."""
    if status:
        raise typer.Exit(status)
