"""The door of the agent: `cocoi-agent` and `python -m cocoi_agent`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from cocoi_agent.journal import Journal, Level
from cocoi_agent.options import parse
from cocoi_agent.quiet import load_runtime

if TYPE_CHECKING:
    from cocoi_agent.options import Options


def main() -> None:
    """Run an agent until it is told to stop; see `cocoi-agent --help` for exit statuses."""
    status = start(parse(sys.argv[1:]))
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, AttributeError):  # gone, or never there
            stream.flush()
    # At once: a computation that still runs would come back into an interpreter that is being
    # taken down, and die by SIGABRT there.
    os._exit(status)


def start(options: Options) -> int:
    """Import what computes, and run; return the exit status."""
    if not options.embedded:
        # A request to read the certificates anew may come before they were read at all.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        load_runtime(silent=not options.self_test)
        from cocoi_agent.daemon import run  # noqa: PLC0415 - it imports ONNX Runtime
    except Exception as error:  # libraries of others: a sentence, whatever it is
        Journal().say(Level.ERROR, f"error: the libraries cannot be imported: {type(error).__name__}: {error}")
        return 1 if options.self_test else 4
    return run(options)


if __name__ == "__main__":
    main()
