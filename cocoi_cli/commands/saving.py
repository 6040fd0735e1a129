"""Where results go with `-o`, found out before the inference, written after it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cocoi_cli.commands.request import is_folder
from cocoi_cli.files import check_writable, make_folder, write
from cocoi_cli.model.drawing import NoPictureOutputError, draw, drawable
from cocoi_cli.model.pictures import shape_text
from cocoi_cli.views.json_form import json_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.commands.reading import InputTensors
    from cocoi_cli.model.network import LoadedModel
    from cocoi_cli.model.preprocess import Preprocess
    from cocoi_cli.runtime.report import InferenceReport


class Saver:
    """Writes the results of one command.

    A folder gets a picture for each input of a model that makes pictures, else `.npz`;
    files are named after the inputs, with a number where two would be the same.
    """

    def __init__(
        self, output: str | None, inputs: Sequence[str], model: LoadedModel, labels: Sequence[str] | None
    ) -> None:
        self._output = output
        self._labels = labels
        self._paths: tuple[str, ...] = ()
        self._folder = output is not None and is_folder(output)
        if output is None:
            return
        if self._folder:
            make_folder(output)
            self._paths = _inside(output, inputs)
            return
        if Path(output).suffix.lower() == ".png" and not any(
            drawable(each.shape, each.dtype, labels) for each in model.outputs
        ):
            raise NoPictureOutputError(model.name, {each.name: shape_text(each) for each in model.outputs})
        check_writable(output)
        self._paths = (output,) * len(inputs)

    def save(self, index: int, report: InferenceReport, read: InputTensors, how: Preprocess | None) -> str | None:
        """Write the result of one input; returns the path, or None where nothing is written yet.

        Raises:
            NoPictureOutputError: If a picture is asked for and none is made.
            OutputNotWritableError: If the system refuses.
        """
        if not self._paths:
            return None
        path = self._paths[index]
        suffix = "" if self._folder else Path(path).suffix.lower()
        if suffix == ".json":
            return None
        picture = None if suffix == ".npz" else draw(report.outputs, how, read.picture, self._labels)
        if suffix == ".png" and picture is None:
            shapes = {
                name: f"{'x'.join(map(str, array.shape))} {array.dtype.name}" for name, array in report.outputs.items()
            }
            raise NoPictureOutputError(report.model, shapes)
        if self._folder:
            path += ".npz" if picture is None else ".png"
        buffer = io.BytesIO()
        if picture is None:
            # Keys may be any text, also `file` or `a/b`, which keyword arguments of savez would confuse.
            _savez(buffer, report)
        else:
            picture.save(buffer, format="PNG")
        write(path, buffer.getvalue())
        return path

    def save_document(self, document: Any) -> str | None:  # noqa: ANN401  (a JSON tree)
        """Write the document of the whole command where `-o` asks for one; returns the path."""
        if self._output is None or self._folder or Path(self._output).suffix.lower() != ".json":
            return None
        write(self._output, json_text(document).encode())
        return self._output


def _inside(folder: str, inputs: Sequence[str]) -> tuple[str, ...]:
    paths: list[str] = []
    for name in inputs:
        stem, number = Path(name).stem, 1
        while (path := str(Path(folder) / (stem if number == 1 else f"{stem}-{number}"))) in paths:
            number += 1
        paths.append(path)
    return tuple(paths)


def _savez(buffer: io.BytesIO, report: InferenceReport) -> None:
    import zipfile  # noqa: PLC0415  (only when arrays are written)

    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in report.outputs.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
