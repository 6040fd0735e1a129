"""Every message, as a frozen record that checks itself when it is read.

`word` is the type word on the wire. Records with a field `tensors` may be followed
by arrays, described in the same order. (H) is sent by the host, (A) by the agent.
Fields named `*_s` are seconds; `run`, `stream` and `codeword` are numbers that the
host chooses and the agent only repeats.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias

from cocoi_agent.wire.errors import BadFieldError
from cocoi_agent.wire.fields import Fields, is_digest
from cocoi_agent.wire.limits import MAX_INDEX, MAX_NAME, MAX_TEXT, Limits
from cocoi_agent.wire.tensors import DTYPES, Shape, TensorSpec, read_shape

if TYPE_CHECKING:
    from collections.abc import Mapping

Tensors: TypeAlias = tuple[TensorSpec, ...]

BINDING_KINDS: Final = frozenset({"input", "initializer"})
REPLY_DTYPES: Final = frozenset({"f16", "f32"})
ANSWER_CREDIT: Final = "answer-credit"
"""Feature of a host that takes the credit of an ended run out of its last answer, which saves a message for each."""


class Status(StrEnum):
    """How a part of a run ended; every part ends exactly once."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    EXPIRED = "expired"
    REFUSED = "refused"


STATUSES: Final = frozenset(status.value for status in Status)


@dataclass(frozen=True, slots=True)
class Hello:
    """(H) The first message: who asks, and what it can take.

    Attributes:
        versions: Lowest and highest protocol version.
        software: Name and version of the host's software, for logs.
        features: Words of optional abilities.
        name: Who is calling, for logs.
        max_tail: Bytes of tensors in one message that the host accepts.
        credit: Bytes of answer tensors that may be on their way, unreturned.
    """

    word: ClassVar[str] = "hello"
    versions: tuple[int, int]
    software: str
    features: tuple[str, ...]
    name: str
    max_tail: int
    credit: int

    @classmethod
    def read(cls, f: Fields, tensors: Tensors) -> Hello:
        """Check the fields."""
        return cls(
            _versions(f),
            f.text("software"),
            f.texts("features"),
            f.text("name"),
            f.integer("max_tail"),
            f.integer("credit"),
        )


@dataclass(frozen=True, slots=True)
class Welcome:
    """(A) The answer to a `Hello`: the version that both will talk, and what the agent is.

    Attributes:
        version: The protocol version of this connection.
        agent: The agent's name.
        software: Name and version of the agent's software.
        features: Words of optional abilities.
        machine: Facts such as `cores`, `memory_bytes`, `arch`, `onnxruntime`, `system`.
        max_tail: Bytes of tensors in one message that the agent accepts.
        memory_limit: Bytes of run tensors that the agent holds at once, all hosts together.
        queue_limit: Parts that may wait at the agent, all hosts together.
        credit: Bytes of run tensors that may be on their way, unreturned.
    """

    word: ClassVar[str] = "welcome"
    version: int
    agent: str
    software: str
    features: tuple[str, ...]
    machine: Mapping[str, str | int | float]
    max_tail: int
    memory_limit: int
    queue_limit: int
    credit: int

    @classmethod
    def read(cls, f: Fields, tensors: Tensors) -> Welcome:
        """Check the fields."""
        return cls(
            f.integer("version", 1, MAX_INDEX),
            f.text("agent"),
            f.text("software"),
            f.texts("features"),
            _machine(f),
            f.integer("max_tail"),
            f.integer("memory_limit"),
            f.integer("queue_limit"),
            f.integer("credit"),
        )


@dataclass(frozen=True, slots=True)
class Have:
    """(H) Asks which of these blobs the agent does not hold."""

    word: ClassVar[str] = "have"
    hashes: tuple[str, ...]

    @classmethod
    def read(cls, f: Fields, tensors: Tensors) -> Have:
        """Check the fields."""
        return cls(f.digests("hashes"))


