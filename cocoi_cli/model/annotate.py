"""Labels and preprocessing into a model's metadata: afterwards one file is enough."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from cocoi_cli.model.sources import LABELS_KEY, PREPROCESS_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.model.network import LoadedModel
    from cocoi_cli.model.preprocess import Preprocess


def annotated(model: LoadedModel, labels: Sequence[str] | None, preprocess: Preprocess | None) -> bytes:
    """The model's file with metadata `labels` and `preprocess` replaced where given.

    The file's own bytes are read again and only its metadata change, so that tensors kept in
    other files stay where they are.

    Args:
        model: The model as loaded; not written.
        labels: Names of the classes, or None to leave them.
        preprocess: Description, or None to leave it.

    Returns:
        The serialised `onnx.ModelProto`.
    """
    import onnx  # noqa: PLC0415  (a second to import; `cocoi --help` does not need it)

    proto = onnx.load_model_from_string(Path(model.path).read_bytes())
    entries = {each.key: each.value for each in proto.metadata_props}
    if labels is not None:
        entries[LABELS_KEY] = json.dumps(list(labels), ensure_ascii=False)
    if preprocess is not None:
        entries[PREPROCESS_KEY] = json.dumps(preprocess.document())
    del proto.metadata_props[:]
    for key, value in entries.items():
        proto.metadata_props.add(key=key, value=value)
    return bytes(proto.SerializeToString())
