"""The door of the agent: `cocoi-agent` and `python -m cocoi_agent`."""

from __future__ import annotations

import sys

from cocoi_agent.daemon import run
from cocoi_agent.options import parse


def main() -> None:
    """Run an agent until it is told to stop; the exit status is 0 then, 3 for unfit options or files."""
    sys.exit(run(parse(sys.argv[1:])))


if __name__ == "__main__":
    main()