@dataclass(frozen=True, slots=True)
class Missing:
    """(A) The blobs of a `Have` that must be put."""

    word: ClassVar[str] = "missing"
    hashes: tuple[str, ...]

    @classmethod
    def read(cls, f: Fields, tensors: Tensors) -> Missing:
        """Check the fields."""
        return cls(f.digests("hashes"))


@dataclass(frozen=True, slots=True)
class Put:
    """(H) One blob, as one tensor of bytes (`u8`, one axis)."""

    word: ClassVar[str] = "put"
    hash: str
    tensors: Tensors

    @classmethod
    def read(cls, f: Fields, tensors: Tensors) -> Put:
        """Check the fields."""
        if len(tensors) != 1 or tensors[0].dtype != "u8" or len(tensors[0].shape) != 1:
            raise BadFieldError(cls.word, "tensors", "one tensor of bytes with one axis", len(tensors))
        return cls(f.digest("hash"), tensors)


@dataclass(frozen=True, slots=True)
class Stored:
    """(A) The blob was checked and is in the store."""

    word: ClassVar[str] = "stored"
    hash: str

    @classmethod
    def read(cls, f: Fields, tensors: Tensors) -> Stored:
        """Check the fields."""
        return cls(f.digest("hash"))


@dataclass(frozen=True, slots=True)
class Binding:
    """A tensor that belongs to a program: a blob seen as an array.

    Attributes:
        name: ONNX name of the graph input it feeds.
        blob: SHA-256 of the stored bytes.
        dtype: A word of `DTYPES`.
        shape: Sizes; their product times the element size is the blob's length.
        how: `input` (fed at every run; the session is shared by all programs of the
            graph) or `initializer` (built into a session of its own).
    """

    name: str
    blob: str
    dtype: str
    shape: Shape
    how: str = "input"


@dataclass(frozen=True, slots=True)
class Load:
    """(H) Makes a program ready: an ONNX graph and the tensors bound to it.

    Attributes:
        program: `program_id` of the rest; the agent checks it.
        graph: SHA-256 of the serialised ONNX model.
        bindings: Tensors by hash.
        linear: Whether scaling the run's tensors scales the float outputs alike.
    """

    word: ClassVar[str] = "load"
    program: str
    graph: str
    bindings: tuple[Binding, ...]
    linear: bool = False

    @classmethod
    def read(cls, f: Fields, tensors: Tensors) -> Load:
        """Check the fields."""
        bindings = f.items("bindings", _read_binding, absent_is_empty=True)
        return cls(f.digest("program"), f.digest("graph"), bindings, f.flag("linear", default=False))


@dataclass(frozen=True, slots=True)
class Loaded:
    """(A) The program is ready."""

    word: ClassVar[str] = "loaded"
    program: str

    @classmethod
    def read(cls, f: Fields, tensors: Tensors) -> Loaded:
        """Check the fields."""
        return cls(f.digest("program"))


