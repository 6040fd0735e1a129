"""ONNX Runtime as the agent uses it: programs made ready, and run on tensors.

A program is any graph; nothing here knows of convolutions. One session serves all
programs of a graph, the weights being fed as inputs; only bindings of the kind
`initializer` cost a session of their own. ONNX Runtime's errors are mapped here.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from cocoi_agent.graphs import UnfitGraphError, check_graph, with_initializers
from cocoi_agent.wire.programs import program_id
from cocoi_agent.wire.tensors import DTYPES, AnyArray

if TYPE_CHECKING:
    from cocoi_agent.wire.messages import Binding, Load

OpenBlob = Callable[[str], NDArray[np.uint8]]

_TYPES: Final[Mapping[str, str]] = {
    "tensor(float)": "f32", "tensor(float16)": "f16", "tensor(double)": "f64", "tensor(bool)": "bool",
    "tensor(int8)": "i8", "tensor(int16)": "i16", "tensor(int32)": "i32", "tensor(int64)": "i64",
    "tensor(uint8)": "u8", "tensor(uint16)": "u16", "tensor(uint32)": "u32", "tensor(uint64)": "u64",
}  # fmt: skip
COPIES: Final = 2  # of built-in weights: as they came, and as the kernels want them
_SILENT: Final = 4  # every error is mapped and reported; ONNX Runtime need not print it too
_FLOATS: Final = frozenset({"f16", "f32", "f64"})


class EngineError(Exception):
    """A program that cannot be loaded or run; `code` is the word on the wire."""

    code: ClassVar[str] = "engine"


class BadProgramError(EngineError):
    """The graph or its bindings are unfit."""

    code: ClassVar[str] = "bad-program"


class MissingInputError(EngineError):
    """The run lacks inputs of the graph."""

    code: ClassVar[str] = "missing-input"

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__("the run has no tensor for " + ", ".join(f"`{name}`" for name in names))
        self.names = tuple(names)


class BadShapeError(EngineError):
    """A tensor of the run has another type, rank or size than the graph takes, or an unknown name."""

    code: ClassVar[str] = "bad-shape"


class OutOfMemoryError(EngineError):
    """There was not enough memory."""

    code: ClassVar[str] = "out-of-memory"


class ComputeFailedError(EngineError):
    """ONNX Runtime gave up for another reason."""

    code: ClassVar[str] = "compute-failed"


class TerminatedError(EngineError):
    """The run was told to stop between two nodes."""

    code: ClassVar[str] = "cancelled"


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a graph: type word, and rank (None where unknown)."""

    name: str
    dtype: str
    rank: int | None


@dataclass(frozen=True, slots=True)
class Program:
    """A program that is ready.

    Attributes:
        id: `program_id` of what it was loaded from.
        session: Shared by all programs of the graph unless something is built in.
        bound: Fed at every run; read-only, usually mapped from the store.
        inputs: What a run must bring, by name.
        outputs: In the order of the graph.
        linear: Whether scaling the run's tensors scales the float outputs alike.
        size_bytes: Memory that only this program takes, about.
    """

    id: str
    session: Any = field(repr=False)
    bound: Mapping[str, AnyArray] = field(repr=False)
    inputs: Mapping[str, Port]
    outputs: tuple[Port, ...]
    linear: bool
    size_bytes: int = 0


