"""Whether ONNX Runtime computes here: one small convolution, compared with a stored result.

Some releases of ONNX Runtime die, or miscompute, on some processors. A service says
that it is ready only after this test; `cocoi-agent --self-test` runs it alone.

The stored result is exact: all numbers are small multiples of powers of two. It is
compared with a tolerance all the same, since kernels may add in any order. Its recipe
is the slow twin in tests/agent/test_selftest.py.
"""

from __future__ import annotations

import base64
import platform
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import onnxruntime

from cocoi_agent import __version__
from cocoi_agent.engine import EngineError, new_session, run_options
from cocoi_agent.graphs import conv_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXPECTED: Final = """\
1gjjCN8IDgkkCakITwnDCJUI1QhaCM0I4wjfCA4JkgksCSwIogg6CTcJ4QjPCCQI/giGCDAI+gksCKIIOgl+CK0KHghpCQsJRghN
Cd4ITAmoCdMI/QjiCR4IaQkLCSQJigkqCLcIZwgyCAMJXggvCYIJdwhrCJIIKgi3CGcIfAnPCFQJ/AiTCDMK7QjICPgIzQgfCbYI
1QhUCfwIkwigCRgJbQmyCLIIXAk7CBgJKQlMCKAJfwgYCW0JsgiyCFwJ/QloCAQJkAhECAIJJwkZCUQJAwnkCBoJaAgECZAI1wjE
Cf8H8gktCKUIiAkYCMgI+wklCAgJ2wj/B/IJLQjuCEoJagmbCZoICgrWCMMIrwmqCA4JlAlfCWoJmwmaCFMJTgidCTMI+ghACdYH
RwncCM4HtglMCBMJnQkzCPoI9QgMCcwIFAnCCUYJOQlwCWQIbwlACVYI8gnMCBQJwgnYCKMJVgj1CXUIvQiyCVQI4wg8CVUISgmm
CVYI9Ql1COII6AhICIQJbQicCNkIfQjKCZQIrwjJCeUISAiECW0IMQrWCOMI3wgOCSQJqQhPCcMIlQjVCFoIzQjjCN8IDgmSCSwJ
LAiiCDoJNwnhCM8IJAj+CIYIMAj6CSwIogg6CX4IrQoeCGkJCwlGCE0J3ghMCagJ0wj9COIJHghpCQsJJAk=
"""
"""128 times the result, as little-endian int16, in base64."""

_EXPECTED_SHAPE: Final = (1, 16, 4, 4)
_FLOAT32_ERROR: Final = 1e-4  # far above rounding, far below any wrong kernel
_FLOAT16_ERROR: Final = 2.0**-10  # relative: two units in the last place


class SelfTestFailedError(Exception):
    """ONNX Runtime does not compute as it must on this machine.

    Attributes:
        reason: What was found.
    """

    code: ClassVar[str] = "self-test-failed"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the self-test failed: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class SelfTest:
    """A passed self-test: versions of what was tested, and how long it took without imports."""

    ok: bool
    version: str
    onnxruntime: str
    numpy: str
    python: str
    seconds: float


def self_test(threads: int = 1) -> SelfTest:
    """Convolve, cast to float16, compare.

    Args:
        threads: Of the session, as the engine would have it.

    Raises:
        SelfTestFailedError: If ONNX Runtime refuses, or computes something else.
    """
    begin = time.perf_counter()
    x, w = inputs()
    try:
        session = new_session(conv_model(), threads)
        narrow, wide = session.run(["y16", "y32"], {"x": x, "w": w}, run_options())
    except EngineError as error:
        raise SelfTestFailedError(str(error)) from error
    except Exception as error:
        raise SelfTestFailedError(f"{type(error).__name__}: {error}"[:500]) from error
    compare(narrow, wide)
    return SelfTest(
        ok=True,
        version=__version__,
        onnxruntime=onnxruntime.__version__,
        numpy=np.__version__,
        python=platform.python_version(),
        seconds=round(time.perf_counter() - begin, 4),
    )


def inputs() -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """The activation `(1, 8, 6, 6)` and the weights `(16, 8, 3, 3)`."""
    x = (np.arange(8 * 6 * 6) * 7 % 17) / 8
    w = (np.arange(16 * 8 * 3 * 3) * 5 % 13 - 2) / 16
    return x.astype(np.float16).reshape(1, 8, 6, 6), w.astype(np.float32).reshape(16, 8, 3, 3)


def expected() -> NDArray[np.float32]:
    """The stored result, `(1, 16, 4, 4)`."""
    whole = np.frombuffer(base64.b64decode(_EXPECTED), "<i2")
    return (whole / np.float32(128)).astype(np.float32).reshape(_EXPECTED_SHAPE)


def compare(narrow: NDArray[Any], wide: NDArray[Any]) -> None:
    """Compare a result, in float16 and in float32, with the stored one.

    Raises:
        SelfTestFailedError: With the largest difference.
    """
    right = expected()
    for name, found, dtype, relative in (("f32", wide, np.float32, 0.0), ("f16", narrow, np.float16, _FLOAT16_ERROR)):
        if found.shape != right.shape or found.dtype != dtype:
            raise SelfTestFailedError(f"the {name} result is {found.dtype} of shape {found.shape}")
        difference = np.abs(found.astype(np.float32) - right)
        # Not `any(difference > allowed)`: what is not a number must fail too.
        if not bool(np.all(difference <= _FLOAT32_ERROR + relative * np.abs(right))):
            raise SelfTestFailedError(f"the {name} result differs by up to {float(np.max(difference)):g}")
