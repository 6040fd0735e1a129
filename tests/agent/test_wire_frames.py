"""Golden frames, and what a parser does with bytes that are not what they should be."""

from __future__ import annotations

import struct

import msgpack
import numpy as np
import pytest

from cocoi_agent.wire.encode import CHUNK, encode, encode_frames
from cocoi_agent.wire.errors import BadTensorError, ProtocolError
from cocoi_agent.wire.frames import Parser, Received
from cocoi_agent.wire.limits import Limits
from cocoi_agent.wire.messages import KINDS, Cancel, Ping, Put, Rows, UnknownMessage
from cocoi_agent.wire.tensors import DTYPES, describe
from tests.agent.samples import GOLDEN, SAMPLES, frame_of, golden_of

TAILS = [b"", b"\x00", golden_of("ping"), golden_of("run")[:50]]


def frame(header: object, tail: bytes = b"") -> bytes:
    packed = msgpack.packb(header)
    return struct.pack(">I", len(packed)) + packed + tail


def check_sample(name: str, received: Received) -> None:
    message, arrays = SAMPLES[name]
    assert received.message == message
    assert len(received.tensors) == len(arrays)
    for found, sent in zip(received.tensors, arrays, strict=True):
        assert found.dtype == sent.dtype
        np.testing.assert_array_equal(found, sent)


def error_of(data: bytes, limits: Limits | None = None) -> str:
    parser = Parser(limits)
    assert parser.feed(data) == []
    assert parser.error is not None
    assert parser.allocated_bytes == 0
    with pytest.raises(type(parser.error)):
        parser.get_buffer()
    return parser.error.code


def test_every_message_has_a_golden_frame() -> None:
    assert set(SAMPLES) == {path.stem for path in GOLDEN.glob("*.hex")}
    assert set(KINDS) <= {message.word for message, _ in SAMPLES.values()}


@pytest.mark.parametrize("name", SAMPLES)
def test_encodes_to_the_golden_frame(name: str) -> None:
    assert frame_of(name).hex() == golden_of(name).hex()


@pytest.mark.parametrize("tail", TAILS, ids=len)
@pytest.mark.parametrize("name", SAMPLES)
def test_reads_the_golden_frame_whole_with_a_tail(name: str, tail: bytes) -> None:
    received = Parser().feed(golden_of(name) + tail)
    check_sample(name, received[0])
    assert len(received) == (2 if tail == golden_of("ping") else 1)


@pytest.mark.parametrize("name", SAMPLES)
def test_reads_the_golden_frame_byte_by_byte(name: str) -> None:
    parser = Parser()
    frame_bytes = golden_of(name)
    for index in range(len(frame_bytes) - 1):
        assert parser.feed(frame_bytes[index : index + 1]) == []
    (received,) = parser.feed(frame_bytes[-1:])
    check_sample(name, received)
    check_sample("ping", parser.feed(golden_of("ping"))[0])


@pytest.mark.parametrize("name", SAMPLES)
def test_a_truncated_frame_is_neither_a_message_nor_an_error(name: str) -> None:
    frame_bytes = golden_of(name)
    for cut in range(len(frame_bytes)):
        parser = Parser()
        assert parser.feed(frame_bytes[:cut]) == []
        assert parser.error is None


def test_all_golden_frames_in_one_stream_cut_anywhere() -> None:
    stream = b"".join(golden_of(name) for name in SAMPLES)
    for step in (2, 3, 7, 64, 1000):
        parser = Parser()
        received = [one for at in range(0, len(stream), step) for one in parser.feed(stream[at : at + step])]
        for name, one in zip(SAMPLES, received, strict=True):
            check_sample(name, one)


