"""One message of every type, with its arrays: what the golden frames hold.

`python -m tests.agent.samples` writes the frames of messages that have none yet; a
changed byte in an existing one is a changed protocol version.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cocoi_agent.wire.encode import encode
from cocoi_agent.wire.messages import (
    Answer,
    AskVitals,
    Binding,
    Bye,
    Cancel,
    Credit,
    Fault,
    Have,
    Hello,
    Load,
    Loaded,
    Message,
    Missing,
    Part,
    Ping,
    Pong,
    Put,
    Rows,
    Run,
    Skip,
    Status,
    Stored,
    UnknownMessage,
    Vitals,
    Welcome,
)
from cocoi_agent.wire.programs import program_id
from cocoi_agent.wire.tensors import AnyArray, TensorSpec, describe

GOLDEN = Path(__file__).parent / "golden"

BLOB = np.arange(5, dtype=np.uint8)
HASH = "08bb5e5d6eaac1049ede0893d30ed022b1a4d9b5b48db414871f51c9cb35283d"
OTHER = "0" * 64
BINDINGS = (Binding("w", HASH, "f32", (2, 1, 3, 3)), Binding("b", OTHER, "i64", (4,), "initializer"))
X = (np.arange(12, dtype=np.float16) / 4).reshape(1, 2, 3, 2)
FLAG = np.array([True, False])
Y = np.array([[1.5, -2.0]], np.float16)

SAMPLES: dict[str, tuple[Message, tuple[AnyArray, ...]]] = {
    "hello": (Hello((1, 1), "cocoi 0.1.0", ("rows",), "laptop", 1 << 28, 1 << 26), ()),
    "welcome": (
        Welcome(1, "pi-3", "cocoi-agent 0.1.0", ("rows", "linear"), {"cores": 4}, 1 << 28, 1 << 28, 1024, 1 << 26),
        (),
    ),
    "have": (Have((HASH, OTHER)), ()),
    "missing": (Missing((OTHER,)), ()),
    "put": (Put(HASH, (describe("blob", BLOB),)), (BLOB,)),
    "stored": (Stored(HASH), ()),
    "load": (Load(program_id(OTHER, BINDINGS, linear=True), OTHER, BINDINGS, linear=True), ()),
    "loaded": (Loaded(program_id(OTHER, BINDINGS, linear=True)), ()),
    "run": (
        Run(
            run=7,
            stream=2,
            codeword=31,
            program=OTHER,
            tensors=(describe("x", X, 2.0**-3), describe("flag", FLAG)),
            axis=2,
            parts=(Part(1, 1, 3), Part(0, 0, 2)),
            deadline_s=1.5,
            priority=-1,
            rows_total=6,
            reply_dtype="f16",
        ),
        (X, FLAG),
    ),
    "rows": (Rows(7, 3, (describe("x", X, 2.0**-3),)), (X,)),
    "answer": (
        Answer(
            run=7,
            stream=2,
            codeword=31,
            part=1,
            status=Status.DONE,
            tensors=(describe("y", Y, 4.0),),
            received_s=10.25,
            started_s=10.5,
            finished_s=10.75,
            backlog=3,
        ),
        (Y,),
    ),
    "answer-refused": (Answer(8, 0, 0, 2, Status.REFUSED, code="memory", message="9 bytes do not fit"), ()),
    "skip": (Skip(7, (0, 3)), ()),
    "cancel": (Cancel(run=7), ()),
    "cancel-stream": (Cancel(stream=2), ()),
    "ping": (Ping(99), ()),
    "pong": (Pong(99, 12.5), ()),
    "ask-vitals": (AskVitals(), ()),
    "vitals": (Vitals(48.5, False, None, 0.25, 70 << 20, 3 << 30, 1.5, 2, 40, 1 << 20, 60.0), ()),
    "credit": (Credit(4096), ()),
    "fault": (Fault("missing-blob", "the store holds no such blob", HASH), ()),
    "bye": (Bye("done"), ()),
    "unknown": (UnknownMessage("gossip", must=True), ()),
    "scalar": (Rows(1, 0, (TensorSpec("s", "f64", ()),)), (np.array(2.5),)),
}


def frame_of(name: str) -> bytes:
    """The bytes of a sample as they are encoded now."""
    message, arrays = SAMPLES[name]
    return b"".join(encode(message, arrays))


def golden_of(name: str) -> bytes:
    """The bytes of a sample as they are kept."""
    return bytes.fromhex((GOLDEN / f"{name}.hex").read_text())


if __name__ == "__main__":
    for sample in SAMPLES:
        path = GOLDEN / f"{sample}.hex"
        if not path.exists():
            path.write_text("\n".join(frame_of(sample).hex()[i : i + 96] for i in range(0, 1 << 20, 96)).strip() + "\n")