class Engine:
    """Makes programs from graphs and runs them.

    `load` and `run` may be called from different threads at the same time.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        # Sessions live as long as a program that uses them.
        self._sessions: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()

    def load(self, load: Load, open_blob: OpenBlob) -> Program:
        """Make a program ready.

        Args:
            load: What it is made of.
            open_blob: Gives the bytes of a blob; its errors pass through.

        Raises:
            BadProgramError: If the id, the graph or a binding is unfit.
            OutOfMemoryError: If ONNX Runtime found no memory.
        """
        if program_id(load.graph, load.bindings, linear=load.linear) != load.program:
            raise BadProgramError(f"the program is not what its id `{load.program}` says")
        arrays = {binding.name: (binding, _bound_array(binding, open_blob)) for binding in load.bindings}
        if len(arrays) != len(load.bindings):
            raise BadProgramError("two bindings have the same name")
        constants = {n: (b.dtype, a) for n, (b, a) in arrays.items() if b.how == "initializer"}
        key = load.program if constants else load.graph
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = self._session(open_blob(load.graph), constants)
        fed = {n: a for n, (b, a) in arrays.items() if b.how == "input"}
        built_in = sum(array.nbytes for _, array in constants.values())
        return _program(load, session, fed, COPIES * built_in)

    def run(
        self,
        program: Program,
        feeds: Mapping[str, AnyArray],
        outputs: Sequence[str],
        options: Any,  # noqa: ANN401 - untyped library
    ) -> list[AnyArray]:
        """Compute some outputs.

        Args:
            program: A ready program.
            feeds: Its inputs by name: contiguous, of the type the graph takes. Borrowed.
            outputs: Names of the outputs to compute.
            options: From `run_options`; setting `terminate` on it stops between two nodes. None: nothing will.

        Raises:
            EngineError: The fitting kind.
        """
        try:
            result: list[AnyArray] = program.session.run(list(outputs), {**program.bound, **feeds}, options)
        except Exception as error:
            raise _mapped(error, terminated=options is not None and bool(options.terminate)) from error
        return result

    def _session(self, graph: NDArray[np.uint8], constants: Mapping[str, tuple[str, AnyArray]]) -> Any:  # noqa: ANN401 - untyped library
        try:
            check_graph(graph.data)
        except UnfitGraphError as error:
            raise BadProgramError(error.reason) from error
        model = with_initializers(graph.data, constants) if constants else graph.tobytes()
        return new_session(model, self._threads)


def run_options() -> Any:  # noqa: ANN401 - untyped library
    """Options of one run; `terminate = True` from another thread stops it between two nodes."""
    options = onnxruntime.RunOptions()
    options.log_severity_level = _SILENT
    return options


@cache
def _share_arena() -> None:
    """Let all sessions of this process take their tensors from one arena.

    Each would keep one of its own, as large as its largest run; and what another session has just given back is still
    in the processor's caches.
    """
    place = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(place, None)


def new_session(model: bytes, threads: int = 1) -> Any:  # noqa: ANN401 - untyped library
    """A session as the agent makes them: few threads, none of them spinning.

    Raises:
        BadProgramError: If ONNX Runtime refuses the model.
        OutOfMemoryError: If there was no memory.
    """
    _share_arena()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    # Idle threads that spin cost 29 % more processor time for the same wall time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        mapped = _mapped(error, terminated=False)
        raise mapped if isinstance(mapped, OutOfMemoryError) else BadProgramError(_first_line(error)) from error


def _bound_array(binding: Binding, open_blob: OpenBlob) -> AnyArray:
    """The bytes of a blob seen as the array that the binding says."""
    data = open_blob(binding.blob)
    dtype = DTYPES[binding.dtype]
    expected = dtype.itemsize * int(np.prod(binding.shape, dtype=object))
    if data.nbytes != expected:
        raise BadProgramError(f"`{binding.name}` is {expected} bytes by its shape; its blob has {data.nbytes}")
    return data.view(dtype).reshape(binding.shape)


def _program(load: Load, session: Any, fed: Mapping[str, AnyArray], size_bytes: int) -> Program:  # noqa: ANN401 - untyped library
    inputs = {port.name: port for port in map(_port, session.get_inputs())}
    unknown = [name for name in fed if name not in inputs]
    if unknown:
        raise BadProgramError(f"the graph has no input `{unknown[0]}`")
    for name, array in fed.items():
        _check_port(inputs[name], array, BadProgramError)
    needed = {name: port for name, port in inputs.items() if name not in fed}
    return Program(
        load.program, session, fed, needed, tuple(map(_port, session.get_outputs())), load.linear, size_bytes
    )


def _port(node: Any) -> Port:  # noqa: ANN401 - untyped library
    word = _TYPES.get(node.type)
    if word is None:
        raise BadProgramError(f"`{node.name}` is a {node.type}, which cannot be sent")
    # ONNX Runtime gives [] both for a scalar and for an unknown shape.
    return Port(node.name, word, len(node.shape) or None)


def check_feeds(program: Program, feeds: Mapping[str, AnyArray]) -> None:
    """Check the tensors of a run against what the program takes.

    Raises:
        MissingInputError: If one is absent.
        BadShapeError: If a name is unknown, or a type or rank does not fit.
    """
    missing = [name for name in program.inputs if name not in feeds]
    if missing:
        raise MissingInputError(missing)
    for name, array in feeds.items():
        port = program.inputs.get(name)
        if port is None:
            raise BadShapeError(f"the program takes no tensor `{name}`")
        _check_port(port, array, BadShapeError)


def fits(port: Port, array: AnyArray) -> bool:
    """Whether an array has the type that a port takes."""
    return array.dtype == DTYPES[port.dtype]


def _check_port(port: Port, array: AnyArray, error: type[BadProgramError | BadShapeError]) -> None:
    convertible = port.dtype in _FLOATS and array.dtype.kind == "f" and error is BadShapeError
    if not fits(port, array) and not convertible:
        raise error(f"`{port.name}` is {array.dtype}; the graph takes {port.dtype}")
    if port.rank is not None and array.ndim != port.rank:
        raise error(f"`{port.name}` has {array.ndim} axes; the graph takes {port.rank}")


def _mapped(error: Exception, *, terminated: bool) -> EngineError:
    """ONNX Runtime's error as ours; its classes say little, so its words decide."""
    line = _first_line(error)
    if terminated and "terminate" in line:
        return TerminatedError("it was told to stop")
    if isinstance(error, MemoryError) or "bad_alloc" in line or "Failed to allocate" in line:
        return OutOfMemoryError(line)
    if type(error).__name__ == "InvalidArgument" or "shape" in line.lower() or "dimension" in line.lower():
        return BadShapeError(line)
    return ComputeFailedError(line)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:500]
