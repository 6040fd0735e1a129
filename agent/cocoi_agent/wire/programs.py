"""The name of a program: a digest of what it is made of, equal on host and agent."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_agent.wire.messages import Binding


def program_id(graph: str, bindings: Sequence[Binding], *, linear: bool = False) -> str:
    """SHA-256 in hex over the canonical JSON of graph, bindings in order, and `linear`.

    Args:
        graph: SHA-256 of the ONNX model.
        bindings: As in the `Load`.
        linear: As in the `Load`.

    Source: docs/protocol.md, programs.
    """
    parts = [[b.name, b.blob, b.dtype, list(b.shape), b.how] for b in bindings]
    text = json.dumps([graph, parts, linear], separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
