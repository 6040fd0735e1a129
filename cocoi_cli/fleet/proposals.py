"""What a file of somebody else's proposes as devices, and what can be wrong with such a file."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cocoi_cli.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path


class BadImportError(ConfigurationError):
    """A file to import from says something that is not understood; `line` from 1, 0 for the file as a whole."""

    code: ClassVar[str] = "bad-import"

    def __init__(self, path: Path, line: int, cause: str) -> None:
        where = f"{path}:{line}" if line else f"{path}"
        super().__init__(f"`{where}`: {cause}", path=str(path), line=line, cause=cause)


class UnknownGroupError(UsageError):
    """The file has no such group, or no alias of such a form."""

    code: ClassVar[str] = "unknown-group"

    def __init__(self, path: Path, group: str, known: Collection[str]) -> None:
        closest = difflib.get_close_matches(group, sorted(known), n=3, cutoff=0.4)
        listed = f" (closest: {', '.join(f'`{each}`' for each in closest)})" if closest else ""
        super().__init__(f"`{path}` has no group `{group}`{listed}", path=str(path), group=group, known=sorted(known))


@dataclass(frozen=True, slots=True)
class Proposal:
    """One device that a file proposes.

    Attributes:
        name: What the file calls it; None where that is only an address.
        ssh: SSH target.
        line: Line of the file.
    """

    name: str | None
    ssh: str
    line: int
