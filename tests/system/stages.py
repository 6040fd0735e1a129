"""What each distributed stage should sum up to: the same cut network in one process, nothing encoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from cocoi_cli.model.layers import Prepared, find_layers
from cocoi_cli.model.network import LoadedModel, LocalStage
from cocoi_cli.model.onnxruntime_session import open_session
from cocoi_cli.model.shapes import resolve_input_shapes
from cocoi_cli.model.stages import cut
from tests.model.reference_run import conv_sums, finished


class Reference:
    """Runs cut networks stage by stage; the last model is kept prepared, since both transports ask for it."""

    def __init__(self) -> None:
        self._prepared: tuple[str, Prepared] | None = None

    def sums(
        self, model: LoadedModel, tensors: Mapping[str, np.ndarray], observed: Mapping[str, np.ndarray]
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Name and float32 sum of every stage of `observed`, computed whole, each from the plain ones before it."""
        if not observed:
            return
        if self._prepared is None or self._prepared[0] != model.sha256:
            shapes = {name: array.shape for name, array in tensors.items()}
            self._prepared = model.sha256, find_layers(model, resolve_input_shapes(model, shapes))
        network = cut(self._prepared[1], frozenset(observed))
        alive = dict(tensors)
        for index, stage in enumerate(network.stages):
            if isinstance(stage, LocalStage):
                needed = {name: alive[name] for name in stage.inputs}
                alive.update(
                    zip(stage.outputs, open_session(stage.model).run(list(stage.outputs), needed), strict=True)
                )
            else:
                sums = conv_sums(stage, alive[stage.input], pieces=1, strips=1, axis=2)
                yield stage.name, sums
                alive[stage.output] = finished(sums, stage.finish)
            for name in [name for name, last in network.last_use.items() if last == index]:
                del alive[name]
