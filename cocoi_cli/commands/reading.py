"""From the names that a user typed to a model and its tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from cocoi_cli.model.arrays import read_arrays
from cocoi_cli.model.images import read_image
from cocoi_cli.model.inputs import NoSuchFileError, UnreadableFileError, is_array, reason
from cocoi_cli.model.load import load_model
from cocoi_cli.model.pictures import ImageInput, image_input, prepare
from cocoi_cli.model.sources import find_preprocess

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL import Image

    from cocoi_cli.model.network import LoadedModel
    from cocoi_cli.model.sources import FoundPreprocess

AnyArray = NDArray[Any]


@dataclass(frozen=True, slots=True)
class InputTensors:
    """One input, ready to run.

    Attributes:
        tensors: ONNX input name to array.
        picture: The picture at the size that the model sees; None for arrays.
        warnings: What the user should know.
    """

    tensors: Mapping[str, AnyArray]
    picture: Image.Image | None
    warnings: tuple[str, ...]


def open_model(name: str | None) -> LoadedModel:
    """Load the model of that file name, else the shipped model of that name; None is the default model.

    Raises:
        NoSuchFileError, UnreadableFileError: If there is neither, or the file cannot be read.
        ModelError: If the file is unfit.
    """
    from cocoi_cli.shipped import shipped_model  # noqa: PLC0415  (only some commands look for it)

    if name is None or is_shipped(name):
        return load_model(shipped_model())
    path = Path(name)
    if not path.exists():
        raise NoSuchFileError(name, "model")
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise UnreadableFileError(name, reason(error)) from error
    return load_model(path)


def is_shipped(name: str) -> bool:
    """Whether this is the bare name of a model that comes with cocoi, and no file of the user's."""
    from cocoi_cli.shipped import shipped_model  # noqa: PLC0415  (as above)

    path = Path(name)
    return path.name == name and not path.suffix and not path.exists() and name == shipped_model().stem


class Reader:
    """Reads inputs for one model; what pictures need is looked up once.

    Attributes:
        found: How pictures are prepared; None while only arrays are read.
        target: The input that takes pictures; None likewise.
    """

    def __init__(self, model: LoadedModel, preprocess: str | None, *, pictures: bool) -> None:
        self._model = model
        self.found: FoundPreprocess | None = None
        self.target: ImageInput | None = None
        if pictures:
            named = find_preprocess(model, None, preprocess)
            layout = named.how.layout if named.warning is None else None
            self.target = image_input(model, layout)
            # ImageNet's custom depends on the input it is for.
            self.found = named if named.warning is None else find_preprocess(model, self.target)

    def read(self, name: str) -> InputTensors:
        """Read one input.

        Raises:
            UsageError: If the file is unfit, or does not fit the model.
            ConfigurationError: If the preprocessing does not fit the model.
        """
        if is_array(name):
            return InputTensors(read_arrays(name, self._model), None, ())
        if self.found is None or self.target is None:
            raise NoSuchFileError(name)
        ready = prepare(read_image(name), self.found.how, self.target, self.found.source)
        return InputTensors({self.target.name: ready.tensor}, ready.picture, ready.warnings)
