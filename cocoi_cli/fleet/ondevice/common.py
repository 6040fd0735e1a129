"""What every script on a device shares: how it fails and how it tells of progress.

A script is a module with `main(request, payload)`: `request` is a dict of JSON values,
`payload` the rest of standard input, the result a dict of JSON values. Scripts are sent
by `cocoi_cli.fleet.scripts`, run without being written to the device's disk, and use
the standard library only, in the syntax of Python 3.7.
"""

from __future__ import annotations

import json
import sys


class Failure(Exception):  # noqa: N818 - the host turns it into an error of its own
    """An expected failure, told to the host as facts.

    Attributes:
        code: Stable word.
        message: Sentence with the values, lower case, without full stop.
        details: JSON values.
    """

    def __init__(self, code: str, message: str, **details: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


def progress(text: str) -> None:
    """Tell the host what is being done, in a few words."""
    say({"progress": text})


def say(document: dict[str, object]) -> None:
    """Write one line of the conversation with the host; results and failures are lines too."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