@dataclass(frozen=True, slots=True)
class Part:
    """A strip to compute: rows [start, stop) of the run's tensors, answered under `part`."""

    part: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Run:
    """(H) Runs a program on tensors, part by part in the order given.

    Attributes:
        run: Number of this run, unused among the connection's unfinished runs.
        stream: What a `Cancel` by stream refers to.
        codeword: Repeated in the answers.
        program: A loaded program.
        tensors: Its inputs by name, without those that are bound.
        axis: The axis along which parts slice every tensor of the run.
        parts: What to compute, in order; empty: once, on whole tensors, as part 0.
        deadline_s: Parts not begun this long after arrival end as `expired`.
        priority: Higher runs first; equal ones in order of arrival.
        rows_total: If set, the tensors hold only the first rows along `axis` and
            `Rows` messages bring the rest up to this many.
        reply_dtype: `f16` or `f32` picks among paired outputs; None sends all.
    """

    word: ClassVar[str] = "run"
    run: int
    stream: int
    codeword: int
    program: str
    tensors: Tensors
    axis: int = 0
    parts: tuple[Part, ...] = ()
    deadline_s: float | None = None
    priority: int = 0
    rows_total: int | None = None
    reply_dtype: str | None = None

    @classmethod
    def read(cls, f: Fields, tensors: Tensors) -> Run:
        """Check the fields."""
        return cls(
            run=f.integer("run"),
            stream=f.integer("stream", default=0),
            codeword=f.integer("codeword", default=0),
            program=f.digest("program"),
            tensors=tensors,
            axis=f.integer("axis", 0, 7, default=0),
            parts=f.items("parts", _read_part, absent_is_empty=True),
            deadline_s=f.real_or_none("deadline_s", low=0.0),
            priority=f.integer("priority", -MAX_INDEX, MAX_INDEX, default=0),
            rows_total=f.integer_or_none("rows_total", 0, MAX_INDEX),
            reply_dtype=f.word_or_none("reply_dtype", REPLY_DTYPES),
        )


@dataclass(frozen=True, slots=True)
class Rows:
    """(H) The next rows of every tensor of a run that began with `rows_total` set.

    Attributes:
        run: The run they belong to.
        start: Index of the first row; rows come without gaps, in order.
        tensors: Named and typed as in the run.
    """

    word: ClassVar[str] = "rows"
    run: int
    start: int
    tensors: Tensors

    @classmethod
    def read(cls, f: Fields, tensors: Tensors) -> Rows:
        """Check the fields."""
        return cls(f.integer("run"), f.integer("start", 0, MAX_INDEX), tensors)


@dataclass(frozen=True, slots=True)
class Answer:
    """(A) How a part ended, with the program's outputs if it was computed.

    Attributes:
        run, stream, codeword, part: As in the run.
        status: How it ended.
        tensors: Outputs by name; none unless `done`.
        code: Word of the error of a `failed` or `refused` part, else empty.
        message: The same in a sentence, else empty.
        received_s: When the run had arrived, on the agent's monotonic clock.
        started_s: When computing began; equals `finished_s` if it never did.
        finished_s: When it ended.
        backlog: Parts that wait or run at the agent after this one, all hosts together.
        row_start: First row of the outputs that this message holds.
        last: Whether the part has no further answer.
        credit: Bytes of run tensors that are given back with it, to a host with the feature `answer-credit`.
    """

    word: ClassVar[str] = "answer"
    run: int
    stream: int
    codeword: int
    part: int
    status: Status
    tensors: Tensors = ()
    code: str = ""
    message: str = ""
    received_s: float = 0.0
    started_s: float = 0.0
    finished_s: float = 0.0
    backlog: int = 0
    row_start: int = 0
    last: bool = True
    credit: int | None = None

    @classmethod
    def read(cls, f: Fields, tensors: Tensors) -> Answer:
        """Check the fields."""
        return cls(
            run=f.integer("run"),
            stream=f.integer("stream", default=0),
            codeword=f.integer("codeword", default=0),
            part=f.integer("part", 0, MAX_INDEX),
            status=Status(f.word_of("status", STATUSES)),
            tensors=tensors,
            code=f.text("code", default=""),
            message=f.text("message", MAX_TEXT, default=""),
            received_s=f.real("received_s", default=0.0),
            started_s=f.real("started_s", default=0.0),
            finished_s=f.real("finished_s", default=0.0),
            backlog=f.integer("backlog", default=0),
            row_start=f.integer("row_start", 0, MAX_INDEX, default=0),
            last=f.flag("last", default=True),
            credit=f.integer_or_none("credit"),
        )


@dataclass(frozen=True, slots=True)
class Skip:
    """(H) Drops parts of a run that have not begun; they end as `skipped`."""

    word: ClassVar[str] = "skip"
    run: int
    parts: tuple[int, ...]

    @classmethod
    def read(cls, f: Fields, tensors: Tensors) -> Skip:
        """Check the fields."""
        return cls(f.integer("run"), f.items("parts", _read_index))