@pytest.mark.parametrize("word", DTYPES)
def test_every_type_of_element_survives(word: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(DTYPES[word])
    (received,) = Parser().feed(b"".join(encode(Rows(1, 0, (describe("x", array, 0.25),)), [array])))
    assert received.tensors[0].dtype == array.dtype
    np.testing.assert_array_equal(received.tensors[0], array)
    assert received.message.tensors[0].scale == 0.25


def test_arrays_that_are_not_contiguous_are_sent_in_order() -> None:
    array = np.arange(24).reshape(2, 3, 4)[:, :, ::2].transpose(1, 0, 2)
    (received,) = Parser().feed(b"".join(encode(Rows(1, 0, (describe("x", array),)), [array])))
    np.testing.assert_array_equal(received.tensors[0], array)


def test_empty_tensors_need_no_bytes() -> None:
    arrays = [np.empty((0, 3)), np.ones(2), np.empty((2, 0))]
    specs = tuple(describe(str(at), array) for at, array in enumerate(arrays))
    (received,) = Parser().feed(b"".join(encode(Rows(1, 0, specs), arrays)))
    assert [array.shape for array in received.tensors] == [(0, 3), (2,), (2, 0)]


def test_encoding_refuses_arrays_that_are_not_those_described() -> None:
    array = np.ones(3, np.float32)
    for arrays in ([], [array, array], [array.astype(np.float16)], [array[:2]]):
        with pytest.raises(BadTensorError):
            encode(Rows(1, 0, (describe("x", array),)), arrays)
    with pytest.raises(BadTensorError):
        describe("x", np.ones(2, complex))


def big() -> tuple[Rows, np.ndarray]:
    array = np.random.default_rng(1).integers(0, 255, 2 * CHUNK + 1000, dtype=np.uint8)
    return Rows(4, 0, (describe("x", array),)), array


def test_a_message_without_tensors_overtakes_between_chunks() -> None:
    message, array = big()
    frames = [b"".join(one) for one in encode_frames(message, [array])]
    assert len(frames) == 3
    stream = frames[0] + golden_of("cancel") + golden_of("ping") + frames[1] + golden_of("cancel") + frames[2]
    for step in (1 << 30, 65536, 4099):
        parser = Parser()
        received = [one for at in range(0, len(stream), step) for one in parser.feed(stream[at : at + step])]
        assert [one.message for one in received] == [Cancel(run=7), Ping(99), Cancel(run=7), message]
        np.testing.assert_array_equal(received[-1].tensors[0], array)


def test_tensors_are_read_into_their_own_memory_and_only_the_spill_is_copied() -> None:
    message, array = big()
    parser = Parser()
    stream = memoryview(b"".join(encode(message, [array])))
    direct = 0
    while stream:
        buffer = parser.get_buffer()
        size = min(len(buffer), len(stream))
        direct += size if len(buffer) > 32768 else 0
        buffer[:size] = stream[:size]
        parser.buffer_updated(size)
        stream = stream[size:]
    assert direct > 0.96 * array.nbytes


def test_tensors_may_not_follow_inside_a_split_message() -> None:
    message, array = big()
    first = b"".join(next(iter(encode_frames(message, [array]))))
    parser = Parser()
    assert parser.feed(first + golden_of("put")) == []
    assert parser.error is not None
    assert parser.error.code == "interleaved"


@pytest.mark.parametrize("size", [0, CHUNK + 1001, 0xFFFFFFFF])
def test_a_chunk_must_fit_what_is_missing(size: int) -> None:
    message, array = big()
    frames = [b"".join(one) for one in encode_frames(message, [array])]
    parser = Parser()
    parser.feed(frames[0] + struct.pack(">II", 0, size))
    assert parser.error is not None
    assert parser.error.code == "bad-chunk"


def test_messages_before_a_mistake_are_delivered() -> None:
    parser = Parser()
    received = parser.feed(golden_of("ping") + b"\xff\xff\xff\xff")
    assert [one.message for one in received] == [Ping(99)]
    assert parser.error is not None
    assert parser.error.code == "header-too-large"


ONE = {"name": "x", "dtype": "u8", "shape": [4]}


def rows(tensors: object, **more: object) -> dict[str, object]:
    return {"t": "rows", "run": 1, "start": 0, "tensors": tensors, **more}


HUGE = 1 << 40

MISTAKES = [
    (struct.pack(">I", 65537), "header-too-large"),
    (struct.pack(">II", 0, 5), "bad-chunk"),
    (b"\x00\x00\x00\x01\xc1", "bad-header"),
    (frame([1, 2]), "bad-header"),
    (frame({}), "bad-header"),
    (frame({"t": 5}), "bad-header"),
    (frame({"t": "x" * 65}), "bad-header"),
    (frame({1: 2, "t": "ping"}), "bad-header"),
    (frame({"t": "ping", "token": b"\x00"}), "bad-header"),
    (frame({"t": "ping", "token": msgpack.ExtType(4, b"12")}), "bad-header"),
    (frame({"t": "ping", "a": list(range(1025))}), "bad-header"),
    (frame({"t": "ping", "a": {str(i): 0 for i in range(65)}}), "bad-header"),
    (frame({"t": "ping"}) + b"", "bad-field"),
    (frame({"t": "ping", "token": -1}), "bad-field"),
    (frame({"t": "ping", "token": True}), "bad-field"),
    (frame({"t": "ping", "token": 1.0}), "bad-field"),
    (frame({"t": "ping", "token": 2**63}), "bad-field"),
    (frame({"t": "pong", "token": 1, "clock_s": float("nan")}), "bad-field"),
    (frame({"t": "pong", "token": 1, "clock_s": float("inf")}), "bad-field"),
    (frame({"t": "have", "hashes": ["A" * 64]}), "bad-field"),
    (frame({"t": "have", "hashes": "a" * 64}), "bad-field"),
    (frame({"t": "have", "hashes": ["a" * 63]}), "bad-field"),
    (frame({"t": "hello", "versions": [2, 1]}), "bad-field"),
    (frame({"t": "ping", "token": 1, "tensors": [ONE], "tail": 4}), "bad-field"),
    (frame({"t": "put", "hash": "a" * 64, "tensors": [{**ONE, "dtype": "i8"}], "tail": 4}), "bad-field"),
    (frame({"t": "run", "run": 1, "program": "a" * 64, "parts": [[0, 2, 2]]}), "bad-field"),
    (frame({"t": "run", "run": 1, "program": "a" * 64, "parts": [[0, 2]]}), "bad-field"),
    (frame({"t": "run", "run": 1, "program": "a" * 64, "axis": 8}), "bad-field"),
    (frame({"t": "answer", "run": 1, "part": 0, "status": "maybe"}), "bad-field"),
    (frame(rows([{**ONE, "shape": [-1]}])), "bad-tensor"),
    (frame(rows([{**ONE, "shape": [1.0]}])), "bad-tensor"),
    (frame(rows([{**ONE, "shape": [True]}])), "bad-tensor"),
    (frame(rows([{**ONE, "shape": [2**31]}])), "bad-tensor"),
    (frame(rows([{**ONE, "shape": [2**30, 2**30, 0]}])), "bad-tensor"),
    (frame(rows([{**ONE, "shape": [1] * 9}])), "bad-tensor"),
    (frame(rows([{**ONE, "dtype": "O"}])), "bad-tensor"),
    (frame(rows([{**ONE, "codec": "zip"}])), "bad-tensor"),
    (frame(rows([{**ONE, "scale": 3.0}])), "bad-tensor"),
    (frame(rows([{**ONE, "scale": 0.0}])), "bad-tensor"),
    (frame(rows([{**ONE, "scale": float("inf")}])), "bad-tensor"),
    (frame(rows([{**ONE, "scale": "1"}])), "bad-tensor"),
    (frame(rows([{**ONE, "name": 5}])), "bad-tensor"),
    (frame(rows([ONE] * 65)), "bad-tensor"),
    (frame(rows({})), "bad-tensor"),
    (frame(rows([{**ONE, "shape": [1 << 20, 1 << 20]}], tail=HUGE)), "tail-too-large"),
    (frame(rows([{**ONE, "shape": [200 << 20]}, {**ONE, "shape": [200 << 20]}])), "tail-too-large"),
    (frame(rows([ONE], tail=5)), "tail-mismatch"),
    (frame(rows([ONE], tail=3)), "tail-mismatch"),
    (frame(rows([ONE], tail=-4)), "bad-header"),
    (frame(rows([ONE], tail=4, chunk=5)), "bad-chunk"),
    (frame(rows([ONE], tail=4, chunk=0)), "bad-chunk"),
    (frame(rows([ONE], tail=4, chunk=-1)), "bad-chunk"),
    (frame({"t": "gossip", "tail": HUGE}), "tail-too-large"),
    (frame({"t": "gossip", "must": 1}), "bad-field"),
]


@pytest.mark.parametrize(("data", "code"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_ends_the_parser_with_its_code_before_memory_is_taken(data: bytes, code: str) -> None:
    assert error_of(data) == code


def test_errors_carry_the_deciding_values() -> None:
    parser = Parser(Limits(max_tail=10))
    parser.feed(frame(rows([{**ONE, "shape": [11]}])))
    assert str(parser.error) == "tensors of 11 bytes are announced; the limit is 10"


def test_unknown_keys_are_ignored() -> None:
    (received,) = Parser().feed(frame({"t": "ping", "token": 4, "colour": {"deep": [1, None]}}))
    assert received.message == Ping(4)


def test_unknown_messages_are_reported_and_their_tail_is_dropped() -> None:
    parser = Parser()
    data = frame({"t": "gossip", "tensors": "of another kind", "tail": 7, "chunk": 3}, b"abc")
    data += struct.pack(">II", 0, 4) + b"defg" + golden_of("ping")
    first, second = parser.feed(data)
    assert (first.message, second.message) == (UnknownMessage("gossip"), Ping(99))
    assert parser.allocated_bytes == 0


def test_tensors_that_are_not_admitted_are_read_and_dropped() -> None:
    asked = []

    def admit(message: object, size: int) -> bool:
        asked.append(size)
        return False

    message, array = big()
    parser = Parser(admit=admit)
    received = parser.feed(b"".join(encode(message, [array])) + golden_of("put"))
    assert [one.message for one in received] == [message, SAMPLES["put"][0]]
    assert [one.tensors for one in received] == [(), ()]
    assert asked == [array.nbytes, 5]
    assert parser.allocated_bytes == 0


def test_memory_comes_from_the_hook() -> None:
    pool = np.empty(5, np.uint8)
    parser = Parser(allocate=lambda dtype, shape: pool.view(dtype).reshape(shape))
    (received,) = parser.feed(golden_of("put"))
    assert received.tensors[0] is not None
    assert np.shares_memory(received.tensors[0], pool)
    assert pool.tolist() == [0, 1, 2, 3, 4]


def test_limits_may_change_between_messages() -> None:
    parser = Parser(Limits(max_tail=4))
    check_sample("ping", parser.feed(golden_of("ping"))[0])
    parser.limits = Limits(max_tail=5)
    assert isinstance(parser.feed(golden_of("put"))[0].message, Put)


def test_every_protocol_error_has_its_own_code() -> None:
    kinds = ProtocolError.__subclasses__()
    assert len({kind.code for kind in kinds} | {ProtocolError.code}) == len(kinds) + 1
