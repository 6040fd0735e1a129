"""`cocoi model`: its options. The work is in `cocoi_cli.commands.models`."""

from __future__ import annotations

from typing import Annotated

import typer

from cocoi_cli.commands.options import Json, Model  # noqa: TC001 - typer reads annotations

app = typer.Typer(
    name="model",
    help="Look at models, and write labels and preprocessing into them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("list")
def list_models(*, json: Json = False) -> None:
    """List the models that come with cocoi."""
    from cocoi_cli.commands.models import show_list  # noqa: PLC0415  (ONNX)

    show_list(json=json)


@app.command("info")
def info(model: Model, *, json: Json = False) -> None:
    """Show inputs, outputs, labels, preprocessing and conv layers of a model."""
    from cocoi_cli.commands.models import show_info  # noqa: PLC0415  (ONNX)

    show_info(model, json=json)


@app.command("annotate")
def annotate(
    model: Model,
    *,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="L", help="Labels to write: one per line, or JSON.")
    ] = None,
    preprocess: Annotated[
        str | None, typer.Option("--preprocess", metavar="P", help="Preprocessing to write: JSON.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="OUT", help="Write a copy instead of changing MODEL.")
    ] = None,
    json: Json = False,
) -> None:
    """Write labels and preprocessing into a model file: afterwards one file is enough."""
    from cocoi_cli.commands.models import annotate_model  # noqa: PLC0415  (ONNX)

    annotate_model(model, labels=labels, preprocess=preprocess, output=output, json=json)