@dataclass(frozen=True, slots=True)
class Cancel:
    """(H) Ends one run, every run of a stream, or (both None) all of the connection."""

    word: ClassVar[str] = "cancel"
    run: int | None = None
    stream: int | None = None

    @classmethod
    def read(cls, f: Fields, tensors: Tensors) -> Cancel:
        """Check the fields."""
        return cls(f.integer_or_none("run"), f.integer_or_none("stream"))


@dataclass(frozen=True, slots=True)
class Ping:
    """(H, A) Asks for a `Pong` with the same token."""

    word: ClassVar[str] = "ping"
    token: int

    @classmethod
    def read(cls, f: Fields, tensors: Tensors) -> Ping:
        """Check the fields."""
        return cls(f.integer("token"))


@dataclass(frozen=True, slots=True)
class Pong:
    """(H, A) The answer to a `Ping`, with the answerer's monotonic clock."""

    word: ClassVar[str] = "pong"
    token: int
    clock_s: float

    @classmethod
    def read(cls, f: Fields, tensors: Tensors) -> Pong:
        """Check the fields."""
        return cls(f.integer("token"), f.real("clock_s"))


@dataclass(frozen=True, slots=True)
class AskVitals:
    """(H) Asks for `Vitals`."""

    word: ClassVar[str] = "ask-vitals"

    @classmethod
    def read(cls, f: Fields, tensors: Tensors) -> AskVitals:
        """Check the fields."""
        return cls()


@dataclass(frozen=True, slots=True)
class Vitals:
    """(A) How the device and the agent are; None where the platform knows no such fact.

    Attributes:
        temperature_c: Temperature of the processor.
        throttled: Whether the clock is held below its maximum now.
        undervolted: Whether the supply voltage is too low now.
        load: Processes that want the processor, mean of a minute.
        memory_rss: Bytes of this process in memory.
        memory_available: Bytes that the device could still give.
        cpu_s: Processor seconds used by this process.
        queued: Parts that wait or run.
        served: Parts computed since the start.
        store_bytes: Bytes of stored blobs.
        uptime_s: Seconds since the agent started.
    """

    word: ClassVar[str] = "vitals"
    temperature_c: float | None
    throttled: bool | None
    undervolted: bool | None
    load: float | None
    memory_rss: int | None
    memory_available: int | None
    cpu_s: float | None
    queued: int
    served: int
    store_bytes: int
    uptime_s: float

    @classmethod
    def read(cls, f: Fields, tensors: Tensors) -> Vitals:
        """Check the fields."""
        return cls(
            f.real_or_none("temperature_c"),
            f.flag_or_none("throttled"),
            f.flag_or_none("undervolted"),
            f.real_or_none("load"),
            f.integer_or_none("memory_rss"),
            f.integer_or_none("memory_available"),
            f.real_or_none("cpu_s"),
            f.integer("queued"),
            f.integer("served"),
            f.integer("store_bytes"),
            f.real("uptime_s"),
        )


@dataclass(frozen=True, slots=True)
class Credit:
    """(H, A) Gives back bytes of tensors whose memory is free again."""

    word: ClassVar[str] = "credit"
    bytes: int

    @classmethod
    def read(cls, f: Fields, tensors: Tensors) -> Credit:
        """Check the fields."""
        return cls(f.integer("bytes"))


@dataclass(frozen=True, slots=True)
class Fault:
    """(H, A) An error that belongs to no part.

    Attributes:
        code: Word of the error.
        message: A sentence with the values that decided.
        about: What it is about: a blob, a program, a version range, or empty.
    """

    word: ClassVar[str] = "fault"
    code: str
    message: str = ""
    about: str = ""

    @classmethod
    def read(cls, f: Fields, tensors: Tensors) -> Fault:
        """Check the fields."""
        return cls(f.text("code"), f.text("message", MAX_TEXT, default=""), f.text("about", MAX_TEXT, default=""))


