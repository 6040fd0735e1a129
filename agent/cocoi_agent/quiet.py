"""Importing ONNX Runtime without its remarks, and without its telemetry.

Some releases warn at import that they found no graphics processor, on every start.
The message is written by C++ before any setting can be made. And 1.31 leaves a device id
in the home folder and would report usage, unless the environment forbids it by then.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_TELEMETRY: Final = "ORT_DISABLE_TELEMETRY"

_SILENT: Final = 4  # errors come as exceptions too
_STDERR: Final = 2


def load_runtime(*, silent: bool) -> None:
    """Import ONNX Runtime; what it says from here on is kept to fatal errors.

    Args:
        silent: Drop what the import writes to stderr. A crash in it then ends without
            words: for a test of an unknown release, leave them.

    Raises:
        Exception: Whatever the import raises. The caller's `__main__` handles it.
    """
    os.environ.setdefault(NO_TELEMETRY, "1")
    if silent:
        with _closed_stderr():
            import onnxruntime  # noqa: PLC0415 - under the redirection
    else:
        import onnxruntime  # noqa: PLC0415
    onnxruntime.set_default_logger_severity(_SILENT)


@contextmanager
def _closed_stderr() -> Iterator[None]:
    """Send the descriptor of stderr, which C++ writes to, nowhere."""
    try:
        saved = os.dup(_STDERR)
    except OSError:  # started without stderr
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, _STDERR)
        yield
    finally:
        os.dup2(saved, _STDERR)
        os.close(saved)
        os.close(nowhere)
