"""A parser fed with broken frames: it never crashes, and never takes more memory than its limits allow."""

from __future__ import annotations

import gc
import random
import struct
import tracemalloc

import msgpack
import numpy as np
import pytest

from cocoi_agent.wire.frames import Parser
from cocoi_agent.wire.limits import Limits
from tests.agent.samples import SAMPLES, golden_of

FRAMES = 220_000
LIMITS = Limits(max_header=4096, max_tail=1 << 16)
GOLDENS = [golden_of(name) for name in SAMPLES]
VALUES = [
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**63 - 1,
    2**64 - 1,
    0.5,
    float("nan"),
    "",
    "f32",
    "x" * 300,
    [],
    {},
    [[0, 1, 2]],
]


class Watched:
    """Allocates for a parser, and notes the largest message."""

    def __init__(self) -> None:
        self.worst = 0
        self.current = 0

    def __call__(self, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        array = np.empty(shape, dtype)
        self.current += array.nbytes
        self.worst = max(self.worst, self.current)
        return array


def flipped(rng: random.Random, frame: bytes) -> bytes:
    data = bytearray(frame)
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def cut(rng: random.Random, frame: bytes) -> bytes:
    start = rng.randrange(len(frame))
    return frame[:start] + frame[rng.randrange(start, len(frame)) :]


def spliced(rng: random.Random, frame: bytes) -> bytes:
    other = rng.choice(GOLDENS)
    return frame[: rng.randrange(len(frame))] + other[rng.randrange(len(other)) :]


def noise(rng: random.Random, frame: bytes) -> bytes:
    return rng.randbytes(rng.randint(1, 200))


def noisy_header(rng: random.Random, frame: bytes) -> bytes:
    header = rng.randbytes(rng.randint(1, 64))
    return struct.pack(">I", len(header)) + header + rng.randbytes(rng.randint(0, 32))


def changed_field(rng: random.Random, frame: bytes) -> bytes:
    (size,) = struct.unpack_from(">I", frame)
    header = msgpack.unpackb(frame[4 : 4 + size])
    target = header
    if rng.random() < 0.5 and header.get("tensors"):
        target = rng.choice(header["tensors"])
    target[rng.choice([*target, "tail", "chunk"])] = rng.choice(VALUES)
    packed = msgpack.packb(header)
    return struct.pack(">I", len(packed)) + packed + frame[4 + size :]


MUTATIONS = [flipped, cut, spliced, noise, noisy_header, changed_field]


@pytest.mark.parametrize("seed", range(4))
def test_survives_broken_frames_within_its_limits(seed: int) -> None:
    rng = random.Random(seed)
    watched = Watched()
    ended: dict[str, int] = {}
    for index in range(FRAMES // 4):
        watched.current = 0
        parser = Parser(LIMITS, watched)
        frame = MUTATIONS[index % len(MUTATIONS)](rng, rng.choice(GOLDENS))
        received = parser.feed(frame + rng.choice(GOLDENS) if index % 3 else frame)
        word = parser.error.code if parser.error else "message" if received else "more"
        ended[word] = ended.get(word, 0) + 1
    # Two messages at most were begun; none of them may exceed the limit.
    assert watched.worst <= 2 * LIMITS.max_tail
    assert len(ended) >= 8, ended


def test_few_bytes_cannot_ask_for_much_memory() -> None:
    """Nested lists that each announce as many entries as allowed: what unpacking takes is bounded."""
    depth = 500
    header = b"\x81\xa1t" + b"\xdc\x04\x00" * depth
    bombs = [
        struct.pack(">I", len(header)) + header,
        struct.pack(">I", 40) + b"\x81\xa1t\xdd\xff\xff\xff\xff".ljust(40, b"\x00"),
        struct.pack(">I", 40) + b"\xdf\xff\xff\xff\xff".ljust(40, b"\x00"),
        struct.pack(">I", 40) + b"\x81\xa1t\xdb\xff\xff\xff\xff".ljust(40, b"\x00"),
    ]
    tracemalloc.start()
    try:
        for bomb in bombs:
            parser = Parser()
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            parser.feed(bomb)
            assert parser.error is not None
            assert tracemalloc.get_traced_memory()[1] - before < 8 << 20
    finally:
        tracemalloc.stop()


def test_parsing_leaks_nothing() -> None:
    rng = random.Random(9)
    frames = [MUTATIONS[index % len(MUTATIONS)](rng, rng.choice(GOLDENS)) for index in range(600)]

    def feed_all() -> None:
        for frame in frames:
            Parser(LIMITS).feed(frame)

    feed_all()
    tracemalloc.start()
    try:
        feed_all()
        gc.collect()  # errors hold frames that hold them: memory that waits for the collector is not leaked
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(5):
            feed_all()
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 64 << 10
    finally:
        tracemalloc.stop()
