"""The typer application: what can be typed. Nothing heavy is imported here, so that help is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from cocoi_cli.commands import (
    bench,
    deploy,
    doctor,
    drain,
    fleet,
    infer,
    model,
    operate,
    plan,
    profile,
    simulate,
    status,
)

# The backspace keeps click from joining the lines.
EPILOG = """\b
Exit status:
    0  done
    1  failed: a check over its tolerance, an output that cannot be written
    2  usage: options or input files that do not fit
    3  configuration: a model, labels, preprocessing or fleet file is unfit
    4  fleet: agents are missing, refuse or do not answer
    5  cannot decode: too few answers, and this machine may not help
   70  a bug in cocoi
  130  interrupted
  143  ended by SIGTERM (129: by SIGHUP)
"""

app = typer.Typer(
    name="cocoi",
    help="Coded inference of ONNX CNNs: any k of n agents are enough, slow or dead ones cost nothing.",
    epilog=EPILOG,
    no_args_is_help=True,
    # Plain help starts quickly, and reads the same in a pipe.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("infer")(infer.infer)
app.command("plan")(plan.plan)
app.command("simulate")(simulate.simulate)
app.command("bench")(bench.bench)
app.add_typer(model.app, name="model")
app.add_typer(fleet.app, name="fleet")
app.command("profile")(profile.profile)
app.command("deploy")(deploy.deploy)
app.command("status")(status.status)
app.command("logs")(operate.logs)
app.command("doctor")(doctor.doctor)
app.command("restart")(operate.restart)
app.command("rollback")(operate.rollback)
app.command("drain")(drain.drain)
app.command("rotate")(operate.rotate)
app.command("uninstall")(operate.uninstall)


def _version(*, wanted: bool) -> None:
    if wanted:
        from cocoi_agent import __version__  # noqa: PLC0415  (only when asked for)

        typer.echo(f"cocoi {__version__}")
        raise typer.Exit


@app.callback()
def cocoi(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=lambda value: _version(wanted=value), is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Coded inference of ONNX CNNs: any k of n agents are enough, slow or dead ones cost nothing."""
    del version
