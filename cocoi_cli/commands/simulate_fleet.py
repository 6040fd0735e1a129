"""What a fleet is taken to be where nobody has measured one: Raspberry Pi 4s on a gigabit switch, the host one too."""

from __future__ import annotations

from typing import Final

DEVICES: Final = 10
MOST_DEVICES: Final = 1000
GFLOPS: Final = 10.0  # one core with ONNX Runtime
MBIT: Final = 940.0  # of a gigabit link, beside Ethernet, IP and TCP

# What the times of devices that were measured are drawn from.
SHIFT_EXPONENTIAL: Final = "shift-exponential"
EMPIRICAL: Final = "empirical"
LATENCIES: Final = (SHIFT_EXPONENTIAL, EMPIRICAL)

# Of the host: one pass over memory, and its Python and sockets for one share (docs/simulation.md).
PASS_BYTES_PER_S: Final = 5e9
TASK_S: Final = 0.0004
