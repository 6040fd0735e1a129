"""What a fleet is taken to be where nobody has measured one: Raspberry Pi 4s on a gigabit switch, the host one too."""

from __future__ import annotations

from typing import Final

DEVICES: Final = 10
MOST_DEVICES: Final = 1000
GFLOPS: Final = 10.0  # one core with ONNX Runtime
MBIT: Final = 940.0  # of a gigabit link, beside Ethernet, IP and TCP

# Of the host: one pass over memory, and its Python and sockets for one share (docs/simulation.md).
PASS_BYTES_PER_S: Final = 5e9
TASK_S: Final = 0.0004
