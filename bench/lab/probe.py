"""How fast a place convolves: one slice of a VGG16 layer, over and over, as an agent computes it.

    python -m bench.lab.probe SECONDS

Says `ready` when everything is loaded and warm, waits for a line on standard input, computes
for so long, and prints the seconds of each turn as JSON. Whoever started it puts it under a
quota in between, so that only computing is slow.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Final

import numpy as np

from cocoi_agent.quiet import load_runtime

CHANNELS: Final = 256
ROWS, WIDTH, KERNEL = 12, 56, 3
GFLOP: Final = 2 * KERNEL**2 * CHANNELS**2 * ROWS * WIDTH / 1e9
"""Of one turn: 0.79."""

_WARM_UP: Final = 3


def main() -> None:
    """Measure."""
    load_runtime(silent=True)
    from cocoi_agent.engine import new_session  # noqa: PLC0415 - it imports ONNX Runtime
    from cocoi_agent.graphs import conv_model  # noqa: PLC0415 - with it

    rng = np.random.default_rng(1)
    session = new_session(conv_model())
    x = rng.standard_normal((1, CHANNELS, ROWS + KERNEL - 1, WIDTH + KERNEL - 1)).astype(np.float16)
    w = rng.standard_normal((CHANNELS, CHANNELS, KERNEL, KERNEL)).astype(np.float32)

    def turn() -> float:
        begun = time.perf_counter()
        session.run(["y32"], {"x": x, "w": w})
        return time.perf_counter() - begun

    for _ in range(_WARM_UP):
        turn()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    end = time.perf_counter() + float(sys.argv[1])
    turns = []
    while time.perf_counter() < end:
        turns.append(turn())
    json.dump(turns, sys.stdout)


if __name__ == "__main__":
    main()