@dataclass(frozen=True, slots=True)
class Bye:
    """(H, A) The sender is about to close, and why."""

    word: ClassVar[str] = "bye"
    reason: str = ""

    @classmethod
    def read(cls, f: Fields, tensors: Tensors) -> Bye:
        """Check the fields."""
        return cls(f.text("reason", MAX_TEXT, default=""))


@dataclass(frozen=True, slots=True)
class UnknownMessage:
    """A message of a later version. Ignored, unless the sender marked it as needed.

    Attributes:
        type: Its type word.
        must: Whether the sender cannot go on without it being understood.
    """

    word: ClassVar[str] = "unknown"
    type: str
    must: bool = False


Message: TypeAlias = (
    Hello
    | Welcome
    | Have
    | Missing
    | Put
    | Stored
    | Load
    | Loaded
    | Run
    | Rows
    | Answer
    | Skip
    | Cancel
    | Ping
    | Pong
    | AskVitals
    | Vitals
    | Credit
    | Fault
    | Bye
    | UnknownMessage
)

KINDS: Final = MappingProxyType(
    {
        kind.word: kind
        for kind in (
            Hello, Welcome, Have, Missing, Put, Stored, Load, Loaded, Run, Rows, Answer, Skip, Cancel,
            Ping, Pong, AskVitals, Vitals, Credit, Fault, Bye,
        )
    }
)  # fmt: skip
"""Type word to record: what `read` is found by."""

WITH_TENSORS: Final = frozenset({"put", "run", "rows", "answer"})


def read_message(word: str, found: Mapping[object, object], tensors: Tensors) -> Message:
    """Check a header and make its record; a type word not in `KINDS` gives `UnknownMessage`.

    Raises:
        BadFieldError: If a field is unfit, or tensors follow where none may.
    """
    fields = Fields(word, found)
    kind = KINDS.get(word)
    if kind is None:
        return UnknownMessage(word, fields.flag("must", default=False))
    if tensors and word not in WITH_TENSORS:
        raise BadFieldError(word, "tensors", "none", len(tensors))
    return kind.read(fields, tensors)


def _versions(f: Fields) -> tuple[int, int]:
    found = f.items("versions", _read_index)
    if len(found) != 2 or not 1 <= found[0] <= found[1]:
        raise BadFieldError(f.word, "versions", "the lowest and the highest version", found)
    return found[0], found[1]


def _machine(f: Fields) -> Mapping[str, str | int | float]:
    # Unfit facts are dropped, not refused: they are for people, and later versions add more.
    return {
        key: value
        for key, value in f.mapping("machine").items()
        if isinstance(key, str) and isinstance(value, str | int | float) and len(str(value)) <= MAX_NAME
    }


def _read_index(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_INDEX:
        raise BadFieldError("list", "entry", "an integer between 0 and 2^31 - 1", value)
    return value


def _read_part(value: object) -> Part:
    if type(value) is not list or len(value) != 3:
        raise BadFieldError(Run.word, "parts", "a list of [part, start, stop]", value)
    part, start, stop = (_read_index(entry) for entry in value)
    if start >= stop:
        raise BadFieldError(Run.word, "parts", "rows with start below stop", value)
    return Part(part, start, stop)


def _read_binding(value: object) -> Binding:
    if type(value) is not dict:
        raise BadFieldError(Load.word, "bindings", "a list of maps", value)
    f = Fields(Load.word, value)
    name, blob = f.text("name", MAX_NAME), value.get("blob")
    if not is_digest(blob):
        raise BadFieldError(Load.word, "blob", "64 lower-case hex digits", blob)
    shape = read_shape(name, value.get("shape"), Limits())
    return Binding(name, str(blob), f.word_of("dtype", frozenset(DTYPES)), shape, f.word_of("how", BINDING_KINDS))
